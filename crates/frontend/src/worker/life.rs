//! One life of a worker: its process, its link, and what it has not answered yet.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tserve_shm::{Completion, Completions, Reply};

use super::context::ModelContext;
use super::control::Control;
use super::failure::LastFailure;
use super::memory;
use super::process::{Process, kill_group};
use super::side_by_side::SideBySide;
use crate::dispatch::{Batch, Delivery, InFlight, ReplyLimits, Room, Round};

/// How long a worker that was told to end may take before it is killed.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// How long a dead worker's exit status may take to arrive after its control socket closed.
const EXIT_STATUS_GRACE: Duration = Duration::from_millis(500);

/// One running worker process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) child: Process,
    pub(super) pid: i32,
    /// What [`memory::kills`] said when it began.
    pub(super) memory_kills: Option<u64>,
    pub(super) control: Control,
    pub(super) completions: Completions,
    pub(super) in_flight: Arc<InFlight>,
    /// The batch whose reply arrives in parts at the moment.
    pub(super) current: Option<Batch>,
    /// Id of the worker.
    pub(super) worker: u64,
    /// What it serves.
    pub(super) context: Arc<ModelContext>,
    /// When its last batch was answered.
    pub(super) free_since: Option<Instant>,
    /// A round that is over, but for clients that have yet to take its parts.
    pub(super) resting: Option<Box<Round>>,
    /// Set when the worker answers in any order; then nothing is `current`.
    pub(super) side_by_side: Option<Box<SideBySide>>,
}

/// The wake-ups of a worker, as something to await.
#[derive(Debug)]
pub(super) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    /// Waits until the worker has rung. Cancel safe.
    ///
    /// The event is not read: tokio is told of every ring, not of the state, and a counter of 64
    /// bits does not run full.
    pub(super) async fn rung(&self, completions: &Completions) {
        if let Ok(mut guard) = self.0.readable().await {
            guard.clear_ready();
        }
        completions.stop_waiting();
    }
}

impl Life {
    /// The worker's wake-ups.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for types that may change their descriptor under the \
                  reactor; an OwnedFd cannot, and this crate is free of unsafe code"
    )]
    pub(super) fn bell(&self) -> io::Result<Bell> {
        let fd = self.completions.wake_fd().try_clone_to_owned()?;
        Ok(Bell(AsyncFd::with_interest(fd, Interest::READABLE)?))
    }

    /// Takes every reply that has arrived, as long as the streams of the running batch have room.
    /// Returns how many batches were finished.
    ///
    /// # Errors
    /// What the worker did that it must not.
    pub(super) fn collect(&mut self, limits: ReplyLimits) -> Result<usize, String> {
        let mut finished = 0;
        while self.lacks_room().is_none() {
            finished += usize::from(self.end_round());
            let Some(completion) = self.completions.poll().map_err(|lie| lie.to_string())? else {
                break;
            };
            finished += usize::from(self.deliver(completion, limits)?);
        }
        Ok(finished)
    }

    /// Lets the next round begin. Returns whether there was one that had to wait.
    fn end_round(&mut self) -> bool {
        let Some(round) = self.resting.take() else {
            return false;
        };
        self.in_flight.give_back(*round);
        self.in_flight.finish();
        true
    }

    /// Takes every reply that has arrived from a worker that is gone, whether or not there is room.
    ///
    /// # Errors
    /// What the worker did that it must not.
    pub(super) fn collect_rest(&mut self, limits: ReplyLimits) -> Result<(), String> {
        while let Some(completion) = self.completions.poll().map_err(|lie| lie.to_string())? {
            self.deliver(completion, limits)?;
        }
        Ok(())
    }

    /// What to wait for before more replies are taken; `None` while nothing hinders.
    pub(super) fn lacks_room(&self) -> Option<Room> {
        match (&self.current, &self.resting) {
            (Some(batch), _) => batch.lacks_room(),
            (None, Some(round)) => round.lacks_room(),
            (None, None) => None,
        }
    }

    /// Hands one reply to those who wait for it. Returns whether its batch is finished.
    fn deliver(&mut self, completion: Completion, limits: ReplyLimits) -> Result<bool, String> {
        if let Some(open) = &mut self.side_by_side {
            let (worker, context) = (self.worker, &self.context);
            return open.deliver(
                completion,
                &self.completions,
                &self.in_flight,
                |reply, batch| {
                    let delivery = batch.delivery(limits, worker, reply.times, None);
                    count(context, reply, batch, &delivery);
                    delivery
                },
            );
        }
        let Some(mut batch) = self.current.take().or_else(|| self.in_flight.take()) else {
            return Err("an answer to a batch that was not given".to_owned());
        };
        if batch.id != completion.batch_id {
            self.current = Some(batch);
            return Err("an answer out of order".to_owned());
        }
        let times = completion.reply.times;
        let delivery = batch.delivery(limits, self.worker, times, self.free_since);
        count(&self.context, &completion.reply, &batch, &delivery);
        if completion.reply.is_last {
            if let Some(round) = batch.answer(completion.reply, delivery) {
                self.free_since = delivery.collected();
                self.resting = Some(Box::new(round));
                return Ok(false);
            }
            self.in_flight.finish();
            self.free_since = delivery.collected();
            return Ok(true);
        }
        batch.pass_on(completion.reply, delivery);
        if !batch.is_awaited() {
            self.completions.abandon(batch.id);
        }
        self.current = Some(batch);
        self.in_flight.progressed();
        Ok(false)
    }

    /// Whether every batch is answered.
    pub(super) fn is_idle(&self) -> bool {
        let open = self.side_by_side.as_ref();
        self.current.is_none()
            && self.resting.is_none()
            && open.is_none_or(|open| open.is_empty())
            && self.in_flight.is_empty()
    }

    /// The exit status of a worker whose control socket has closed.
    pub(super) async fn exit_status(&mut self) -> Option<ExitStatus> {
        let exit = tokio::time::timeout(EXIT_STATUS_GRACE, self.child.wait());
        exit.await.ok()?.ok()
    }

    /// What is known of the end of its process.
    pub(super) fn died(&self, status: ExitStatus) -> LastFailure {
        let kills = self.memory_kills.zip(memory::kills());
        LastFailure::died(status, kills.map(|(before, now)| now > before))
    }

    /// Ends the worker at once; once this resolves it answers nothing any more.
    pub(super) async fn kill(&mut self) {
        kill_group(self.pid);
        let _ = self.child.wait().await;
    }

    /// Makes sure that nothing of the worker runs any more.
    pub(super) async fn end(&mut self) {
        let exit = tokio::time::timeout(EXIT_GRACE, self.child.wait());
        if exit.await.is_err() {
            kill_group(self.pid);
            let _ = self.child.wait().await;
        }
        // Whatever the handler started and left behind.
        kill_group(self.pid);
    }
}

/// Notes what a reply says about the model's work.
fn count(context: &ModelContext, reply: &Reply, batch: &Batch, delivery: &Delivery) {
    if reply.code != 200 {
        context.failures.add_reply(delivery.worker(), reply);
    }
    let metrics = &context.metrics;
    if !metrics.counts_requests() {
        return;
    }
    let bytes = reply.items.iter().map(|item| item.body.len() as u64);
    metrics.sent(bytes.sum());
    if !reply.is_last {
        return;
    }
    let stages = metrics.batch_done(batch.release(), batch.len(), batch.stages(delivery));
    if reply.code == 200
        && let Some(stages) = stages
    {
        let all = &context.telemetry.metrics;
        all.note_batch(metrics, &stages, || batch.request_ids());
    }
}
