//! What a batcher promises about batches, one sentence per test; any sequence of events is in `property.rs`.

#![cfg(not(loom))]

mod job;
mod property;

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use tserve_batcher::{Batcher, Policy, PushError, Take, Taken, Taker};

use self::job::Job;

const DELAY: Duration = Duration::from_millis(100);

fn batcher(batch_size: usize, capacity: usize) -> (Batcher<Job>, Taker<Job>) {
    let policy = Policy {
        batch_size: NonZeroUsize::new(batch_size).unwrap(),
        max_batch_delay: DELAY,
    };
    Batcher::new(policy, capacity)
}

/// The identities of the batch, or `None` if there is none.
fn ids(taken: Taken<Job>) -> Option<Vec<u32>> {
    match taken {
        Taken::Batch(jobs) => Some(jobs.iter().map(Job::id).collect()),
        Taken::Wait(_) | Taken::Empty => None,
    }
}

#[test]
fn the_third_waiting_job_is_refused_by_two_places() {
    let (batcher, _taker) = batcher(1, 2);
    let now = Instant::now();
    batcher.push(Job::new(1, now)).unwrap();
    batcher.push(Job::new(2, now)).unwrap();
    let refused = batcher.push(Job::new(3, now)).unwrap_err();
    assert!(matches!(&refused, PushError::Full(_)));
    assert_eq!(refused.into_inner().id(), 3);
    assert_eq!((batcher.waiting(), batcher.capacity()), (2, 2));
}

#[test]
fn no_place_admits_no_job() {
    let (batcher, mut taker) = batcher(1, 0);
    let now = Instant::now();
    assert!(matches!(
        batcher.push(Job::new(1, now)),
        Err(PushError::Full(_))
    ));
    assert!(matches!(taker.take(now, Take::DueOnly), Taken::Empty));
}

#[test]
fn a_taken_job_keeps_its_place_until_it_is_released() {
    let (batcher, mut taker) = batcher(1, 1);
    let now = Instant::now();
    batcher.push(Job::new(1, now)).unwrap();
    assert_eq!(ids(taker.take(now, Take::FullOnly)), Some(vec![1]));
    assert_eq!(batcher.waiting(), 0);
    assert!(batcher.push(Job::new(2, now)).is_err());
    batcher.release(1);
    batcher.push(Job::new(2, now)).unwrap();
}

#[test]
fn a_full_batch_goes_at_once_and_leaves_the_rest() {
    let (batcher, mut taker) = batcher(2, 8);
    let now = Instant::now();
    for id in 1..=3 {
        batcher.push(Job::new(id, now)).unwrap();
    }
    assert_eq!(ids(taker.take(now, Take::FullOnly)), Some(vec![1, 2]));
    assert_eq!(ids(taker.take(now, Take::FullOnly)), None);
    assert_eq!(batcher.waiting(), 1);
}

#[test]
fn an_open_batch_waits_for_its_delay_from_the_oldest_arrival() {
    let (batcher, mut taker) = batcher(4, 8);
    let start = Instant::now();
    batcher.push(Job::new(1, start)).unwrap();
    batcher.push(Job::new(2, start + DELAY / 2)).unwrap();
    let almost = start + Duration::from_nanos(99_999_999);
    for mode in [Take::DueOnly, Take::FullOnly] {
        match taker.take(almost, mode) {
            Taken::Wait(due) => assert_eq!(due, start + DELAY),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ids(taker.take(start + DELAY, Take::FullOnly)), None);
    assert_eq!(
        ids(taker.take(start + DELAY, Take::DueOnly)),
        Some(vec![1, 2])
    );
}

#[test]
fn a_dead_job_frees_its_place_and_holds_no_batch_open() {
    let (batcher, mut taker) = batcher(2, 2);
    let start = Instant::now();
    let first = Job::new(1, start);
    let client = first.client();
    batcher.push(first).unwrap();
    batcher.push(Job::new(2, start + DELAY)).unwrap();
    client.go_away();
    match taker.take(start + DELAY, Take::DueOnly) {
        Taken::Wait(due) => assert_eq!(due, start + 2 * DELAY),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.drops(), 1);
    batcher.push(Job::new(3, start + DELAY)).unwrap();
    assert_eq!(
        ids(taker.take(start + DELAY, Take::FullOnly)),
        Some(vec![2, 3])
    );
}

#[test]
fn a_job_that_dies_after_it_was_looked_at_is_still_dropped() {
    let (batcher, mut taker) = batcher(2, 8);
    let now = Instant::now();
    let job = Job::new(1, now);
    let client = job.client();
    batcher.push(job).unwrap();
    assert!(matches!(taker.take(now, Take::DueOnly), Taken::Wait(_)));
    client.go_away();
    assert!(matches!(taker.take(now, Take::DueOnly), Taken::Empty));
    assert_eq!((client.drops(), batcher.waiting()), (1, 0));
}

#[test]
fn a_closed_batcher_refuses_jobs_and_gives_what_it_has_at_once() {
    let (batcher, mut taker) = batcher(4, 8);
    let now = Instant::now();
    batcher.push(Job::new(1, now)).unwrap();
    batcher.close();
    assert!(matches!(
        batcher.push(Job::new(2, now)),
        Err(PushError::Closed(_))
    ));
    assert_eq!(ids(taker.take(now, Take::FullOnly)), None);
    assert_eq!(ids(taker.take(now, Take::DueOnly)), Some(vec![1]));
}

#[test]
fn a_drain_hands_back_staged_and_queued_jobs_and_frees_their_places() {
    let (batcher, mut taker) = batcher(3, 4);
    let now = Instant::now();
    batcher.push(Job::new(1, now)).unwrap();
    batcher.push(Job::new(2, now)).unwrap();
    // Looked at and left: these two are staged.
    assert!(matches!(taker.take(now, Take::DueOnly), Taken::Wait(_)));
    batcher.push(Job::new(3, now)).unwrap();
    batcher.push(Job::new(4, now)).unwrap();
    let drained = taker.drain();
    assert_eq!(
        drained.iter().map(Job::id).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(batcher.waiting(), 0);
    for id in 5..=8 {
        batcher.push(Job::new(id, now)).unwrap();
    }
}

#[test]
fn jobs_that_wait_when_the_taker_goes_are_dropped() {
    let (batcher, mut taker) = batcher(1, 2);
    let now = Instant::now();
    let (running, waiting) = (Job::new(1, now), Job::new(2, now));
    let clients = [running.client(), waiting.client()];
    batcher.push(running).unwrap();
    let Taken::Batch(jobs) = taker.take(now, Take::DueOnly) else {
        panic!("one job fills a batch of one");
    };
    batcher.push(waiting).unwrap();
    drop(taker);
    assert_eq!(clients.each_ref().map(|client| client.drops()), [0, 1]);
    drop(jobs);
    assert_eq!(clients.map(|client| client.drops()), [1, 1]);
    assert!(matches!(
        batcher.push(Job::new(3, now)),
        Err(PushError::Closed(_))
    ));
}

#[test]
fn a_delay_without_end_asks_again_some_day() {
    let policy = Policy {
        batch_size: NonZeroUsize::new(2).unwrap(),
        max_batch_delay: Duration::MAX,
    };
    let (batcher, mut taker) = Batcher::new(policy, 1);
    let now = Instant::now();
    batcher.push(Job::new(1, now)).unwrap();
    assert!(matches!(taker.take(now, Take::DueOnly), Taken::Wait(due) if due > now));
}
