//! A worker as the dispatcher sees it: the sending end of its link and what is in flight on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use tserve_shm::{JobRef, Submitter};

use super::LINK_DEPTH;
use super::batch::Batch;
use crate::error::Error;

/// A batch is prepared for a busy worker only if it is done with the one it runs in about this
/// time. Waiting for the server would cost a quick worker a good part of its time; to a slow one it
/// makes no difference, and a request that waits in the queue can still be cancelled, expire, or go
/// to another worker.
const QUICK: Duration = Duration::from_millis(5);

/// Batches on a worker's link, oldest first: the dispatcher adds, the worker's own task removes.
#[derive(Debug)]
pub struct InFlight {
    batches: ArrayQueue<Batch>,
    completed: AtomicU64,
    /// Nanoseconds after `epoch` at which the batch that runs now began; 0 while idle.
    running_since: AtomicU64,
    /// Nanoseconds the last finished batch took; `u64::MAX` before the first one.
    last_took: AtomicU64,
    epoch: Instant,
}

impl InFlight {
    /// An empty link.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            batches: ArrayQueue::new(LINK_DEPTH as usize),
            completed: AtomicU64::new(0),
            running_since: AtomicU64::new(0),
            last_took: AtomicU64::new(u64::MAX),
            epoch: Instant::now(),
        })
    }

    /// Takes the oldest batch, whose answer has begun to arrive or never will.
    pub fn take(&self) -> Option<Batch> {
        self.batches.pop()
    }

    /// Notes that a batch taken with [`Self::take`] is answered; the next one, if any, runs now.
    pub fn finish(&self) {
        let began = self.running_since.load(Ordering::Relaxed);
        self.last_took
            .store(self.now().saturating_sub(began), Ordering::Relaxed);
        // SYNC: completed. A dispatcher that sees the count also sees the freed place.
        self.completed.fetch_add(1, Ordering::Release);
        let now = if self.batches.is_empty() {
            0
        } else {
            self.now()
        };
        self.running_since.store(now, Ordering::Relaxed);
    }

    /// Notes that a part of the running batch's answer has arrived: it is not stuck.
    pub fn progressed(&self) {
        self.running_since.store(self.now(), Ordering::Relaxed);
    }

    /// Batches answered so far.
    pub fn finished(&self) -> u64 {
        self.completed()
    }

    /// How long the running batch has been running; `None` while idle.
    pub fn running_for(&self) -> Option<Duration> {
        match self.running_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_nanos(self.now().saturating_sub(since))),
        }
    }

    /// Whether the worker will soon want its next batch: the last one was short, and the one that
    /// runs has not been running for long.
    fn is_quick(&self) -> bool {
        Duration::from_nanos(self.last_took.load(Ordering::Relaxed)) < QUICK
            && self.running_for().is_none_or(|time| time < QUICK)
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.running_since.load(Ordering::Relaxed) == 0
    }

    fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        // Never 0, which means idle.
        u64::try_from(self.epoch.elapsed().as_nanos())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

/// The sending half of a worker's link, as it goes back to the worker's own task on detaching.
#[derive(Debug)]
pub struct LinkEnd {
    /// Sends batches.
    pub submitter: Submitter,
    /// Jobs of a batch that waited on the link and still counts as queued.
    pub unreleased: usize,
}

/// A worker that takes batches.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) worker: u64,
    pub(super) end: LinkEnd,
    in_flight: Arc<InFlight>,
    submitted: u64,
    /// Set when the link has refused a batch; it gets no other.
    pub(super) is_broken: bool,
    scratch: Vec<JobRef>,
}

impl Attached {
    pub(super) fn new(worker: u64, submitter: Submitter, in_flight: Arc<InFlight>) -> Self {
        Self {
            worker,
            end: LinkEnd {
                submitter,
                unreleased: 0,
            },
            in_flight,
            submitted: 0,
            is_broken: false,
            scratch: Vec::new(),
        }
    }

    /// Batches the worker has and has not answered.
    pub(super) fn load(&self) -> u64 {
        self.submitted - self.in_flight.completed()
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_broken && self.load() == 0
    }

    /// Whether it is to hold another batch.
    pub(super) fn has_room(&self) -> bool {
        !self.is_broken && self.load() < u64::from(LINK_DEPTH) && self.in_flight.is_quick()
    }

    /// Jobs that were waiting on the link and have begun to run since the last call.
    pub(super) fn newly_started(&mut self) -> usize {
        if self.load() <= 1 {
            std::mem::take(&mut self.end.unreleased)
        } else {
            0
        }
    }

    /// Gives the worker a batch. When the link refuses it, the batch stays in flight and the
    /// worker's own task, which is about to detach the link, takes it back from there.
    ///
    /// Returns how many of its jobs wait on the link because the worker is busy.
    pub(super) fn submit(&mut self, batch: Batch) -> usize {
        let starts_now = self.load() == 0;
        let (id, count) = (batch.id, batch.len());
        self.scratch.clear();
        self.scratch.extend(batch.job_refs());
        // The batch must be findable before the worker can answer it.
        if let Err(batch) = self.in_flight.batches.push(batch) {
            batch.fail(&Error::Internal(
                "A worker was given more than it can hold.".to_owned(),
            ));
            return 0;
        }
        self.submitted += 1;
        if starts_now {
            self.in_flight
                .running_since
                .store(self.in_flight.now(), Ordering::Relaxed);
        }
        self.end.unreleased = if starts_now { 0 } else { count };
        if let Err(error) = self.end.submitter.submit(id, &self.scratch) {
            tracing::debug!(worker = self.worker, ?error, "link refused a batch");
            self.is_broken = true;
        }
        self.end.unreleased
    }
}
