//! A worker that lies: whatever it writes, the server answers with a reply, nothing or `Corrupt`.

use proptest::prelude::*;

use crate::{
    Arena, ArenaLimits, Completions, Corrupt, JobRef, LinkConfig, ReplyItemRef, Submitter,
    WorkerLink, local, sync::Ordering,
};

const CONFIG: LinkConfig = LinkConfig {
    depth: 2,
    max_batch: 4,
    reply_bytes: 16 << 10,
};

/// One lie.
#[derive(Clone, Debug)]
enum Lie {
    Completed(u64),
    Consumed(u64),
    Taken(u64),
    Flags(u32),
    Word(u64, u64),
    Area(u64, Vec<u8>),
    Honest(u32, Vec<u8>, bool),
}

/// Numbers near the edges of what is valid, and any others.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..80,
        (16_u64 << 10) - 40..(16 << 10) + 40,
        (0_u64..40).prop_map(|below| u64::MAX - below),
        any::<u64>(),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        number().prop_map(Lie::Completed),
        number().prop_map(Lie::Consumed),
        number().prop_map(Lie::Taken),
        any::<u32>().prop_map(Lie::Flags),
        (0_u64..148, number()).prop_map(|(index, value)| Lie::Word(index, value)),
        (0_u64..500, bytes.clone()).prop_map(|(offset, bytes)| Lie::Area(offset, bytes)),
        (0_u32..6, bytes, any::<bool>())
            .prop_map(|(index, body, last)| Lie::Honest(index, body, last)),
    ]
}

fn make() -> (Submitter, Completions, WorkerLink) {
    let limits = ArenaLimits {
        capacity_bytes: 4096,
    };
    let arena: Arena = local::arena(&limits).unwrap();
    local::create_link(&CONFIG, &arena).unwrap()
}

fn tell(worker: &WorkerLink, lie: &Lie) {
    let control = worker.memory.control();
    match lie {
        Lie::Completed(value) => control.completed.0.store(*value, Ordering::SeqCst),
        Lie::Consumed(value) => control.consumed.0.store(*value, Ordering::SeqCst),
        Lie::Taken(value) => control.taken.0.store(*value, Ordering::SeqCst),
        Lie::Flags(value) => {
            let (ours, theirs) = (&control.worker.0, &control.server.0);
            ours.sleeps_for_submissions.store(*value, Ordering::SeqCst);
            ours.sleeps_for_space.store(*value, Ordering::SeqCst);
            theirs
                .sleeps_for_completions
                .store(*value, Ordering::SeqCst);
            theirs.is_closed.store(*value, Ordering::SeqCst);
            theirs.submission_bell.store(*value, Ordering::SeqCst);
        }
        Lie::Word(index, value) => worker.memory.word(*index).store(*value, Ordering::SeqCst),
        Lie::Area(offset, bytes) => worker.memory.write_area(*offset, bytes),
        Lie::Honest(index, body, is_last) => {
            let item = ReplyItemRef {
                index: *index,
                status: 200,
                phrase: None,
                headers: &[],
                body,
            };
            let patience = Some(std::time::Duration::ZERO);
            let _ = worker.reply_within(patience, 1, 200, "", *is_last, &[item]);
        }
    }
}

proptest! {
    #[test]
    fn lies_end_in_corruption_at_worst(lies in proptest::collection::vec(lie(), 1..40)) {
        let (mut submitter, mut completions, worker) = make();
        let job = JobRef { offset: 0, len: 0 };
        let mut damage = None;
        for (id, lie) in (0_u64..).zip(&lies) {
            let _ = submitter.submit(id, &[job]);
            tell(&worker, lie);
            match completions.poll() {
                Ok(None) => {}
                Ok(Some(completion)) => {
                    prop_assert!(completion.reply.items.iter().all(|item| item.index < 4));
                }
                Err(found) => prop_assert_eq!(*damage.get_or_insert(found), found),
            }
            if damage.is_some() {
                prop_assert!(completions.poll().is_err());
            }
            prop_assert!(submitter.started() <= submitter.submitted());
            completions.prepare_to_wait();
            completions.clear_wake();
        }
        // The worker's own end survives it, too.
        let _ = worker.receive(Some(std::time::Duration::ZERO));
    }
}

/// Polls after one word was set, with one honest frame published.
fn after(lie: &Lie) -> Corrupt {
    let (mut submitter, mut completions, worker) = make();
    submitter.submit(1, &[]).unwrap();
    tell(&worker, &Lie::Honest(0, vec![7; 10], true));
    tell(&worker, lie);
    completions.poll().unwrap_err()
}

#[test]
fn each_kind_of_damage_is_named() {
    let slot = 2 * (2 + 2 * 4);
    assert_eq!(after(&Lie::Completed(66)), Corrupt::Counter);
    assert_eq!(after(&Lie::Completed(u64::MAX)), Corrupt::Counter);
    assert_eq!(after(&Lie::Word(slot, u64::MAX)), Corrupt::OutOfRange);
    assert_eq!(
        after(&Lie::Word(slot + 1, (16 << 10) + 1)),
        Corrupt::OutOfRange
    );
    assert!(matches!(after(&Lie::Word(slot + 1, 3)), Corrupt::Frame(_)));
    assert!(matches!(
        after(&Lie::Word(slot + 1, 16 << 10)),
        Corrupt::Frame(_)
    ));
    assert!(matches!(after(&Lie::Area(12, vec![2])), Corrupt::Frame(_)));
    assert_eq!(after(&Lie::Area(64, vec![4])), Corrupt::Index);
}

#[test]
fn more_answers_than_batches_are_damage() {
    let (mut submitter, mut completions, worker) = make();
    submitter.submit(1, &[]).unwrap();
    for _ in 0..2 {
        tell(&worker, &Lie::Honest(0, Vec::new(), true));
    }
    completions.poll().unwrap().unwrap();
    assert_eq!(completions.poll(), Err(Corrupt::Surplus));
    assert_eq!(completions.poll(), Err(Corrupt::Surplus));
}

#[test]
fn the_worker_cannot_close_the_server_half() {
    let (mut submitter, _completions, worker) = make();
    tell(&worker, &Lie::Flags(1));
    submitter.submit(1, &[]).unwrap();
}
