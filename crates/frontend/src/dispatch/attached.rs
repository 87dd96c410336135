//! A worker as the dispatcher sees it: the sending end of its link and what is in flight on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::{ArrayQueue, SegQueue};
use tokio::sync::oneshot;
use tserve_shm::{JobRef, Submitter};

use super::LINK_DEPTH;
use super::batch::Batch;
use super::job::Job;
use super::kind::Kind;
use super::round::Round;
use crate::error::Error;

/// Batches are prepared for a busy worker only if it is done with the one it runs in about this
/// time. Waiting for the server would cost a quick worker a good part of its time; to a slow one it
/// makes no difference, and a request that waits in the queue can still be cancelled, expire, or go
/// to another worker.
const QUICK: Duration = Duration::from_millis(5);
/// How much work may lie prepared for a worker that is the model's only one: long enough that
/// neither side has to be woken for every batch.
const AHEAD: Duration = Duration::from_millis(1);
/// The share of the newest batch in the running mean of batch times is one in this many.
const MEAN_OVER: u64 = 8;

/// Batches on a worker's link, oldest first: the dispatcher adds, the worker's own task removes.
#[derive(Debug)]
pub struct InFlight {
    batches: ArrayQueue<Batch>,
    /// What the worker's rounds have left, for the dispatcher.
    rounds: SegQueue<Round>,
    completed: AtomicU64,
    /// Nanoseconds after `epoch` at which the batch that runs now began; 0 while idle.
    running_since: AtomicU64,
    /// Running mean of the nanoseconds a batch takes; `u64::MAX` before the first one. A mean,
    /// because replies that are collected together seem to have taken no time one by one.
    batch_time: AtomicU64,
    epoch: Instant,
}

impl InFlight {
    /// An empty link.
    pub fn new(kind: &Kind) -> Arc<Self> {
        Arc::new(Self {
            batches: ArrayQueue::new(kind.link_depth() as usize),
            rounds: SegQueue::new(),
            completed: AtomicU64::new(0),
            running_since: AtomicU64::new(0),
            batch_time: AtomicU64::new(u64::MAX),
            epoch: Instant::now(),
        })
    }

    /// Takes the oldest batch, whose answer has begun to arrive or never will.
    pub fn take(&self) -> Option<Batch> {
        self.batches.pop()
    }

    /// Hands on what a round has left, before [`Self::finish`].
    pub fn give_back(&self, round: Round) {
        self.rounds.push(round);
    }

    /// What a round has left that the dispatcher has not seen.
    pub fn take_round(&self) -> Option<Round> {
        self.rounds.pop()
    }

    /// Notes that a batch taken with [`Self::take`] is answered; the next one, if any, runs now.
    pub fn finish(&self) {
        let began = self.running_since.load(Ordering::Relaxed);
        let took = self.now().saturating_sub(began);
        let mean = match self.batch_time.load(Ordering::Relaxed) {
            u64::MAX => took,
            mean => mean - mean / MEAN_OVER + took / MEAN_OVER,
        };
        self.batch_time.store(mean, Ordering::Relaxed);
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

    /// How many batches the worker is to hold. More than one if it will soon want the next: its
    /// batches are short, and the one that runs has not been running for long.
    fn depth(&self, is_only_worker: bool) -> u64 {
        let batch_time = Duration::from_nanos(self.batch_time.load(Ordering::Relaxed));
        if batch_time >= QUICK || self.running_for().is_some_and(|time| time >= QUICK) {
            return 1;
        }
        if !is_only_worker {
            // What lies here cannot go to a worker that turns out to be faster.
            return 2;
        }
        let ahead = AHEAD.as_nanos() / batch_time.as_nanos().max(1);
        u64::try_from(ahead).map_or(u64::from(LINK_DEPTH), |ahead| {
            ahead.clamp(2, u64::from(LINK_DEPTH))
        })
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
    /// Jobs of batches that wait on the link and still count as queued.
    pub unreleased: usize,
    /// Jobs that waited for this worker and that no other can serve.
    pub lost: Vec<Job>,
}

/// A worker that takes batches.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) worker: u64,
    submitter: Submitter,
    in_flight: Arc<InFlight>,
    submitted: u64,
    /// Batches that wait on the link: their number among those submitted, and their jobs.
    ahead: VecDeque<(u64, usize)>,
    /// Set when the link has refused a batch; it gets no other.
    pub(super) is_broken: bool,
    /// Batches it may be running at a time.
    at_once: u64,
    /// Set when it is to go as soon as it has nothing left that only it can do.
    leaving: Option<oneshot::Sender<LinkEnd>>,
    scratch: Vec<JobRef>,
}

impl Attached {
    pub(super) fn new(
        worker: u64,
        submitter: Submitter,
        in_flight: Arc<InFlight>,
        at_once: u64,
    ) -> Self {
        Self {
            worker,
            submitter,
            in_flight,
            submitted: 0,
            ahead: VecDeque::new(),
            is_broken: false,
            at_once,
            leaving: None,
            scratch: Vec::new(),
        }
    }

    /// Batches the worker has and has not answered.
    pub(super) fn load(&self) -> u64 {
        self.submitted - self.in_flight.completed()
    }

    /// Whether it can begin with another batch at once.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_broken && self.load() < self.at_once
    }

    /// Lets it go once nothing is left that only it can do.
    pub(super) fn leave(&mut self, link: oneshot::Sender<LinkEnd>) {
        self.leaving = Some(link);
    }

    /// Whether it takes nothing new.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// What a round of it has left.
    pub(super) fn take_round(&self) -> Option<Round> {
        self.in_flight.take_round()
    }

    /// Whether it is to hold another batch.
    pub(super) fn has_room(&self, is_only_worker: bool) -> bool {
        !self.is_broken && self.load() < self.in_flight.depth(is_only_worker)
    }

    /// Jobs that were waiting on the link and have begun to run since the last call.
    pub(super) fn newly_started(&mut self) -> usize {
        let completed = self.in_flight.completed();
        let mut started = 0;
        while let Some(&(number, jobs)) = self.ahead.front()
            && number <= completed
        {
            started += jobs;
            self.ahead.pop_front();
        }
        started
    }

    /// The link, for the worker's own task: no more batches go to it from here.
    pub(super) fn hand_over(self, lost: Vec<Job>, link: Option<oneshot::Sender<LinkEnd>>) {
        let end = LinkEnd {
            unreleased: self.ahead.iter().map(|(_, jobs)| jobs).sum(),
            submitter: self.submitter,
            lost,
        };
        if let Some(link) = link.or(self.leaving) {
            // A task that no longer waits for its link is gone with its worker.
            let _ = link.send(end);
        }
    }

    /// Gives the worker a batch. When the link refuses it, the batch stays in flight and the
    /// worker's own task, which is about to detach the link, takes it back from there.
    ///
    /// Returns how many of its jobs wait on the link because the worker is busy.
    pub(super) fn submit(&mut self, batch: Batch) -> usize {
        let starts_now = self.load() < self.at_once;
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
        if starts_now {
            self.in_flight
                .running_since
                .store(self.in_flight.now(), Ordering::Relaxed);
        } else {
            self.ahead.push_back((self.submitted, count));
        }
        self.submitted += 1;
        if let Err(error) = self.submitter.submit(id, &self.scratch) {
            tracing::debug!(worker = self.worker, ?error, "link refused a batch");
            self.is_broken = true;
        }
        if starts_now { 0 } else { count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth_after(batch_time: Duration, is_only_worker: bool) -> u64 {
        let in_flight = InFlight::new(&Kind::Batches);
        let nanos = u64::try_from(batch_time.as_nanos()).expect("short");
        in_flight.batch_time.store(nanos, Ordering::Relaxed);
        in_flight.depth(is_only_worker)
    }

    #[test]
    fn a_worker_alone_gets_a_millisecond_of_work_ahead() {
        assert_eq!(depth_after(Duration::from_micros(10), true), 16);
        assert_eq!(depth_after(Duration::from_micros(200), true), 5);
        assert_eq!(depth_after(Duration::from_millis(4), true), 2);
    }

    #[test]
    fn a_worker_with_colleagues_gets_one_batch_ahead() {
        assert_eq!(depth_after(Duration::from_micros(10), false), 2);
    }

    #[test]
    fn a_slow_worker_and_one_that_has_proved_nothing_get_none() {
        assert_eq!(depth_after(Duration::from_millis(6), true), 1);
        assert_eq!(InFlight::new(&Kind::Batches).depth(true), 1);
    }

    #[test]
    fn batches_collected_together_do_not_look_instant() {
        let in_flight = InFlight::new(&Kind::Batches);
        in_flight.batch_time.store(4_000_000, Ordering::Relaxed);
        in_flight
            .running_since
            .store(in_flight.now(), Ordering::Relaxed);
        in_flight.finish();
        let mean = in_flight.batch_time.load(Ordering::Relaxed);
        assert!(mean >= 3_500_000, "{mean} ns");
    }
}
