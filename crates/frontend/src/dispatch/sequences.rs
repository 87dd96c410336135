//! Requests that belong to sequences: one worker serves all of a sequence, one request after the
//! other, because it keeps what it learned from the earlier ones.
//!
//! A sequence begins with the first request of its id and takes the worker with the fewest
//! sequences. It ends when a request or its handler says so, when nothing comes for a while, when
//! its time is over, or with its worker.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tserve_batcher::{Policy, Queued as _, Take, Taken, Taker};

use super::job::{Job, SequenceTag};
use super::kind::SequenceLimits;
use super::rounds::{Asking, Offer, Source};
use crate::error::Error;

/// What a sequence does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for its next request.
    Idle,
    /// It has one, which waits for the worker.
    Ready,
    /// One is with the worker.
    Running,
}

/// One live sequence.
#[derive(Debug)]
struct Sequence {
    worker: Option<u64>,
    waiting: VecDeque<Job>,
    state: State,
    /// Whether a worker has been given a request of it, so that no other can go on.
    has_begun: bool,
    /// Whether it is over once the request that runs is answered.
    is_ending: bool,
    idle_since: Instant,
    /// When its time is over, if it is limited.
    over_at: Option<Instant>,
}

impl Sequence {
    fn is_over(&self, limits: &SequenceLimits, now: Instant) -> bool {
        self.state == State::Idle && self.ends_at(limits).is_some_and(|at| now >= at)
    }

    /// When it ends if no request comes; `None` for a time beyond what an instant can hold.
    fn ends_at(&self, limits: &SequenceLimits) -> Option<Instant> {
        let idle_until = self.idle_since.checked_add(limits.idle);
        idle_until.into_iter().chain(self.over_at).min()
    }
}

/// A worker that serves sequences.
#[derive(Debug, Default)]
struct Seat {
    /// Its sequences that have a request to run, in the order in which they got it.
    ready: VecDeque<String>,
    /// How many sequences it has.
    bound: usize,
}

/// All sequences of a model version.
pub(super) struct Sequences {
    limits: SequenceLimits,
    policy: Policy,
    live: HashMap<String, Sequence>,
    seats: HashMap<u64, Seat>,
    /// Sequences that have a request to run and no worker yet.
    unbound: VecDeque<String>,
    waiting: usize,
    /// No sequence is over before this.
    next_look: Option<Instant>,
}

impl Sequences {
    pub(super) fn new(limits: SequenceLimits, policy: Policy) -> Self {
        Self {
            limits,
            policy,
            live: HashMap::new(),
            seats: HashMap::new(),
            unbound: VecDeque::new(),
            waiting: 0,
            next_look: None,
        }
    }

    /// Puts a request behind the others of its sequence, which may be a new one, or refuses it.
    fn admit(&mut self, job: Job, now: Instant) {
        let Some(tag) = &job.sequence else {
            let error = Error::Internal("A request without a sequence came to one.".to_owned());
            return job.answer(Err(error));
        };
        let id = tag.id.clone();
        if self
            .live
            .get(&id)
            .is_some_and(|it| it.is_over(&self.limits, now))
        {
            self.remove(&id);
        }
        if !self.live.contains_key(&id) {
            if self.live.len() >= self.limits.most {
                self.end_idle(now);
            }
            if self.live.len() >= self.limits.most {
                return refuse(job);
            }
        }
        let over_at = self.limits.lifetime.and_then(|it| now.checked_add(it));
        let sequence = self.live.entry(id.clone()).or_insert_with(|| Sequence {
            worker: None,
            waiting: VecDeque::new(),
            state: State::Idle,
            has_begun: false,
            is_ending: false,
            idle_since: now,
            over_at,
        });
        if sequence.waiting.len() >= self.limits.most_waiting {
            let before = sequence.waiting.len();
            sequence.waiting.retain(|job| job.is_live(now));
            self.waiting -= before - sequence.waiting.len();
        }
        // One that is to start at once waits for nothing.
        let most = self.limits.most_waiting;
        if sequence.waiting.len() >= most {
            return refuse(job);
        }
        sequence.waiting.push_back(job);
        self.waiting += 1;
        if sequence.state == State::Idle {
            self.make_ready(id);
        }
    }

    /// Lets a sequence that has a request run next.
    fn make_ready(&mut self, id: String) {
        let Some(sequence) = self.live.get_mut(&id) else {
            return;
        };
        sequence.state = State::Ready;
        match sequence.worker {
            Some(worker) => self.seats.entry(worker).or_default().ready.push_back(id),
            None => self.unbound.push_back(id),
        }
    }

    /// Forgets a sequence; its requests that still wait are refused.
    fn remove(&mut self, id: &str) {
        let Some(sequence) = self.live.remove(id) else {
            return;
        };
        self.waiting -= sequence.waiting.len();
        sequence.waiting.into_iter().for_each(refuse);
        self.unbound.retain(|other| other != id);
        if let Some(seat) = sequence.worker.and_then(|it| self.seats.get_mut(&it)) {
            seat.bound -= 1;
            seat.ready.retain(|other| other != id);
        }
    }

    /// Ends a sequence; what already waits under its id begins the next one.
    fn close(&mut self, id: &str, now: Instant) {
        let lifetime = self.limits.lifetime;
        match self.live.get_mut(id) {
            Some(sequence) if sequence.waiting.is_empty() => self.remove(id),
            Some(sequence) => {
                sequence.has_begun = false;
                sequence.is_ending = false;
                sequence.idle_since = now;
                sequence.over_at = lifetime.and_then(|it| now.checked_add(it));
                if sequence.state != State::Ready {
                    self.make_ready(id.to_owned());
                }
            }
            None => {}
        }
    }

    /// Removes every sequence that is over, and finds out when the next one is.
    fn end_idle(&mut self, now: Instant) {
        let limits = self.limits;
        let over = |(id, sequence): (&String, &Sequence)| {
            sequence.is_over(&limits, now).then(|| id.clone())
        };
        let over: Vec<_> = self.live.iter().filter_map(over).collect();
        for id in &over {
            self.remove(id);
        }
        let idle = self.live.values().filter(|it| it.state == State::Idle);
        self.next_look = idle.filter_map(|it| it.ends_at(&limits)).min();
    }

    /// Drops requests that nobody waits for from the sequences that a worker could run.
    fn drop_dead(&mut self, worker: u64, now: Instant) {
        let Some(seat) = self.seats.get_mut(&worker) else {
            return;
        };
        seat.ready.retain(|id| {
            let Some(sequence) = self.live.get_mut(id) else {
                return false;
            };
            while sequence.waiting.front().is_some_and(|it| !it.is_live(now)) {
                sequence.waiting.pop_front();
                self.waiting -= 1;
            }
            if sequence.waiting.is_empty() {
                sequence.state = State::Idle;
                sequence.idle_since = now;
                self.next_look = Some(now);
            }
            !sequence.waiting.is_empty()
        });
    }

    /// The request of a sequence that runs next.
    fn start(&mut self, id: &str) -> Option<Job> {
        let sequence = self.live.get_mut(id)?;
        let mut job = sequence.waiting.pop_front()?;
        self.waiting -= 1;
        sequence.state = State::Running;
        if let Some(tag) = &mut job.sequence {
            tag.is_continuing = sequence.has_begun;
            sequence.is_ending = tag.ends;
        }
        sequence.has_begun = true;
        Some(job)
    }
}

impl Source for Sequences {
    fn collect(&mut self, queue: &mut Taker<Job>, now: Instant) -> usize {
        let mut places = 0;
        while let Taken::Batch(jobs) = queue.take(now, Take::Anything) {
            places += jobs.len();
            for job in jobs {
                self.admit(job, now);
            }
        }
        places
    }

    fn assign(&mut self, workers: &mut dyn Iterator<Item = u64>) {
        if self.unbound.is_empty() {
            return;
        }
        let workers: Vec<u64> = workers.collect();
        for worker in &workers {
            self.seats.entry(*worker).or_default();
        }
        let seats = &mut self.seats;
        while let Some(worker) = workers.iter().min_by_key(|it| seats[it].bound)
            && let Some(id) = self.unbound.pop_front()
        {
            let (Some(sequence), Some(seat)) = (self.live.get_mut(&id), seats.get_mut(worker))
            else {
                continue;
            };
            sequence.worker = Some(*worker);
            seat.bound += 1;
            seat.ready.push_back(id);
        }
    }

    fn offer(&mut self, _queue: &mut Taker<Job>, asking: Asking) -> Offer {
        self.drop_dead(asking.worker, asking.now);
        let Some(seat) = self.seats.get_mut(&asking.worker) else {
            return Offer::Nothing;
        };
        let oldest = seat
            .ready
            .iter()
            .filter_map(|id| Some(self.live.get(id)?.waiting.front()?.arrived))
            .min();
        let Some(oldest) = oldest else {
            return Offer::Nothing;
        };
        // With one request each, no others can come once every sequence there may be has its own.
        let is_complete = self.live.len() >= self.limits.most && seat.ready.len() == seat.bound;
        let waited = asking.now.saturating_duration_since(oldest);
        let is_due = asking.is_running
            || asking.is_last_call
            || is_complete
            || seat.ready.len() >= asking.room
            || waited >= self.policy.max_batch_delay;
        if !is_due {
            return match oldest.checked_add(self.policy.max_batch_delay) {
                Some(at) => Offer::Wait(at),
                None => Offer::Nothing,
            };
        }
        let count = seat.ready.len().min(asking.room);
        let ids: Vec<String> = seat.ready.drain(..count).collect();
        Offer::Jobs(ids.iter().filter_map(|id| self.start(id)).collect(), 0)
    }

    fn is_waited_for(&self, worker: u64) -> bool {
        let seat = self.seats.get(&worker);
        seat.is_some_and(|seat| !seat.ready.is_empty())
    }

    fn answered(&mut self, tag: &SequenceTag, now: Instant) {
        let Some(sequence) = self.live.get_mut(&tag.id) else {
            return;
        };
        sequence.state = State::Idle;
        sequence.idle_since = now;
        if sequence.is_ending {
            return self.close(&tag.id, now);
        }
        if sequence.over_at.is_some_and(|at| now >= at) {
            return self.remove(&tag.id);
        }
        if !sequence.waiting.is_empty() {
            return self.make_ready(tag.id.clone());
        }
        let ends_at = sequence.ends_at(&self.limits);
        self.next_look = self.next_look.into_iter().chain(ends_at).min();
    }

    fn ended(&mut self, id: &str, now: Instant) {
        match self.live.get_mut(id) {
            Some(sequence) if sequence.state == State::Running => sequence.is_ending = true,
            _ => self.close(id, now),
        }
    }

    fn put_back(&mut self, jobs: Vec<Job>, now: Instant) {
        for job in jobs.into_iter().rev() {
            let id = job.sequence.as_ref().map(|tag| tag.id.clone());
            let known = id.and_then(|id| self.live.get_mut(&id));
            if let Some(sequence) = known {
                sequence.waiting.push_front(job);
                self.waiting += 1;
            } else {
                self.admit(job, now);
            }
        }
    }

    fn lose(&mut self, worker: u64) -> Vec<Job> {
        self.seats.remove(&worker);
        let mut lost = Vec::new();
        let of_worker: Vec<String> = self
            .live
            .iter()
            .filter(|(_, sequence)| sequence.worker == Some(worker))
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_worker {
            let has_begun = self.live.get(&id).is_some_and(|it| it.has_begun);
            if has_begun {
                let sequence = self.live.remove(&id);
                let waiting = sequence.map(|it| it.waiting).unwrap_or_default();
                self.waiting -= waiting.len();
                lost.extend(waiting);
            } else if let Some(sequence) = self.live.get_mut(&id) {
                // Nothing is lost yet: any other worker will do.
                sequence.worker = None;
                if sequence.state == State::Ready {
                    self.unbound.push_back(id);
                }
            }
        }
        lost
    }

    fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.next_look.is_some_and(|at| now >= at) {
            self.end_idle(now);
        }
        self.next_look
    }

    fn drain(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (id, sequence) in &mut self.live {
            jobs.extend(sequence.waiting.drain(..));
            if sequence.state == State::Ready {
                sequence.state = State::Idle;
                self.unbound.retain(|other| other != id);
            }
        }
        for seat in self.seats.values_mut() {
            seat.ready.clear();
        }
        self.waiting = 0;
        self.next_look = Some(Instant::now());
        jobs
    }

    fn len(&self) -> usize {
        self.waiting
    }
}

/// Answers a request that there is no room for.
fn refuse(mut job: Job) {
    let error = match job.sequence.take() {
        Some(tag) => tag.refusal,
        None => Error::Unavailable("There is no room for another sequence.".to_owned()),
    };
    job.answer(Err(error));
}
