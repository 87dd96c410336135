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
mod delivery;
mod job;
mod stream;

pub use self::arrivals::{Arrivals, Client, WaitingClient};
pub use self::attached::{InFlight, LinkEnd};
pub use self::batch::{Batch, ReplyLimits};
pub use self::delivery::Delivery;
pub use self::job::{BegunReceiver, EncodedRequest, Job, ReplySlot};
pub use self::stream::{Begun, ReplyStream, Room};

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use tokio::sync::{Notify, oneshot};
use tserve_batcher::{Batcher, Combiner, Policy, PushError, Queued, Take, Taken, Taker};
use tserve_shm::Submitter;

use self::attached::Attached;
use self::delivery::Closing;
use crate::error::Error;
use crate::telemetry::Release;

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
    },
    /// Jobs that were taken and not started come back.
    PutBack(Vec<Job>),
    /// Everything that waits is answered with this error; with `closing`, so is what comes later.
    Flush { error: Error, closing: bool },
}

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

/// State that only the combiner's holder sees.
struct Matching {
    taker: Taker<Job>,
    /// Jobs whose worker went away before it had begun with them; they go before all others.
    returned: VecDeque<Job>,
    workers: Vec<Attached>,
    next_batch_id: u64,
    /// Where the search for an idle worker starts, so that load is spread.
    cursor: usize,
    /// Set once the dispatcher is closed: what every later job is told.
    closed: Option<Error>,
}

/// Queue, batch formation and worker choice of one model version.
pub struct Dispatcher {
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
        policy: Policy,
        job_queue_size: usize,
        arrivals: Option<Arc<Arrivals>>,
    ) -> Arc<Self> {
        let (batcher, taker) = Batcher::new(policy, job_queue_size);
        let dispatcher = Arc::new(Self {
            batcher,
            solo: SegQueue::new(),
            events: SegQueue::new(),
            matching: Combiner::new(Matching {
                taker,
                returned: VecDeque::new(),
                workers: Vec::new(),
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
        if policy.batch_size.get() > 1 {
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
        self.events
            .push(Event::Attach(Attached::new(worker, submitter, in_flight)));
        self.pump();
    }

    /// Stops giving batches to a worker. What it has in flight stays with its own task.
    pub async fn detach(&self, worker: u64) -> Option<LinkEnd> {
        let (link, returned) = oneshot::channel();
        self.events.push(Event::Detach { worker, link });
        self.pump();
        returned.await.ok()
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
            return self.answer_waiting(matching, &error);
        }
        for worker in &mut matching.workers {
            self.release(worker.newly_started());
        }
        while self.start_one(matching) {}
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
                Event::Detach { worker, link } => {
                    if let Some(place) = matching.workers.iter().position(|w| w.worker == worker) {
                        // A task that no longer waits for its link is gone with its worker.
                        let _ = link.send(matching.workers.swap_remove(place).into_end());
                    }
                }
                Event::PutBack(jobs) => {
                    for job in jobs.into_iter().rev() {
                        matching.returned.push_front(job);
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

    fn count_returned(&self, matching: &Matching) {
        self.returned
            .store(matching.returned.len(), Ordering::Relaxed);
    }

    fn answer_waiting(&self, matching: &mut Matching, error: &Error) {
        let waiting = matching.returned.drain(..).chain(matching.taker.drain());
        for job in waiting {
            job.answer(Err(error.clone()));
        }
        self.count_returned(matching);
        while let Some(job) = self.solo.pop() {
            job.answer(Err(error.clone()));
        }
    }

    /// Starts or prepares one batch; false when nothing is due or no worker has room.
    fn start_one(&self, matching: &mut Matching) -> bool {
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
            let delay = self.batcher.policy().max_batch_delay;
            if self
                .arrivals
                .as_ref()
                .is_some_and(|them| them.are_over(delay))
            {
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

/// The instant at which the batch that is forming is due, for the task that sleeps until then.
#[derive(Debug)]
struct DueTime {
    /// Nanoseconds after `epoch`; `u64::MAX` when nothing waits.
    at: AtomicU64,
    earlier: Notify,
    epoch: Instant,
}

impl DueTime {
    fn new() -> Self {
        Self {
            at: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
            epoch: Instant::now(),
        }
    }

    /// Moves the due time forward if `at` is earlier. A later one is met anyway: the task wakes,
    /// finds nothing due, and is told the new time.
    fn set(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX - 1);
        if nanos < self.at.fetch_min(nanos, Ordering::Relaxed) {
            self.earlier.notify_one();
        }
    }

    async fn watch(dispatcher: std::sync::Weak<Dispatcher>) {
        loop {
            let Some(strong) = dispatcher.upgrade() else {
                return;
            };
            let at = strong.due.at.load(Ordering::Relaxed);
            // The dispatcher must be able to go away while this task sleeps, so that it holds it
            // for at most a second at a time.
            let cap = Instant::now() + Duration::from_secs(1);
            let until = if at == u64::MAX {
                cap
            } else {
                cap.min(strong.due.epoch + Duration::from_nanos(at))
            };
            tokio::select! {
                () = strong.due.earlier.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {
                    let now = strong.due.epoch.elapsed().as_nanos();
                    if u128::from(at) <= now {
                        strong.due.at.store(u64::MAX, Ordering::Relaxed);
                        strong.pump();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
