//! Any sequence of events against a model: the list of live jobs by arrival says what every `take` has to answer.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tserve_batcher::{Batcher, Policy, PushError, Queued, Take, Taken, Taker};

use super::job::{Client, Job};

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A job arrives; its client waits this long, or for ever.
    Push {
        patience_ms: Option<u64>,
    },
    /// The client of one of the jobs pushed so far goes away.
    GoAway(prop::sample::Index),
    Advance {
        ms: u64,
    },
    Take(Take),
    /// A worker starts a batch it holds.
    Start(prop::sample::Index),
    Close,
    Drain,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => prop::option::weighted(0.3, 0..30_u64).prop_map(|patience_ms| Event::Push { patience_ms }),
        1 => any::<prop::sample::Index>().prop_map(Event::GoAway),
        3 => (0..15_u64).prop_map(|ms| Event::Advance { ms }),
        4 => prop::sample::select(vec![Take::DueOnly, Take::FullOnly, Take::Anything]).prop_map(Event::Take),
        3 => any::<prop::sample::Index>().prop_map(Event::Start),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Event::Close } else { Event::Drain }),
    ]
}

/// Where a pushed job is, as far as an observer can know.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whereabouts {
    Waiting,
    WithWorker,
    /// Started, drained or dropped: its place is free.
    Gone,
}

/// What the model keeps of a job; its identity is its index.
struct Record {
    arrived: Instant,
    expires: Option<Instant>,
    client: Arc<Client>,
    whereabouts: Whereabouts,
}

impl Record {
    fn is_live(&self, now: Instant) -> bool {
        !self.client.is_gone() && self.expires.is_none_or(|expires| now < expires)
    }
}

struct World {
    batcher: Batcher<Job>,
    taker: Taker<Job>,
    now: Instant,
    closed: bool,
    records: Vec<Record>,
    batches: Vec<Vec<Job>>,
}

impl World {
    fn new(policy: Policy, capacity: usize) -> Self {
        let (batcher, taker) = Batcher::new(policy, capacity);
        Self {
            batcher,
            taker,
            now: Instant::now(),
            closed: false,
            records: Vec::new(),
            batches: Vec::new(),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Push { patience_ms } => self.push(patience_ms),
            Event::GoAway(which) if !self.records.is_empty() => {
                which.get(&self.records).client.go_away();
            }
            Event::Advance { ms } => self.now += Duration::from_millis(ms),
            Event::Take(mode) => self.take(mode),
            Event::Start(batch) if !self.batches.is_empty() => {
                self.start(batch.index(self.batches.len()));
            }
            Event::GoAway(_) | Event::Start(_) => {}
            Event::Close => {
                self.batcher.close();
                self.closed = true;
            }
            Event::Drain => self.drain(),
        }
        assert_eq!(self.batcher.waiting(), self.count(Whereabouts::Waiting));
    }

    fn push(&mut self, patience_ms: Option<u64>) {
        // No two jobs arrive at the same instant, so that arrival is a total order.
        self.now += Duration::from_micros(1);
        let expires = patience_ms.map(|ms| self.now + Duration::from_millis(ms));
        let id = u32::try_from(self.records.len()).unwrap();
        let job = Job::new(id, self.now).expiring(expires);
        let record = Record {
            arrived: self.now,
            expires,
            client: job.client(),
            whereabouts: Whereabouts::Waiting,
        };
        let held = self.count(Whereabouts::Waiting) + self.count(Whereabouts::WithWorker);
        match self.batcher.push(job) {
            Ok(()) => {
                assert!(!self.closed && held < self.batcher.capacity());
                self.records.push(record);
            }
            Err(PushError::Full(_)) => assert!(!self.closed && held == self.batcher.capacity()),
            Err(PushError::Closed(_)) => assert!(self.closed),
        }
    }

    fn take(&mut self, mode: Take) {
        let Policy {
            batch_size,
            max_batch_delay,
        } = self.batcher.policy();
        let live: Vec<usize> = self
            .waiting()
            .filter(|&id| self.records[id].is_live(self.now))
            .collect();
        let due = live
            .first()
            .map(|&id| self.records[id].arrived + max_batch_delay);
        let is_closed_batch = live.len() >= batch_size.get()
            || mode == Take::Anything
            || mode == Take::DueOnly && (self.closed || due.is_some_and(|due| due <= self.now));
        let dead_met = live.get(batch_size.get() - 1).copied();

        match (self.taker.take(self.now, mode), due) {
            (Taken::Empty, None) => {}
            (Taken::Wait(until), Some(due)) => {
                assert!(!is_closed_batch);
                assert_eq!(until, due);
            }
            (Taken::Batch(jobs), Some(_)) => {
                assert!(is_closed_batch);
                let ids: Vec<usize> = jobs.iter().map(|job| job.id() as usize).collect();
                assert_eq!(ids, live[..live.len().min(batch_size.get())]);
                assert!(jobs.iter().all(|job| job.is_live(self.now)));
                for id in ids {
                    self.records[id].whereabouts = Whereabouts::WithWorker;
                }
                self.batches.push(jobs);
            }
            (taken, due) => panic!("{taken:?}, but the oldest live job is due at {due:?}"),
        }
        self.account_for_drops(dead_met);
    }

    /// Every dead job before `bound` must have been dropped now, and no live one anywhere.
    fn account_for_drops(&mut self, bound: Option<usize>) {
        for id in self.waiting().collect::<Vec<_>>() {
            let record = &mut self.records[id];
            let dropped = record.client.drops() == 1;
            let is_live = record.is_live(self.now);
            assert!(!(dropped && is_live), "live job {id} was dropped");
            let met = bound.is_none_or(|bound| id < bound);
            assert!(dropped || is_live || !met, "dead job {id} was kept");
            if dropped {
                record.whereabouts = Whereabouts::Gone;
            }
        }
    }

    fn start(&mut self, batch: usize) {
        let jobs = self.batches.swap_remove(batch);
        self.batcher.release(jobs.len());
        for job in &jobs {
            self.records[job.id() as usize].whereabouts = Whereabouts::Gone;
        }
    }

    fn drain(&mut self) {
        let waiting: Vec<usize> = self.waiting().collect();
        let drained = self.taker.drain();
        assert!(drained.iter().map(|job| job.id() as usize).eq(waiting));
        for job in drained {
            self.records[job.id() as usize].whereabouts = Whereabouts::Gone;
        }
    }

    /// Jobs in the queue, by arrival.
    fn waiting(&self) -> impl Iterator<Item = usize> {
        (0..self.records.len()).filter(|&id| self.records[id].whereabouts == Whereabouts::Waiting)
    }

    fn count(&self, whereabouts: Whereabouts) -> usize {
        let is_there = |record: &&Record| record.whereabouts == whereabouts;
        self.records.iter().filter(is_there).count()
    }

    /// Drops everything; every job that was ever admitted is then dropped exactly once.
    fn end_of_days(self) {
        let Self {
            batcher,
            taker,
            batches,
            records,
            ..
        } = self;
        drop((batcher, taker, batches));
        for (id, record) in records.iter().enumerate() {
            assert_eq!(record.client.drops(), 1, "job {id}");
        }
    }
}

proptest! {
    #[test]
    fn batches_are_what_the_live_jobs_by_arrival_say(
        batch_size in 1..5_usize,
        delay_ms in prop::sample::select(vec![0, 1, 20]),
        capacity in 0..10_usize,
        events in prop::collection::vec(event(), 0..120),
    ) {
        let policy = Policy {
            batch_size: NonZeroUsize::new(batch_size).unwrap(),
            max_batch_delay: Duration::from_millis(delay_ms),
        };
        let mut world = World::new(policy, capacity);
        for event in events {
            world.apply(event);
        }
        world.end_of_days();
    }
}
