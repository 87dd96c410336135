//! The batches of a worker with an asynchronous handler: many at a time, answered in any order.
//!
//! Nothing here may depend on one of them: a request that takes too long fails alone, and a client
//! that reads slowly has its own stream ended rather than the others held up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tserve_shm::{Completion, Completions, Reply};

use super::control::ToWorker;
use super::life::Life;
use crate::dispatch::{Batch, Delivery, InFlight};
use crate::error::Error;

/// A batch that the worker has and has not answered.
#[derive(Debug)]
struct Open {
    batch: Batch,
    /// When the worker last gave a sign of it.
    heard: Instant,
    /// When the worker was told that nobody waits for it any more.
    cancelled: Option<Instant>,
    /// Bytes sent while some client had no room for them.
    excess: u64,
}

/// All batches that the worker has.
#[derive(Debug)]
pub(super) struct SideBySide {
    open: HashMap<u64, Open>,
    /// When the worker last gave a sign of anything.
    heard: Instant,
}

/// What a look at the clock has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Batches that nobody waits for, to be told to the worker.
    pub(super) cancelled: Vec<u64>,
    /// Whether the worker does not react to anything any more.
    pub(super) is_stuck: bool,
}

impl SideBySide {
    pub(super) fn new() -> Self {
        Self {
            open: HashMap::new(),
            heard: Instant::now(),
        }
    }

    /// Notes the batches that the worker has been given since the last call.
    fn take_in(&mut self, in_flight: &InFlight) {
        while let Some(batch) = in_flight.take() {
            let open = Open {
                batch,
                heard: Instant::now(),
                cancelled: None,
                excess: 0,
            };
            self.open.insert(open.batch.id, open);
        }
    }

    /// Whether every batch is answered, as far as they were taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Hands one reply to those who wait for it. Returns whether its batch is finished. `note` is told
    /// which batch it answers.
    ///
    /// # Errors
    /// What the worker did that it must not.
    pub(super) fn deliver(
        &mut self,
        completion: Completion,
        completions: &Completions,
        in_flight: &InFlight,
        note: impl FnOnce(&Reply, &Batch) -> Delivery,
    ) -> Result<bool, String> {
        self.take_in(in_flight);
        let id = completion.batch_id;
        self.heard = Instant::now();
        if completion.reply.is_last {
            let Some(open) = self.open.remove(&id) else {
                return Err("an answer to a batch that was not given".to_owned());
            };
            let delivery = note(&completion.reply, &open.batch);
            let _ = open.batch.answer(completion.reply, delivery);
            in_flight.finish();
            return Ok(true);
        }
        let Some(open) = self.open.get_mut(&id) else {
            return Err("a part of an answer to a batch that was not given".to_owned());
        };
        open.heard = self.heard;
        let bytes: usize = completion.reply.items.iter().map(|it| it.body.len()).sum();
        let is_full = open.batch.lacks_room().is_some();
        let delivery = note(&completion.reply, &open.batch);
        open.batch.pass_on(completion.reply, delivery);
        open.excess = if is_full {
            open.excess + bytes as u64
        } else {
            0
        };
        let most = delivery.max_response_size();
        if open.excess > most {
            open.batch.fail_all(&Error::ClientTimeout(format!(
                "The client has left more than max_response_size {most} of the stream unread."
            )));
        }
        if !open.batch.is_awaited() {
            completions.abandon(id);
        }
        Ok(false)
    }

    /// Fails what takes longer than `limit`, and finds what nobody waits for.
    pub(super) fn look(&mut self, in_flight: &InFlight, limit: Duration) -> Look {
        self.take_in(in_flight);
        let now = Instant::now();
        let mut look = Look {
            cancelled: Vec::new(),
            is_stuck: false,
        };
        for (id, open) in &mut self.open {
            if let Some(cancelled) = open.cancelled {
                // A worker that reacts to nothing, not even to this, hangs.
                let ignored_for = now.saturating_duration_since(cancelled.max(self.heard));
                look.is_stuck |= ignored_for > limit;
                continue;
            }
            if now.saturating_duration_since(open.heard) > limit {
                open.batch.fail_all(&Error::Worker {
                    status: 500,
                    message: format!(
                        "The worker did not answer within the response timeout of {} s.",
                        limit.as_secs_f64()
                    ),
                });
            }
            if !open.batch.is_awaited() {
                open.cancelled = Some(now);
                look.cancelled.push(*id);
            }
        }
        look
    }

    /// Fails everything, because the worker is gone.
    pub(super) fn fail(&mut self, in_flight: &InFlight, error: &Error) {
        self.take_in(in_flight);
        for (_, open) in self.open.drain() {
            open.batch.fail(error);
            in_flight.finish();
        }
    }
}

impl Life {
    /// Whether the worker has to be given up for not answering. One that answers in any order is
    /// told what nobody waits for instead, as long as it reacts at all.
    pub(super) async fn is_late(&mut self, limit: Duration) -> bool {
        let Some(open) = &mut self.side_by_side else {
            let running_for = self.in_flight.running_for();
            return running_for.is_some_and(|time| time > limit);
        };
        let look = open.look(&self.in_flight, limit);
        for batch_id in look.cancelled {
            // A worker that is gone shows as such elsewhere.
            let _ = self.control.send(&ToWorker::Cancel { batch_id }).await;
        }
        look.is_stuck
    }
}
