//! Batches that are formed, run and answered: which jobs go together, and to which worker.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tserve_batcher::{Queued as _, Take, Taken};

use super::batch::Batch;
use super::delivery::Closing;
use super::job::Job;
use super::{Dispatcher, Matching};
use crate::telemetry::Release;

/// The jobs of the next batch.
struct Next {
    jobs: Vec<Job>,
    closing: Closing,
    /// How many of them hold a place in the queue, which is free again as soon as they run.
    places: usize,
}

impl Next {
    fn without_places(jobs: Vec<Job>, reason: Release, at: Instant) -> Self {
        let closing = Closing::new(reason, at, &jobs, Duration::ZERO);
        Self {
            jobs,
            closing,
            places: 0,
        }
    }
}

impl Dispatcher {
    /// Starts or prepares one batch; false when nothing is due or no worker has room.
    pub(super) fn start_one(&self, matching: &mut Matching) -> bool {
        let Some((place, take)) = matching.choose() else {
            return false;
        };
        let Some(next) = self.next_jobs(matching, take) else {
            return false;
        };
        let places = next.places;
        let batch = Batch::closed(matching.next_batch_id, next.jobs, next.closing);
        matching.next_batch_id += 1;
        matching.cursor = place + 1;
        let worker = &mut matching.workers[place];
        self.release(worker.newly_started());
        let prepared = worker.submit(batch);
        self.on_links.fetch_add(prepared, Ordering::Relaxed);
        // A worker that was busy when it was chosen may have finished since then.
        self.batcher.release(places.saturating_sub(prepared));
        true
    }

    /// What goes next to a worker that is idle (`DueOnly`) or busy with room (`FullOnly`).
    fn next_jobs(&self, matching: &mut Matching, take: Take) -> Option<Next> {
        let now = Instant::now();
        let mut take = take;
        if take == Take::DueOnly {
            if self.is_last_call() {
                take = Take::Anything;
            }
            if let Some(job) = self.solo.pop() {
                return Some(Next::without_places(vec![job], Release::Alone, now));
            }
            let jobs = matching.take_returned(self.batcher.policy().batch_size.get(), now);
            self.count_returned(matching);
            if !jobs.is_empty() {
                return Some(Next::without_places(jobs, Release::Retried, now));
            }
        }
        match matching.taker.take(now, take) {
            Taken::Batch(jobs) => {
                let policy = self.batcher.policy();
                let reason = if jobs.len() >= policy.batch_size.get() {
                    Release::Full
                } else if take == Take::Anything {
                    Release::Eager
                } else {
                    Release::Delay
                };
                Some(Next {
                    closing: Closing::new(reason, now, &jobs, policy.max_batch_delay),
                    places: jobs.len(),
                    jobs,
                })
            }
            Taken::Wait(at) => {
                if take != Take::FullOnly {
                    self.due.set(at);
                }
                None
            }
            Taken::Empty => None,
        }
    }
}

impl Matching {
    /// Jobs that came back, as many as fit into a batch and are still wanted.
    fn take_returned(&mut self, most: usize, now: Instant) -> Vec<Job> {
        self.returned.retain(|job| job.is_live(now));
        let count = self.returned.len().min(most);
        self.returned.drain(..count).collect()
    }

    /// An idle worker, which takes whatever is due, or else the least loaded one with room, which
    /// takes a full batch only.
    fn choose(&self) -> Option<(usize, Take)> {
        let count = self.workers.len();
        let places = (0..count).map(|step| (self.cursor + step) % count);
        let mut with_room = None;
        for place in places {
            let worker = &self.workers[place];
            if worker.is_idle() {
                return Some((place, Take::DueOnly));
            }
            if with_room.is_none() && worker.has_room(count == 1) {
                with_room = Some((place, Take::FullOnly));
            }
        }
        with_room
    }
}
