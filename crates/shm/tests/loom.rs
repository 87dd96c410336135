//! A model check of rings and wake-ups: every interleaving, every stale read that the memory model
//! allows. A lost wake-up shows as a deadlock, a lost or doubled message as a failed assertion.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p tserve-shm --test loom --release`.
#![cfg(loom)]

use loom::thread;
use tserve_shm::{
    Arena, ArenaLimits, Completions, JobRef, LinkConfig, ReceiveError, ReplyError, ReplyItemRef,
    Submitter, WorkerLink, local,
};

/// Checks every interleaving with up to three preemptions.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}

fn make(depth: u32) -> (Submitter, Completions, WorkerLink) {
    let arena = local::arena(&ArenaLimits {
        capacity_bytes: 1024,
    })
    .unwrap();
    let config = LinkConfig {
        depth,
        max_batch: 1,
        reply_bytes: 4096,
    };
    local::create_link(&config, &arena).unwrap()
}

fn job(number: u64) -> JobRef {
    JobRef {
        offset: number,
        len: number as u32,
    }
}

/// An answer of which the reply area holds only one.
fn big_item() -> ReplyItemRef<'static> {
    ReplyItemRef {
        index: 0,
        status: 200,
        phrase: None,
        headers: &[],
        body: &[0; 3000],
    }
}

/// Takes the next completion, sleeping as an event loop would.
fn next(completions: &mut Completions) -> u64 {
    loop {
        if let Some(completion) = completions.poll().unwrap() {
            return completion.batch_id;
        }
        completions.wait(None);
    }
}

#[test]
fn a_sleeping_worker_gets_every_batch() {
    check(|| {
        let (mut submitter, completions, worker) = make(2);
        let worker = thread::spawn(move || {
            for number in 1..=2 {
                let batch = worker.receive(None).unwrap();
                assert_eq!(
                    (batch.batch_id, &batch.jobs[..]),
                    (number, &[job(number)][..])
                );
            }
        });
        submitter.submit(1, &[job(1)]).unwrap();
        submitter.submit(2, &[job(2)]).unwrap();
        worker.join().unwrap();
        drop(completions);
    });
}

#[test]
fn a_sleeping_server_gets_every_reply() {
    check(|| {
        let (mut submitter, mut completions, worker) = make(2);
        submitter.submit(1, &[]).unwrap();
        submitter.submit(2, &[]).unwrap();
        let worker = thread::spawn(move || {
            worker.reply(1, 200, "", true, &[]).unwrap();
            worker.reply(2, 200, "", true, &[]).unwrap();
        });
        assert_eq!(next(&mut completions), 1);
        assert_eq!(next(&mut completions), 2);
        worker.join().unwrap();
    });
}

#[test]
fn ping_pong_never_sticks() {
    check(|| {
        let (mut submitter, mut completions, worker) = make(1);
        let worker = thread::spawn(move || {
            for _ in 0..2 {
                let batch = worker.receive(None).unwrap();
                worker.reply(batch.batch_id, 200, "", true, &[]).unwrap();
            }
        });
        for number in 1..=2 {
            submitter.submit(number, &[]).unwrap();
            assert_eq!(next(&mut completions), number);
        }
        worker.join().unwrap();
    });
}

#[test]
fn a_worker_without_space_is_woken() {
    check(|| {
        let (mut submitter, mut completions, worker) = make(1);
        submitter.submit(1, &[]).unwrap();
        let worker = thread::spawn(move || {
            worker.reply(1, 200, "", false, &[big_item()]).unwrap();
            worker.reply(1, 200, "", true, &[big_item()]).unwrap();
        });
        next(&mut completions);
        next(&mut completions);
        worker.join().unwrap();
    });
}

#[test]
fn closing_wakes_a_sleeping_worker() {
    check(|| {
        let (submitter, _completions, worker) = make(1);
        let worker = thread::spawn(move || worker.receive(None));
        submitter.close();
        assert_eq!(worker.join().unwrap(), Err(ReceiveError::Closed));
    });
}

#[test]
fn dropping_the_completions_wakes_a_worker_without_space() {
    check(|| {
        let (mut submitter, completions, worker) = make(1);
        submitter.submit(1, &[]).unwrap();
        worker.reply(1, 200, "", false, &[big_item()]).unwrap();
        let worker = thread::spawn(move || worker.reply(1, 200, "", true, &[big_item()]));
        drop(completions);
        assert_eq!(worker.join().unwrap(), Err(ReplyError::Closed));
    });
}

fn small_arena() -> Arena {
    local::arena(&ArenaLimits {
        capacity_bytes: 2048,
    })
    .unwrap()
}

#[test]
fn two_threads_never_hold_the_same_block() {
    check(|| {
        let arena = small_arena();
        drop((arena.allocate(1).unwrap(), arena.allocate(1).unwrap()));
        let other = {
            let arena = arena.clone();
            thread::spawn(move || {
                let block = arena.allocate(1).unwrap();
                drop(block);
                arena.allocate(1).unwrap()
            })
        };
        let mine = arena.allocate(1).unwrap();
        let theirs = other.join().unwrap();
        assert_ne!(mine.offset(), theirs.offset());
    });
}

#[test]
fn the_budget_holds_between_threads() {
    check(|| {
        let arena = small_arena();
        let other = {
            let arena = arena.clone();
            thread::spawn(move || [arena.allocate(1024).ok(), arena.allocate(1024).ok()])
        };
        let mine = [arena.allocate(1024).ok(), arena.allocate(1024).ok()];
        let theirs = other.join().unwrap();
        let held = mine.iter().chain(&theirs).flatten().count();
        assert_eq!((held, arena.used_bytes()), (2, 2048));
    });
}
