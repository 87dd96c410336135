//! Model checks of the lock-free parts: every interleaving of two or three threads, within a bound on preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p tserve-batcher --test loom --release --target-dir target/loom`
//!
//! What is covered and what not is written in the crate's documentation. Values are loom `Arc`s wherever a lost value
//! must not go unnoticed: loom fails a run at whose end one is still alive.

#![cfg(loom)]

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};
use tserve_batcher::{Batcher, Combiner, Policy, PushError, Queued, Take, Taken, Taker, bounded};

/// Runs `scenario` in every interleaving with at most five preemptions, or as many as the environment says.
fn check(scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(5);
    model.check(scenario);
}

// === the queue ===

#[test]
fn values_of_two_producers_come_out_once_each() {
    check(|| {
        let (producer, mut consumer) = bounded(2);
        let pushers = [1, 2].map(|value| {
            let producer = producer.clone();
            thread::spawn(move || {
                producer.push(Arc::new(value)).unwrap();
                assert!(producer.len() <= 2);
            })
        });
        let mut popped = Vec::new();
        popped.extend(consumer.pop());
        popped.extend(consumer.pop());
        for pusher in pushers {
            pusher.join().unwrap();
        }
        popped.extend(std::iter::from_fn(|| consumer.pop()));
        popped.sort_by_key(|value| **value);
        assert!(popped.iter().map(|value| **value).eq([1, 2]));
        assert!(producer.is_empty());
    });
}

#[test]
fn one_place_admits_one_of_two_producers() {
    check(|| {
        let (producer, mut consumer) = bounded(1);
        let other = {
            let producer = producer.clone();
            thread::spawn(move || producer.push(1).is_ok())
        };
        let here = producer.push(2).is_ok();
        let there = other.join().unwrap();
        assert!(here != there);
        assert_eq!(consumer.pop(), Some(if here { 2 } else { 1 }));
        assert_eq!(consumer.pop(), None);
    });
}

#[test]
fn a_slot_is_written_again_only_after_its_value_moved_out() {
    check(|| {
        let (producer, mut consumer) = bounded(1);
        let pusher = {
            let producer = producer.clone();
            thread::spawn(move || {
                for value in 1..=2 {
                    while let Err(PushError::Full(_)) = producer.push(Arc::new(value)) {
                        thread::yield_now();
                    }
                }
            })
        };
        for value in 1..=2 {
            let popped = loop {
                match consumer.pop() {
                    Some(popped) => break popped,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*popped, value);
            producer.release(1);
        }
        pusher.join().unwrap();
    });
}

#[test]
fn whoever_frees_a_place_can_fill_one() {
    check(|| {
        let (producer, mut consumer) = bounded(2);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        consumer.pop().unwrap();
        // loom keeps one last access per location to find the switches worth making, and a thread's own load hides the
        // other's before its exchange. This pair of relaxed accesses orders nothing and makes loom try that switch.
        let turn = Arc::new(AtomicUsize::new(0));
        let other = {
            let (producer, turn) = (producer.clone(), Arc::clone(&turn));
            thread::spawn(move || {
                producer.release(1);
                producer.push(3).unwrap();
                turn.store(1, Ordering::Relaxed);
            })
        };
        consumer.pop().unwrap();
        producer.release(1);
        turn.load(Ordering::Relaxed);
        // One place is left whatever the other thread has done, and that must be visible here.
        producer.push(4).unwrap();
        other.join().unwrap();
        assert!(matches!(producer.push(5), Err(PushError::Full(5))));
    });
}

/// A caller may be wrong about what was popped; in debug builds the queue says so, in all builds it stays sound.
#[cfg(not(debug_assertions))]
#[test]
fn a_release_that_comes_too_early_frees_no_place() {
    check(|| {
        let (producer, mut consumer) = bounded(1);
        producer.push(Arc::new(1)).unwrap();
        let other = {
            let producer = producer.clone();
            thread::spawn(move || {
                producer.release(1);
                producer.push(Arc::new(2)).is_ok()
            })
        };
        assert_eq!(consumer.pop().map(|value| *value), Some(1));
        let second = consumer.pop().map(|value| *value);
        assert!(other.join().unwrap() || second.is_none());
    });
}

#[test]
fn a_push_against_a_close_is_refused_or_drained() {
    check(|| {
        let (producer, mut consumer) = bounded(2);
        let pusher = {
            let producer = producer.clone();
            thread::spawn(move || producer.push(Arc::new(1)).is_ok())
        };
        producer.close();
        let drained = std::iter::from_fn(|| consumer.pop_last()).count();
        assert_eq!(drained == 1, pusher.join().unwrap());
    });
}

#[test]
fn a_push_against_the_end_of_the_consumer_leaks_nothing() {
    check(|| {
        let (producer, consumer) = bounded(2);
        let pusher = thread::spawn(move || drop(producer.push(Arc::new(1))));
        drop(consumer);
        pusher.join().unwrap();
    });
}

// === the gate ===

#[test]
fn every_note_is_served() {
    check(|| {
        let posted = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Combiner::new(0));
        let post = {
            let (posted, gate) = (Arc::clone(&posted), Arc::clone(&gate));
            move || {
                posted.fetch_add(1, Ordering::Relaxed);
                gate.run(|seen| *seen += posted.swap(0, Ordering::Relaxed));
            }
        };
        let others = [thread::spawn(post.clone()), thread::spawn(post.clone())];
        post();
        for other in others {
            other.join().unwrap();
        }
        // Nobody calls `run` any more: what was not served by now is lost.
        assert_eq!(posted.load(Ordering::Relaxed), 0);
        drop(post);
        assert_eq!(Arc::try_unwrap(gate).ok().unwrap().into_inner(), 3);
    });
}

#[test]
fn a_call_from_inside_is_served_by_another_round() {
    check(|| {
        let gate = Arc::new(Combiner::new(0));
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.run(|rounds| *rounds += 1))
        };
        let mut first = true;
        gate.run(|rounds| {
            *rounds += 1;
            if std::mem::take(&mut first) {
                gate.run(|_| unreachable!("a note does not run its caller's function"));
            }
        });
        other.join().unwrap();
        let rounds = Arc::try_unwrap(gate).ok().unwrap().into_inner();
        assert!(rounds == 2 || rounds == 3, "{rounds} rounds");
    });
}

#[test]
fn a_panic_inside_loses_no_note_and_reopens_the_gate() {
    check(|| {
        let posted = Arc::new(AtomicBool::new(false));
        let gate = Arc::new(Combiner::new(false));
        let other = {
            let (posted, gate) = (Arc::clone(&posted), Arc::clone(&gate));
            thread::spawn(move || {
                posted.store(true, Ordering::Relaxed);
                gate.run(|seen| *seen |= posted.load(Ordering::Relaxed));
            })
        };
        let mut first = true;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            gate.run(|seen| {
                if std::mem::take(&mut first) {
                    resume_unwind(Box::new("on purpose"));
                }
                *seen |= posted.load(Ordering::Relaxed);
            });
        }));
        other.join().unwrap();
        assert_eq!(outcome.is_err(), !first);
        assert!(Arc::try_unwrap(gate).ok().unwrap().into_inner());
    });
}

// === queue, gate and batcher together, as the server uses them ===

struct Job {
    id: usize,
    arrived: Instant,
    /// Fails the run if the job is neither handed out nor dropped.
    _alive: Arc<()>,
}

impl Job {
    fn new(id: usize) -> Self {
        Self {
            id,
            arrived: Instant::now(),
            _alive: Arc::new(()),
        }
    }
}

impl Queued for Job {
    fn is_live(&self, _now: Instant) -> bool {
        true
    }

    fn arrived(&self) -> Instant {
        self.arrived
    }
}

struct Server {
    batcher: Batcher<Job>,
    gate: Combiner<Far>,
}

struct Far {
    taker: Taker<Job>,
    handed_out: Vec<usize>,
}

impl Server {
    fn new(capacity: usize) -> Arc<Self> {
        let policy = Policy {
            batch_size: NonZeroUsize::MIN,
            max_batch_delay: Duration::ZERO,
        };
        let (batcher, taker) = Batcher::new(policy, capacity);
        let gate = Combiner::new(Far {
            taker,
            handed_out: Vec::new(),
        });
        Arc::new(Self { batcher, gate })
    }

    fn run(&self) {
        self.gate.run(|far| {
            while let Taken::Batch(jobs) = far.taker.take(Instant::now(), Take::DueOnly) {
                self.batcher.release(jobs.len());
                far.handed_out.extend(jobs.iter().map(|job| job.id));
            }
        });
    }

    fn submit(&self, id: usize) -> bool {
        let admitted = self.batcher.push(Job::new(id)).is_ok();
        if admitted {
            self.run();
        }
        admitted
    }

    fn handed_out(server: Arc<Self>) -> Vec<usize> {
        let server = Arc::try_unwrap(server).ok().unwrap();
        let mut handed_out = server.gate.into_inner().handed_out;
        handed_out.sort_unstable();
        handed_out
    }
}

#[test]
fn every_admitted_job_is_handed_out_once() {
    check(|| {
        let server = Server::new(2);
        let other = {
            let server = Arc::clone(&server);
            thread::spawn(move || assert!(server.submit(1)))
        };
        assert!(server.submit(2));
        other.join().unwrap();
        assert_eq!(Server::handed_out(server), [1, 2]);
    });
}

#[test]
fn a_close_beside_a_submission_leaves_no_job_behind() {
    check(|| {
        let server = Server::new(2);
        let other = {
            let server = Arc::clone(&server);
            thread::spawn(move || server.submit(1))
        };
        server.batcher.close();
        server.gate.run(|far| {
            let drained = far.taker.drain();
            far.handed_out.extend(drained.iter().map(|job| job.id));
        });
        let admitted = other.join().unwrap();
        assert_eq!(
            Server::handed_out(server),
            if admitted { vec![1] } else { vec![] }
        );
    });
}
