//! Publishing batches to a worker.

use std::sync::Arc;

use super::ServerLink;
use crate::{
    error::SubmitError,
    sync::{Ordering, fence},
};

/// Where one request record lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// From the start of the arena, in bytes.
    pub offset: u64,
    /// In bytes.
    pub len: u32,
}

/// The sending half of the server's end; closes the link when dropped.
#[derive(Debug)]
pub struct Submitter {
    link: Arc<ServerLink>,
}

impl Submitter {
    pub(super) fn new(link: Arc<ServerLink>) -> Self {
        Self { link }
    }

    /// Publishes one batch and wakes the worker if it sleeps; never blocks.
    ///
    /// The jobs' records, and what they refer to in the arena, must stay until the batch's last reply
    /// was read or the worker is dead.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] while `depth` batches are unanswered, `TooManyJobs` for more than
    /// `max_batch`, `Closed` after [`close`](Self::close).
    pub fn submit(&mut self, batch_id: u64, jobs: &[JobRef]) -> Result<(), SubmitError> {
        let memory = &*self.link.memory;
        let control = memory.control();
        if self.link.is_closed.load(Ordering::Relaxed) != 0 {
            return Err(SubmitError::Closed);
        }
        if jobs.len() as u64 > memory.geometry.max_batch {
            return Err(SubmitError::TooManyJobs);
        }
        let number = self.link.submitted.load(Ordering::Relaxed);
        let finished = self.link.finished.load(Ordering::Acquire);
        if number.saturating_sub(finished) >= memory.geometry.depth {
            return Err(SubmitError::Full);
        }
        let slot = memory.geometry.submission_slot(number);
        let put = |index: u64, value: u64| {
            memory.word(slot + index).store(value, Ordering::Relaxed);
        };
        put(0, batch_id);
        put(1, jobs.len() as u64);
        for (index, job) in (0_u64..).zip(jobs) {
            put(2 + 2 * index, job.offset);
            put(3 + 2 * index, u64::from(job.len));
        }
        // Before the worker can answer it: `finished` is checked against this count.
        self.link.submitted.store(number + 1, Ordering::Release);
        // SYNC: submitted. Pairs with the Acquire load in `WorkerLink::take`.
        control.submitted.0.store(number + 1, Ordering::Release);
        // SYNC: sleeps_for_submissions. Pairs with the fence in `WorkerLink::receive`.
        fence(Ordering::SeqCst);
        let sleeps = &control.worker.0.sleeps_for_submissions;
        if sleeps.load(Ordering::Relaxed) != 0 {
            sleeps.store(0, Ordering::Relaxed);
            let bell = &control.server.0.submission_bell;
            self.link.wakes.submission.ring(bell);
        }
        Ok(())
    }

    /// Number of batches submitted so far.
    pub fn submitted(&self) -> u64 {
        self.link.submitted.load(Ordering::Relaxed)
    }

    /// Number of batches that the worker has taken from the ring so far.
    ///
    /// The worker says so itself: the figure is kept between what was answered and what was
    /// submitted, and never runs backwards, but is otherwise only as good as the worker. The batch
    /// that is taken while the link is being closed may or may not be counted; after the worker's
    /// death the figure is final.
    pub fn started(&self) -> u64 {
        let submitted = self.link.submitted.load(Ordering::Relaxed);
        let finished = self.link.finished.load(Ordering::Acquire);
        let claimed = self.link.memory.control().taken.0.load(Ordering::Acquire);
        let plausible = claimed.min(submitted).max(finished);
        self.link
            .started
            .fetch_max(plausible, Ordering::AcqRel)
            .max(plausible)
    }

    /// Tells the worker that no batch will follow; what it has taken it may still answer.
    pub fn close(&self) {
        self.link.is_closed.store(1, Ordering::Relaxed);
        let control = self.link.memory.control();
        // SYNC: is_closed. The ring below releases it; it is read under the bell's Acquire.
        control.server.0.is_closed.store(1, Ordering::SeqCst);
        // Unconditional, since closing is rare: no sleeping flag needs to be right for it.
        let bell = &control.server.0.submission_bell;
        self.link.wakes.submission.ring(bell);
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        self.close();
    }
}
