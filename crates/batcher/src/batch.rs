//! Admission of jobs at one end, batches at the other.

use std::{collections::VecDeque, fmt, time::Instant};

use crate::{
    Policy,
    queue::{self, Consumer, Producer, PushError},
    sync::{Arc, AtomicUsize, Ordering},
};

/// What a batcher must know of a job.
pub trait Queued {
    /// Whether somebody still wants the answer: the deadline lies ahead and the client has not gone away.
    ///
    /// Once false it stays false.
    fn is_live(&self, now: Instant) -> bool;

    /// When the job came into the server; the delay of its batch counts from here.
    fn arrived(&self) -> Instant;
}

/// Who asks for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// An idle worker: gives a batch that is full or due.
    DueOnly,
    /// An idle worker when no other job can arrive: gives whatever is there.
    Anything,
    /// A busy worker, ahead of need: gives a full batch only, since a batch that has to wait can as well grow.
    FullOnly,
}

/// What [`Taker::take`] found.
#[derive(Debug)]
pub enum Taken<J> {
    /// Jobs to run together, in order; at least one and at most `batch_size`.
    ///
    /// They keep their places in the queue until [`Batcher::release`].
    Batch(Vec<J>),
    /// Jobs wait, but their batch is open; an idle worker that asks at this instant gets it, however small it is then.
    Wait(Instant),
    /// No live job waits.
    Empty,
}

/// The near end of a model's queue: admits jobs, from any thread.
///
/// A job holds one of `capacity` places from its [`push`](Self::push) until its [`release`](Self::release), so that
/// jobs handed to a worker ahead of time still count against the bound.
pub struct Batcher<J> {
    policy: Policy,
    /// Jobs in the order of admission.
    admitted: Producer<J>,
    /// The length of [`Taker::staged`].
    staged: Arc<AtomicUsize>,
}

/// The far end of a model's queue: forms batches.
///
/// There is one per queue, so jobs leave it in one order; threads share it in a [`Combiner`](crate::Combiner). Dropping
/// it closes the queue and drops the jobs that wait.
pub struct Taker<J> {
    policy: Policy,
    admitted: Consumer<J>,
    /// The oldest waiting jobs: out of the queue, in no batch yet.
    staged: VecDeque<J>,
    /// The public copy of `staged.len()`, for [`Batcher::waiting`].
    staged_len: Arc<AtomicUsize>,
}

impl<J> Batcher<J> {
    /// Makes the queue of one model version, with room for `capacity` jobs; with none, every job is refused.
    ///
    /// # Panics
    ///
    /// Panics if slots for `capacity` jobs, rounded up to a power of two, do not fit in memory.
    pub fn new(policy: Policy, capacity: usize) -> (Self, Taker<J>) {
        let (admitted, admitted_consumer) = queue::bounded(capacity);
        let staged = Arc::new(AtomicUsize::new(0));
        let taker = Taker {
            policy,
            admitted: admitted_consumer,
            staged: VecDeque::new(),
            staged_len: Arc::clone(&staged),
        };
        let batcher = Self {
            policy,
            admitted,
            staged,
        };
        (batcher, taker)
    }

    /// Admits `job`, or hands it back; lock-free, never waits, never allocates.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] when `capacity` jobs hold places, [`PushError::Closed`] after [`close`](Self::close).
    pub fn push(&self, job: J) -> Result<(), PushError<J>> {
        self.admitted.push(job)
    }

    /// Frees the places of `count` jobs that [`Taker::take`] handed out and that have started or died.
    pub fn release(&self, count: usize) {
        self.admitted.release(count);
    }

    /// Refuses all further jobs. Those admitted can still be taken, and without delay since nothing can join them.
    pub fn close(&self) {
        self.admitted.close();
    }

    /// The number of jobs that wait, dead ones included until they are met; a snapshot.
    pub fn waiting(&self) -> usize {
        self.admitted.len() + self.staged.load(Ordering::Relaxed)
    }

    /// The number of places.
    pub fn capacity(&self) -> usize {
        self.admitted.capacity()
    }

    /// What closes a batch.
    pub fn policy(&self) -> Policy {
        self.policy
    }
}

impl<J: Queued> Taker<J> {
    /// Takes the next batch, if there is one for a caller of this kind.
    ///
    /// Jobs not live at `now` are dropped when met: they free their places and neither fill a batch nor hold one open.
    pub fn take(&mut self, now: Instant, mode: Take) -> Taken<J> {
        self.stage(now);
        let taken = match self.staged.front() {
            None => Taken::Empty,
            Some(oldest) => {
                let oldest = oldest.arrived();
                let closed = self.policy.is_full(self.staged.len())
                    || mode == Take::Anything
                    || mode == Take::DueOnly
                        && (self.policy.is_due(oldest, now) || self.admitted.is_closed());
                if closed {
                    let size = self.staged.len().min(self.policy.batch_size.get());
                    Taken::Batch(self.staged.drain(..size).collect())
                } else {
                    Taken::Wait(self.policy.deadline(oldest, now))
                }
            }
        };
        self.publish_staged();
        taken
    }

    /// When the oldest job that waits arrived; jobs that are not live at `now` are dropped as in [`take`](Self::take).
    pub fn oldest(&mut self, now: Instant) -> Option<Instant> {
        self.stage(now);
        self.publish_staged();
        self.staged.front().map(Queued::arrived)
    }

    /// Takes the oldest live jobs, `most` at most, whether or not they fill a batch or are due: for a caller whose batch
    /// runs anyway. They keep their places in the queue until [`Batcher::release`].
    pub fn take_up_to(&mut self, most: usize, now: Instant) -> Vec<J> {
        self.stage(now);
        let size = self.staged.len().min(most);
        let jobs = self.staged.drain(..size).collect();
        self.publish_staged();
        jobs
    }

    /// Takes everything that waits, live or not, in order, and frees its places.
    ///
    /// After [`Batcher::close`] this is every job whose push succeeded and that was not taken before; it may then have
    /// to wait for another thread to finish the last instructions of a push.
    pub fn drain(&mut self) -> Vec<J> {
        let mut jobs = Vec::from(std::mem::take(&mut self.staged));
        jobs.extend(std::iter::from_fn(|| self.admitted.pop_last()));
        self.admitted.release(jobs.len());
        self.publish_staged();
        jobs
    }

    /// Brings a batch of live jobs to `staged`, or as many as there are.
    fn stage(&mut self, now: Instant) {
        let before = self.staged.len();
        self.staged.retain(|job| job.is_live(now));
        let mut dead = before - self.staged.len();
        while !self.policy.is_full(self.staged.len()) {
            match self.admitted.pop() {
                Some(job) if job.is_live(now) => self.staged.push_back(job),
                Some(job) => {
                    drop(job);
                    dead += 1;
                }
                None => break,
            }
        }
        self.admitted.release(dead);
    }

    fn publish_staged(&self) {
        self.staged_len.store(self.staged.len(), Ordering::Relaxed);
    }
}

impl<J> fmt::Debug for Batcher<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Batcher")
            .field("policy", &self.policy)
            .field("capacity", &self.capacity())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl<J> fmt::Debug for Taker<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Taker")
            .field("policy", &self.policy)
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}
