//! From a model's queue to its workers and back: the scheduler of one model version.
//!
//! There is no collector thread. Whoever changes something that may let a batch start (a request
//! arrives, a worker finishes, a delay runs out, a worker comes or goes) calls
//! [`Dispatcher::pump`] on its own thread. A combiner lets one of them at a time match due batches
//! to free workers; the others leave a note and return at once.
//!
//! A worker may hold more than the batch it runs: full ones that were waiting, so that a quick
//! worker never waits for the server. What waits there still counts as queued.

mod arrivals;
mod attached;
mod batch;
mod batches;
mod delivery;
mod due;
mod job;
mod kind;
mod line;
mod round;
mod rounds;
mod sequences;
mod stream;

pub use self::arrivals::{Arrivals, Client, WaitingClient};
pub use self::attached::{InFlight, LinkEnd};
pub use self::batch::{Batch, ReplyLimits, raised};
pub use self::delivery::Delivery;
pub use self::job::{BegunReceiver, EncodedRequest, Job, ReplySlot, SequenceTag};
pub use self::kind::{Kind, SequenceLimits};
pub use self::round::Round;
pub use self::stream::{Begun, ReplyStream, Room};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use tokio::sync::oneshot;
use tserve_batcher::{Batcher, Combiner, Policy, PushError, Taker};
use tserve_shm::Submitter;

use self::attached::Attached;
use self::due::DueTime;
use self::rounds::Rounds;
use crate::error::Error;

/// Most batches a worker may hold, the running one among them.
pub const LINK_DEPTH: u32 = 16;

/// Something that happened to the set of workers.
enum Event {
    /// A worker is loaded and takes batches.
    Attach(Attached),
    /// A worker takes no more batches; its link goes back to whoever asked.
    Detach {
        worker: u64,
        link: oneshot::Sender<LinkEnd>,
        /// Whether it may first do what only it can do.
        is_orderly: bool,
    },
    /// Jobs that were taken and not started come back.
    PutBack(Vec<Job>),
    /// Everything that waits is answered with this error; with `closing`, so is what comes later.
    Flush { error: Error, closing: bool },
}

/// State that only the combiner's holder sees.
struct Matching {
    taker: Taker<Job>,
    /// Jobs whose worker went away before it had begun with them; they go before all others.
    returned: VecDeque<Job>,
    workers: Vec<Attached>,
    /// Set when the batches of a worker hang together.
    rounds: Option<Box<Rounds>>,
    next_batch_id: u64,
    /// Where the search for an idle worker starts, so that load is spread.
    cursor: usize,
    /// Set once the dispatcher is closed: what every later job is told.
    closed: Option<Error>,
}

/// Queue, batch formation and worker choice of one model version.
pub struct Dispatcher {
    kind: Kind,
    batcher: Batcher<Job>,
    /// Jobs that must run alone (customized describe).
    solo: SegQueue<Job>,
    events: SegQueue<Event>,
    matching: Combiner<Matching>,
    due: DueTime,
    /// Who may send more; `None` to always wait for the whole delay.
    arrivals: Option<Arc<Arrivals>>,
    /// Jobs of batches that wait on a worker's link.
    on_links: AtomicUsize,
    /// Jobs in `Matching::returned`.
    returned: AtomicUsize,
    /// Workers with nothing in flight, as of the last match; a hint for job tickets.
    idle_workers: AtomicUsize,
    /// Whether somebody wants to know `oldest`.
    wants_oldest: AtomicBool,
    /// Nanoseconds after the epoch of `due` at which the oldest waiting job arrived; `u64::MAX`
    /// when none waits. As of when it was last asked for.
    oldest: AtomicU64,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("waiting", &self.waiting())
            .field("policy", &self.batcher.policy())
            .finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// A dispatcher without workers, and the task that wakes it when a batch is due.
    ///
    /// Must be called inside a tokio runtime; the task ends with the dispatcher.
    pub fn start(
        kind: Kind,
        policy: Policy,
        job_queue_size: usize,
        arrivals: Option<Arc<Arrivals>>,
    ) -> Arc<Self> {
        let (batcher, taker) = Batcher::new(policy, job_queue_size);
        let rounds = Rounds::of(&kind, policy);
        let has_deadlines = policy.batch_size.get() > 1 || rounds.is_some();
        let dispatcher = Arc::new(Self {
            kind,
            batcher,
            solo: SegQueue::new(),
            events: SegQueue::new(),
            matching: Combiner::new(Matching {
                taker,
                returned: VecDeque::new(),
                workers: Vec::new(),
                rounds,
                next_batch_id: 0,
                cursor: 0,
                closed: None,
            }),
            due: DueTime::new(),
            // A batch of one has nothing to wait for, whoever may come.
            arrivals: arrivals.filter(|_| policy.batch_size.get() > 1),
            on_links: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
            idle_workers: AtomicUsize::new(0),
            wants_oldest: AtomicBool::new(false),
            oldest: AtomicU64::new(u64::MAX),
        });
        if has_deadlines {
            tokio::spawn(DueTime::watch(Arc::downgrade(&dispatcher)));
        }
        dispatcher
    }

    /// Queues a job and starts it at once if a worker is free for it.
    ///
    /// # Errors
    /// The job comes back when the queue is full or the model is being removed.
    #[expect(
        clippy::result_large_err,
        reason = "the job moves either way; boxing it would cost every request"
    )]
    pub fn push(&self, job: Job) -> Result<(), PushError<Job>> {
        self.batcher.push(job)?;
        self.pump();
        Ok(())
    }

    /// Queues a job that must be alone in its batch.
    pub fn push_solo(&self, job: Job) {
        self.solo.push(job);
        self.pump();
    }

    /// Lets a loaded worker take batches.
    pub fn attach(&self, worker: u64, submitter: Submitter, in_flight: Arc<InFlight>) {
        let at_once = self.kind.at_once();
        let worker = Attached::new(worker, submitter, in_flight, at_once);
        self.events.push(Event::Attach(worker));
        self.pump();
    }

    /// How requests become batches here.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Stops giving batches to a worker. What it has in flight stays with its own task.
    pub async fn detach(&self, worker: u64) -> Option<LinkEnd> {
        self.part_with(worker, false).await.ok()
    }

    /// As [`Self::detach`], but what only this worker can finish is finished first.
    pub fn leave(&self, worker: u64) -> oneshot::Receiver<LinkEnd> {
        self.part_with(worker, true)
    }

    fn part_with(&self, worker: u64, is_orderly: bool) -> oneshot::Receiver<LinkEnd> {
        let (link, returned) = oneshot::channel();
        self.events.push(Event::Detach {
            worker,
            link,
            is_orderly,
        });
        self.pump();
        returned
    }

    /// Frees the places of jobs that had waited on a link and will not start there.
    pub fn release(&self, jobs: usize) {
        if jobs > 0 {
            self.on_links.fetch_sub(jobs, Ordering::Relaxed);
            self.batcher.release(jobs);
        }
    }

    /// Puts jobs that no worker has started back in front of the queue. They hold no places in it
    /// any more, so that for a moment more jobs may wait than it has places.
    pub fn put_back(&self, jobs: Vec<Job>) {
        self.events.push(Event::PutBack(jobs));
        self.pump();
    }

    /// Answers everything that waits with the same error and takes no more jobs.
    pub fn close(&self, error: Error) {
        self.batcher.close();
        self.events.push(Event::Flush {
            error,
            closing: true,
        });
        self.pump();
    }

    /// Answers everything that waits with the same error.
    pub fn flush(&self, error: Error) {
        self.events.push(Event::Flush {
            error,
            closing: false,
        });
        self.pump();
    }

    /// Jobs that wait, those that wait on a link, came back or must run alone among them.
    pub fn waiting(&self) -> usize {
        self.batcher.waiting()
            + self.on_links.load(Ordering::Relaxed)
            + self.returned.load(Ordering::Relaxed)
            + self.solo.len()
    }

    /// How long the oldest job that waits in the queue has waited; `None` when none does.
    pub fn oldest_age(&self) -> Option<Duration> {
        self.wants_oldest.store(true, Ordering::Relaxed);
        // Another thread that is matching may answer a moment later: then this is the last answer.
        self.pump();
        match self.oldest.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanos => Some(
                self.due
                    .epoch
                    .elapsed()
                    .saturating_sub(Duration::from_nanos(nanos)),
            ),
        }
    }

    /// Places in the queue.
    pub fn capacity(&self) -> usize {
        self.batcher.capacity()
    }

    /// Whether some worker had nothing to do when work was last matched.
    pub fn has_idle_worker(&self) -> bool {
        self.idle_workers.load(Ordering::Relaxed) > 0
    }

    /// Matches due batches to free workers until nothing more fits. Never blocks.
    pub fn pump(&self) {
        self.matching.run(|matching| self.match_work(matching));
    }

    fn match_work(&self, matching: &mut Matching) {
        self.apply_events(matching);
        if let Some(error) = matching.closed.clone() {
            // A push that overlapped with closing may have got in.
            self.answer_waiting(matching, &error);
            if matching.rounds.is_none() {
                return;
            }
        }
        for worker in &mut matching.workers {
            self.release(worker.newly_started());
        }
        if let Some(mut rounds) = matching.rounds.take() {
            self.match_rounds(matching, &mut rounds);
            matching.rounds = Some(rounds);
            Self::let_go(matching);
            self.count_returned(matching);
        } else {
            while self.start_one(matching) {}
        }
        let idle = matching
            .workers
            .iter()
            .filter(|worker| worker.is_idle())
            .count();
        self.idle_workers.store(idle, Ordering::Relaxed);
        if self.wants_oldest.load(Ordering::Relaxed) {
            self.wants_oldest.store(false, Ordering::Relaxed);
            let returned = matching.returned.front().map(|job| job.arrived);
            let oldest = returned.or_else(|| matching.taker.oldest(Instant::now()));
            let nanos = oldest.map_or(u64::MAX, |at| {
                let nanos = at.saturating_duration_since(self.due.epoch).as_nanos();
                u64::try_from(nanos).unwrap_or(u64::MAX - 1)
            });
            self.oldest.store(nanos, Ordering::Relaxed);
        }
    }

    fn apply_events(&self, matching: &mut Matching) {
        while let Some(event) = self.events.pop() {
            match event {
                Event::Attach(worker) => matching.workers.push(worker),
                Event::Detach {
                    worker,
                    link,
                    is_orderly,
                } => {
                    let place = matching.workers.iter().position(|w| w.worker == worker);
                    let Some(place) = place else { continue };
                    if is_orderly && matching.rounds.is_some() {
                        matching.workers[place].leave(link);
                        continue;
                    }
                    let worker = matching.workers.swap_remove(place);
                    let rounds = matching.rounds.as_mut();
                    let lost = rounds.map_or_else(Vec::new, |rounds| rounds.lose(&worker));
                    worker.hand_over(lost, Some(link));
                }
                Event::PutBack(jobs) => {
                    if let Some(rounds) = &mut matching.rounds {
                        rounds.put_back(jobs);
                    } else {
                        for job in jobs.into_iter().rev() {
                            matching.returned.push_front(job);
                        }
                    }
                    self.count_returned(matching);
                }
                Event::Flush { error, closing } => {
                    self.answer_waiting(matching, &error);
                    if closing {
                        matching.closed = Some(error);
                    }
                }
            }
        }
    }

    /// Parts with workers that were waiting only for their last round.
    fn let_go(matching: &mut Matching) {
        let Some(rounds) = &mut matching.rounds else {
            return;
        };
        let is_done = |worker: &mut Attached| worker.is_leaving() && rounds.is_done(worker);
        let done: Vec<_> = matching.workers.extract_if(.., is_done).collect();
        for worker in done {
            let lost = rounds.lose(&worker);
            worker.hand_over(lost, None);
        }
    }

    fn count_returned(&self, matching: &Matching) {
        let in_rounds = matching.rounds.as_ref().map_or(0, |rounds| rounds.len());
        let returned = matching.returned.len() + in_rounds;
        self.returned.store(returned, Ordering::Relaxed);
    }

    fn answer_waiting(&self, matching: &mut Matching, error: &Error) {
        let waiting = matching.returned.drain(..).chain(matching.taker.drain());
        let rounds = matching.rounds.as_mut();
        let stayed = rounds.map_or_else(Vec::new, |rounds| rounds.drain());
        for job in waiting.chain(stayed) {
            job.answer(Err(error.clone()));
        }
        self.count_returned(matching);
        while let Some(job) = self.solo.pop() {
            job.answer(Err(error.clone()));
        }
    }

    /// Whether a batch that waits for company waits in vain.
    fn is_last_call(&self) -> bool {
        let delay = self.batcher.policy().max_batch_delay;
        let arrivals = self.arrivals.as_ref();
        arrivals.is_some_and(|them| them.are_over(delay))
    }
}

#[cfg(test)]
mod tests;
