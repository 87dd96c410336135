//! Requests in the order of their arrival, each of which may join any worker.

use std::collections::VecDeque;
use std::time::Instant;

use tserve_batcher::{Queued as _, Take, Taken, Taker};

use super::job::{Job, SequenceTag};
use super::rounds::{Asking, Offer, Source};

/// The queue itself, and in front of it what came back.
pub(super) struct Line {
    returned: VecDeque<Job>,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            returned: VecDeque::new(),
        }
    }
}

impl Source for Line {
    fn collect(&mut self, _queue: &mut Taker<Job>, _now: Instant) -> usize {
        // What waits keeps its place until a worker has room.
        0
    }

    fn assign(&mut self, _workers: &mut dyn Iterator<Item = u64>) {}

    fn offer(&mut self, queue: &mut Taker<Job>, asking: Asking) -> Offer {
        self.returned.retain(|job| job.is_live(asking.now));
        if !self.returned.is_empty() {
            let count = self.returned.len().min(asking.room);
            return Offer::Jobs(self.returned.drain(..count).collect(), 0);
        }
        if asking.is_running {
            let jobs = queue.take_up_to(asking.room, asking.now);
            let places = jobs.len();
            return Offer::Jobs(jobs, places);
        }
        let mode = if asking.is_last_call {
            Take::Anything
        } else {
            Take::DueOnly
        };
        match queue.take(asking.now, mode) {
            Taken::Batch(jobs) => {
                let places = jobs.len();
                Offer::Jobs(jobs, places)
            }
            Taken::Wait(at) => Offer::Wait(at),
            Taken::Empty => Offer::Nothing,
        }
    }

    fn is_waited_for(&self, _worker: u64) -> bool {
        false
    }

    fn answered(&mut self, _tag: &SequenceTag, _now: Instant) {}

    fn ended(&mut self, _id: &str, _now: Instant) {}

    fn put_back(&mut self, jobs: Vec<Job>, _now: Instant) {
        for job in jobs.into_iter().rev() {
            self.returned.push_front(job);
        }
    }

    fn lose(&mut self, _worker: u64) -> Vec<Job> {
        Vec::new()
    }

    fn expire(&mut self, _now: Instant) -> Option<Instant> {
        None
    }

    fn drain(&mut self) -> Vec<Job> {
        self.returned.drain(..).collect()
    }

    fn len(&self) -> usize {
        self.returned.len()
    }
}
