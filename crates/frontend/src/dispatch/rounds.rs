//! Workers whose batches hang together: the requests of one round may come back in the next, and
//! those of a sequence stay with their worker.
//!
//! Which requests join a worker is up to a [`Source`]; everything here runs inside the combiner.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tserve_batcher::{Policy, Taker};

use super::attached::Attached;
use super::batch::Batch;
use super::delivery::Closing;
use super::job::{Job, SequenceTag};
use super::kind::{Kind, RoundRules};
use super::line::Line;
use super::round::Round;
use super::sequences::Sequences;
use super::{Dispatcher, Matching};
use crate::telemetry::Release;

/// What a worker could be given.
pub(super) enum Offer {
    /// Requests that join its next round, and how many places in the queue they hold.
    Jobs(Vec<Job>, usize),
    /// Nothing yet; ask again at this instant.
    Wait(Instant),
    /// Nothing.
    Nothing,
}

/// A worker that asks for requests.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    pub(super) worker: u64,
    /// How many requests it can take.
    pub(super) room: usize,
    /// Whether its next round starts anyway.
    pub(super) is_running: bool,
    /// Whether nothing more can arrive soon.
    pub(super) is_last_call: bool,
    pub(super) now: Instant,
}

/// Where the requests of rounds come from, and in which order.
pub(super) trait Source: Send {
    /// Takes in what has been admitted; returns how many places in the queue that frees.
    fn collect(&mut self, queue: &mut Taker<Job>, now: Instant) -> usize;
    /// Tells which workers there are to be had.
    fn assign(&mut self, workers: &mut dyn Iterator<Item = u64>);
    /// Chooses what joins a worker.
    fn offer(&mut self, queue: &mut Taker<Job>, asking: Asking) -> Offer;
    /// Whether something waits for this worker and no other.
    fn is_waited_for(&self, worker: u64) -> bool;
    /// Notes that the request of a sequence has been answered.
    fn answered(&mut self, tag: &SequenceTag, now: Instant);
    /// Notes that the handler has ended a sequence.
    fn ended(&mut self, id: &str, now: Instant);
    /// Takes requests back that no worker has begun.
    fn put_back(&mut self, jobs: Vec<Job>, now: Instant);
    /// Forgets a worker; returns what only that one could have served.
    fn lose(&mut self, worker: u64) -> Vec<Job>;
    /// Forgets what is too old; returns when to look again.
    fn expire(&mut self, now: Instant) -> Option<Instant>;
    /// Hands out everything that waits.
    fn drain(&mut self) -> Vec<Job>;
    /// How many requests wait that hold no place in the queue.
    fn len(&self) -> usize;
}

/// A worker between and during its rounds.
#[derive(Default)]
struct Seat {
    /// Whether a round runs.
    is_busy: bool,
    /// Requests of the next round.
    running: Vec<Job>,
}

/// The rounds of all workers of a model version.
pub(super) struct Rounds {
    most: usize,
    rules: Arc<RoundRules>,
    seats: HashMap<u64, Seat>,
    source: Box<dyn Source>,
}

impl Rounds {
    /// The state for a kind; `None` for one without rounds.
    pub(super) fn of(kind: &Kind, policy: Policy) -> Option<Box<Self>> {
        let rules = kind.rules()?;
        let source: Box<dyn Source> = match kind {
            Kind::Rounds {
                sequences: Some(limits),
                ..
            } => Box::new(Sequences::new(*limits, policy)),
            _ => Box::new(Line::new()),
        };
        Some(Box::new(Self {
            most: policy.batch_size.get(),
            rules,
            seats: HashMap::new(),
            source,
        }))
    }

    /// Takes over what the last rounds of a worker have left.
    fn take_over(&mut self, worker: &Attached, now: Instant) {
        while let Some(round) = worker.take_round() {
            let seat = self.seats.entry(worker.worker).or_default();
            seat.is_busy = false;
            seat.running = round.running;
            for tag in &round.left {
                self.source.answered(tag, now);
            }
            for id in &round.ended {
                self.source.ended(id, now);
            }
        }
    }

    /// Forgets a worker; returns the requests that cannot be served without it.
    pub(super) fn lose(&mut self, worker: &Attached) -> Vec<Job> {
        self.take_over(worker, Instant::now());
        let seat = self.seats.remove(&worker.worker).unwrap_or_default();
        let mut lost = seat.running;
        lost.extend(self.source.lose(worker.worker));
        lost
    }

    /// Whether a worker has nothing left to do that no other could.
    pub(super) fn is_done(&self, worker: &Attached) -> bool {
        let seat = self.seats.get(&worker.worker);
        seat.is_none_or(|seat| !seat.is_busy && seat.running.is_empty())
            && !self.source.is_waited_for(worker.worker)
    }

    pub(super) fn put_back(&mut self, jobs: Vec<Job>) {
        self.source.put_back(jobs, Instant::now());
    }

    pub(super) fn drain(&mut self) -> Vec<Job> {
        self.source.drain()
    }

    pub(super) fn len(&self) -> usize {
        self.source.len()
    }
}

impl Dispatcher {
    /// Starts the next round of every worker that has one.
    pub(super) fn match_rounds(&self, matching: &mut Matching, rounds: &mut Rounds) {
        let now = Instant::now();
        for worker in &matching.workers {
            rounds.take_over(worker, now);
        }
        self.batcher
            .release(rounds.source.collect(&mut matching.taker, now));
        let mut staying = matching
            .workers
            .iter()
            .filter(|worker| !worker.is_leaving())
            .map(|worker| worker.worker);
        rounds.source.assign(&mut staying);
        let count = matching.workers.len();
        for step in 0..count {
            let place = (matching.cursor + step) % count;
            if self.start_round(matching, rounds, place, now) {
                matching.cursor = place + 1;
            }
        }
        if let Some(at) = rounds.source.expire(now) {
            self.due.set(at);
        }
    }

    /// Starts the next round of one worker; false when it has none.
    fn start_round(
        &self,
        matching: &mut Matching,
        rounds: &mut Rounds,
        place: usize,
        now: Instant,
    ) -> bool {
        let worker = &mut matching.workers[place];
        let seat = rounds.seats.entry(worker.worker).or_default();
        if seat.is_busy || !worker.is_idle() {
            return false;
        }
        for tag in Round::dismiss_dead(&mut seat.running, now) {
            rounds.source.answered(&tag, now);
        }
        // What must run alone waits until nothing else runs, and nothing joins meanwhile.
        if seat.running.is_empty()
            && !worker.is_leaving()
            && let Some(job) = self.solo.pop()
        {
            let jobs = vec![job];
            let closing = Closing::new(Release::Alone, now, &jobs, Duration::ZERO);
            let batch = Batch::closed(matching.next_batch_id, jobs, closing);
            matching.next_batch_id += 1;
            worker.submit(batch);
            return true;
        }
        let is_closed_to_others = !self.solo.is_empty()
            || worker.is_leaving() && !rounds.source.is_waited_for(worker.worker);
        let room = if is_closed_to_others {
            0
        } else {
            rounds.most.saturating_sub(seat.running.len())
        };
        let mut jobs = std::mem::take(&mut seat.running);
        if room > 0 {
            let asking = Asking {
                worker: worker.worker,
                room,
                is_running: !jobs.is_empty(),
                is_last_call: self.is_last_call() || matching.closed.is_some(),
                now,
            };
            match rounds.source.offer(&mut matching.taker, asking) {
                Offer::Jobs(joining, places) => {
                    jobs.extend(joining);
                    self.batcher.release(places);
                }
                Offer::Wait(at) => self.due.set(at),
                Offer::Nothing => {}
            }
        }
        if jobs.is_empty() {
            return false;
        }
        seat.is_busy = true;
        let rules = Arc::clone(&rounds.rules);
        let batch = Batch::of_round(matching.next_batch_id, jobs, rules);
        matching.next_batch_id += 1;
        worker.submit(batch);
        true
    }
}
