//! Reading replies from a worker that may be broken or hostile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::ServerLink;
use crate::{
    error::Corrupt,
    layout::COMPLETION_SLOTS,
    sync::{Ordering, fence},
    wake::Wait,
    wire::{Reply, parse_reply},
};

/// Pages of the reply area that a consumed frame leaves populated, in bytes from its start.
const WARM_REPLY_BYTES: u64 = 32 << 20;

/// One reply frame and the batch it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// As given to [`Submitter::submit`](crate::Submitter::submit), if the worker is sound: the
    /// receiver must check that such a batch is in flight.
    pub batch_id: u64,
    /// What the worker answered.
    pub reply: Reply,
}

/// The receiving half of the server's end; the worker can send nothing more once it is dropped.
#[derive(Debug)]
pub struct Completions {
    link: Arc<ServerLink>,
    /// Frames copied out.
    consumed: u64,
    /// The first damage found; it never heals.
    damage: Option<Corrupt>,
}

impl Completions {
    pub(super) fn new(link: Arc<ServerLink>) -> Self {
        Self {
            link,
            consumed: 0,
            damage: None,
        }
    }

    /// Copies the next reply out, if there is one; never blocks.
    ///
    /// It takes time in proportion to the frame (about 0.1 ms per MiB): a caller on an event loop may
    /// want to move links with huge replies elsewhere.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] when the worker wrote nonsense; every later call says the same, and the only thing
    /// left to do is to end the worker.
    pub fn poll(&mut self) -> Result<Option<Completion>, Corrupt> {
        if let Some(damage) = self.damage {
            return Err(damage);
        }
        self.next()
            .inspect_err(|damage| self.damage = Some(*damage))
    }

    /// The descriptor that becomes readable when the worker wakes the server; never blocks.
    #[cfg(not(any(loom, miri)))]
    pub fn wake_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.link.wakes.completion.fd()
    }

    /// Says that the server is about to sleep until [`wake_fd`](Self::wake_fd) is readable.
    ///
    /// False when something has arrived: do not sleep, poll again. After true and the wake-up, call
    /// [`clear_wake`](Self::clear_wake) or [`stop_waiting`](Self::stop_waiting), then poll until
    /// nothing is left.
    pub fn prepare_to_wait(&self) -> bool {
        let control = self.link.memory.control();
        let sleeps = &control.server.0.sleeps_for_completions;
        sleeps.store(1, Ordering::Relaxed);
        // SYNC: sleeps_for_completions. Pairs with the fence in `WorkerLink::publish`.
        fence(Ordering::SeqCst);
        if control.completed.0.load(Ordering::Acquire) == self.consumed && self.damage.is_none() {
            return true;
        }
        sleeps.store(0, Ordering::Relaxed);
        false
    }

    /// Forgets past wake-ups: drains the descriptor and lowers the sleeping flag.
    pub fn clear_wake(&self) {
        self.stop_waiting();
        self.link.wakes.completion.drain();
    }

    /// Lowers the sleeping flag and leaves the descriptor readable, which saves a system call where
    /// an edge-triggered event loop reports every wake-up, read or not.
    pub fn stop_waiting(&self) {
        let flags = &self.link.memory.control().server.0;
        flags.sleeps_for_completions.store(0, Ordering::Relaxed);
    }

    /// Tells the worker that nobody wants the intermediate replies of a batch: it is refused the
    /// next one, and is still to send the last.
    pub fn abandon(&self, batch_id: u64) {
        let flags = &self.link.memory.control().server.0;
        // A worker that waits for space looks again when the server has read what it sent.
        let mark = batch_id.wrapping_add(1);
        flags.abandoned.store(mark, Ordering::Release);
    }

    /// Blocks until a reply may be there, for callers without an event loop; false after `timeout`.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if !self.prepare_to_wait() {
            return true;
        }
        let outcome = self.link.wakes.completion.wait(timeout);
        self.clear_wake();
        outcome != Wait::TimedOut
    }

    fn next(&mut self) -> Result<Option<Completion>, Corrupt> {
        let memory = &*self.link.memory;
        let control = memory.control();
        // SYNC: completed. Pairs with the Release store in `WorkerLink::publish`.
        let completed = control.completed.0.load(Ordering::Acquire);
        // Wrapping, so that a counter that ran backwards is far too far ahead.
        match completed.wrapping_sub(self.consumed) {
            0 => return Ok(None),
            1..=COMPLETION_SLOTS => {}
            _ => return Err(Corrupt::Counter),
        }
        let slot = memory.geometry.completion_slot(self.consumed);
        let offset = memory.word(slot).load(Ordering::Relaxed);
        let len = memory.word(slot + 1).load(Ordering::Relaxed);
        let frame = memory.read_area(offset, len).ok_or(Corrupt::OutOfRange)?;
        let end = offset + len;
        if end > WARM_REPLY_BYTES {
            memory.punch_area(offset.max(WARM_REPLY_BYTES), end);
        }
        self.consumed += 1;
        self.give_space_back();
        let (batch_id, reply) = parse_reply(Bytes::from(frame))
            .map_err(|malformed| Corrupt::Frame(malformed.reason()))?;
        self.check(&reply)?;
        Ok(Some(Completion { batch_id, reply }))
    }

    /// Tells the worker that the frame's space is free.
    fn give_space_back(&self) {
        let control = self.link.memory.control();
        // SYNC: consumed. Pairs with the Acquire load in `WorkerLink::reserve`.
        control.consumed.0.store(self.consumed, Ordering::Release);
        // SYNC: sleeps_for_space. Pairs with the fence in `WorkerLink::wait_for_space`.
        fence(Ordering::SeqCst);
        let sleeps = &control.worker.0.sleeps_for_space;
        if sleeps.load(Ordering::Relaxed) != 0 {
            sleeps.store(0, Ordering::Relaxed);
            self.link.wakes.space.ring(&control.server.0.space_bell);
        }
    }

    /// Checks what can be checked without knowing the batch, and counts finished batches.
    fn check(&self, reply: &Reply) -> Result<(), Corrupt> {
        let max_batch = self.link.memory.geometry.max_batch;
        let is_outside = |index: u32| u64::from(index) >= max_batch;
        if reply.items.len() as u64 > max_batch
            || reply.items.iter().any(|item| is_outside(item.index))
        {
            return Err(Corrupt::Index);
        }
        let submitted = self.link.submitted.load(Ordering::Acquire);
        let finished = self.link.finished.load(Ordering::Relaxed);
        // A frame that is not the last one belongs to an unfinished batch, too.
        if finished >= submitted {
            return Err(Corrupt::Surplus);
        }
        if reply.is_last {
            self.link.finished.store(finished + 1, Ordering::Release);
        }
        Ok(())
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        let control = self.link.memory.control();
        control.server.0.is_deaf.store(1, Ordering::SeqCst);
        self.link.wakes.space.ring(&control.server.0.space_bell);
    }
}
