//! The worker's end of a link.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::{ReceiveError, ReplyError},
    layout::{AHEAD_BYTES, AHEAD_FRAMES, COMPLETION_SLOTS},
    memory::LinkMemory,
    region::Region,
    reply_space::ReplySpace,
    server::JobRef,
    sync::{Mutex, Ordering, fence, lock},
    wake::{Wait, Wakes},
    wire::{
        Malformed, ReplyItemRef, ReplyRef, ReplyTimes, RequestView, Sink, ValueRef, reply_len,
        write_reply,
    },
};

/// One batch, as the server submitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// To be given back with every reply.
    pub batch_id: u64,
    /// One per request, in order.
    pub jobs: Vec<JobRef>,
}

/// A worker's end of its link; one thread receives and replies, others may ask for the state.
#[derive(Debug)]
pub struct WorkerLink {
    pub(crate) memory: Arc<LinkMemory>,
    pub(crate) wakes: Arc<Wakes>,
    /// Read by this side only; the server writes it.
    arena: Arc<Region>,
    /// Batches taken.
    taken: Mutex<u64>,
    replies: Mutex<Replies>,
}

/// The worker's side of the reply area.
#[derive(Debug)]
struct Replies {
    space: ReplySpace,
    /// Frames published.
    completed: u64,
}

impl WorkerLink {
    pub(crate) fn new(memory: Arc<LinkMemory>, wakes: Arc<Wakes>, arena: Arc<Region>) -> Self {
        let space = ReplySpace::new(memory.geometry.reply_bytes);
        Self {
            memory,
            wakes,
            arena,
            taken: Mutex::new(0),
            replies: Mutex::new(Replies {
                space,
                completed: 0,
            }),
        }
    }

    /// Waits for the next batch; a `timeout` of zero only looks.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`]; `Interrupted` means that a signal handler ran and nothing was lost.
    pub fn receive(&self, timeout: Option<Duration>) -> Result<Submission, ReceiveError> {
        let mut taken = lock(&self.taken);
        let control = self.memory.control();
        let sleeps = &control.worker.0.sleeps_for_submissions;
        let bell = &control.server.0.submission_bell;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(submission) = self.take(&mut taken)? {
                return Ok(submission);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ReceiveError::TimedOut);
            }
            // Read before the flag is raised: a ring that lowers our flag then changes the word.
            let seen = bell.load(Ordering::Acquire);
            sleeps.store(1, Ordering::Relaxed);
            // SYNC: sleeps_for_submissions. Pairs with the fence in `Submitter::submit`.
            fence(Ordering::SeqCst);
            let outcome = if self.is_closed() || self.is_submitted(*taken) {
                Wait::Woken
            } else {
                self.wakes.submission.wait(bell, seen, left)
            };
            sleeps.store(0, Ordering::Relaxed);
            if outcome == Wait::Interrupted {
                return Err(ReceiveError::Interrupted);
            }
        }
    }

    /// Whether the server has closed the link; a batch already taken may still be answered.
    pub fn is_closed(&self) -> bool {
        // SYNC: is_closed. Pairs with the store in `Submitter::close`.
        let flags = &self.memory.control().server.0;
        flags.is_closed.load(Ordering::SeqCst) != 0
    }

    /// The request record of a job, read in place.
    ///
    /// It is valid until the batch's last reply is sent: the server reuses the space after that.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when the job does not point to a sound record.
    pub fn request(&self, job: &JobRef) -> Result<RequestView<'_>, Malformed> {
        RequestView::parse(self.arena_slice(job.offset, u64::from(job.len))?)
    }

    /// The bytes of an input, read in place; valid as long as its request.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they do not lie inside the arena.
    pub fn value<'a>(&'a self, value: &ValueRef<'a>) -> Result<&'a [u8], Malformed> {
        match *value {
            ValueRef::Inline(bytes) => Ok(bytes),
            ValueRef::Arena { offset, len } => self.arena_slice(offset, len),
        }
    }

    /// Bytes of the arena, read in place; valid as long as the request they belong to.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they do not lie inside the arena.
    #[expect(unsafe_code, reason = "reads the arena in place")]
    pub fn arena_slice(&self, offset: u64, len: u64) -> Result<&[u8], Malformed> {
        // SAFETY: the server, the only writer, leaves blocks of a submitted batch alone until its
        // last reply, which is as long as callers may use the slice.
        unsafe { self.arena.slice(offset, len) }.ok_or(Malformed("a value lies outside the arena"))
    }

    /// Answers a batch, or with `is_last` false a part of it; waits while the reply area is full.
    ///
    /// # Errors
    ///
    /// `TooLarge` when the frame can never fit, `Closed` when the server does not listen any more,
    /// `Abandoned` when nobody waits for this part or a later one but the last is still due,
    /// `Interrupted` when a signal handler ran while waiting; nothing was sent then.
    pub fn reply(
        &self,
        batch_id: u64,
        code: u32,
        message: &str,
        is_last: bool,
        items: &[ReplyItemRef<'_>],
    ) -> Result<(), ReplyError> {
        self.reply_within(None, batch_id, code, message, is_last, items)
    }

    /// As [`reply`](Self::reply), but waits no longer than `timeout`; zero does not wait at all.
    ///
    /// # Errors
    ///
    /// As for [`reply`](Self::reply), and `TimedOut`; nothing was sent then.
    pub fn reply_within(
        &self,
        timeout: Option<Duration>,
        batch_id: u64,
        code: u32,
        message: &str,
        is_last: bool,
        items: &[ReplyItemRef<'_>],
    ) -> Result<(), ReplyError> {
        let frame = ReplyRef {
            batch_id,
            code,
            message,
            is_last,
            times: ReplyTimes::default(),
            items,
        };
        self.send(timeout, &frame)
    }

    /// As [`reply_within`](Self::reply_within), with everything that a frame can say.
    ///
    /// # Errors
    ///
    /// As for [`reply_within`](Self::reply_within).
    pub fn send(&self, timeout: Option<Duration>, frame: &ReplyRef<'_>) -> Result<(), ReplyError> {
        let (batch_id, is_last) = (frame.batch_id, frame.is_last);
        let len = reply_len(frame);
        let limit_bytes = self.memory.geometry.reply_bytes;
        if len > limit_bytes {
            return Err(ReplyError::TooLarge {
                frame_bytes: len,
                limit_bytes,
            });
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut replies = lock(&self.replies);
        let offset = loop {
            if !is_last && self.is_abandoned(batch_id) {
                return Err(ReplyError::Abandoned);
            }
            if let Some(offset) = self.reserve(&mut replies, len, is_last)? {
                break offset;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ReplyError::TimedOut);
            }
            if self.wait_for_space(&replies, left) == Wait::Interrupted {
                return Err(ReplyError::Interrupted);
            }
        };
        let mut sink = AreaSink {
            memory: &self.memory,
            offset,
        };
        write_reply(&mut sink, frame);
        self.publish(&mut replies, offset, len);
        Ok(())
    }

    /// Takes the next batch from the ring if there is one and the link is open.
    fn take(&self, taken: &mut u64) -> Result<Option<Submission>, ReceiveError> {
        if self.is_closed() {
            return Err(ReceiveError::Closed);
        }
        let control = self.memory.control();
        let geometry = &self.memory.geometry;
        // SYNC: submitted. Pairs with the Release store in `Submitter::submit`.
        let submitted = control.submitted.0.load(Ordering::Acquire);
        match submitted.wrapping_sub(*taken) {
            0 => return Ok(None),
            waiting if waiting <= geometry.depth => {}
            _ => return Err(ReceiveError::Damaged),
        }
        let slot = geometry.submission_slot(*taken);
        let get = |index: u64| self.memory.word(slot + index).load(Ordering::Relaxed);
        let (batch_id, count) = (get(0), get(1));
        if count > geometry.max_batch {
            return Err(ReceiveError::Damaged);
        }
        let jobs = (0..count)
            .map(|index| JobRef {
                offset: get(2 + 2 * index),
                len: get(3 + 2 * index) as u32,
            })
            .collect();
        *taken += 1;
        // Release: the slot has been read.
        control.taken.0.store(*taken, Ordering::Release);
        Ok(Some(Submission { batch_id, jobs }))
    }

    fn is_submitted(&self, taken: u64) -> bool {
        let submitted = &self.memory.control().submitted.0;
        submitted.load(Ordering::Acquire) != taken
    }

    /// Whether the server has said that nobody wants intermediate replies of this batch.
    fn is_abandoned(&self, batch_id: u64) -> bool {
        let flags = &self.memory.control().server.0;
        flags.abandoned.load(Ordering::Acquire) == batch_id.wrapping_add(1)
    }

    /// Allocates a frame and a completion slot, if both are free; an intermediate reply also waits
    /// while the server is far behind.
    fn reserve(
        &self,
        replies: &mut Replies,
        len: u64,
        is_last: bool,
    ) -> Result<Option<u64>, ReplyError> {
        if self.is_deaf() {
            return Err(ReplyError::Closed);
        }
        // SYNC: consumed. Pairs with the Release store in `Completions::give_space_back`.
        let consumed = self.memory.control().consumed.0.load(Ordering::Acquire);
        let unread = replies
            .completed
            .checked_sub(consumed)
            .ok_or(ReplyError::Damaged)?;
        while replies.space.len() as u64 > unread {
            replies.space.give_back();
        }
        let is_far_ahead = unread >= AHEAD_FRAMES
            || unread > 0 && replies.space.used().saturating_add(len) > AHEAD_BYTES;
        if unread >= COMPLETION_SLOTS || !is_last && is_far_ahead {
            return Ok(None);
        }
        Ok(replies.space.take(len))
    }

    /// Sleeps until the server has read a frame that was unread when `reserve` last looked.
    fn wait_for_space(&self, replies: &Replies, left: Option<Duration>) -> Wait {
        let control = self.memory.control();
        let sleeps = &control.worker.0.sleeps_for_space;
        let bell = &control.server.0.space_bell;
        let known = replies.completed - replies.space.len() as u64;
        let seen = bell.load(Ordering::Acquire);
        sleeps.store(1, Ordering::Relaxed);
        // SYNC: sleeps_for_space. Pairs with the fence in `Completions::give_space_back`.
        fence(Ordering::SeqCst);
        let outcome = if self.is_deaf() || control.consumed.0.load(Ordering::Acquire) != known {
            Wait::Woken
        } else {
            self.wakes.space.wait(bell, seen, left)
        };
        sleeps.store(0, Ordering::Relaxed);
        outcome
    }

    /// Makes a written frame known to the server and wakes it if it sleeps.
    fn publish(&self, replies: &mut Replies, offset: u64, len: u64) {
        let control = self.memory.control();
        let slot = self.memory.geometry.completion_slot(replies.completed);
        self.memory.word(slot).store(offset, Ordering::Relaxed);
        self.memory.word(slot + 1).store(len, Ordering::Relaxed);
        replies.completed += 1;
        // SYNC: completed. Pairs with the Acquire load in `Completions::next`.
        control
            .completed
            .0
            .store(replies.completed, Ordering::Release);
        // SYNC: sleeps_for_completions. Pairs with the fence in `Completions::prepare_to_wait`.
        fence(Ordering::SeqCst);
        let sleeps = &control.server.0.sleeps_for_completions;
        if sleeps.load(Ordering::Relaxed) != 0 {
            sleeps.store(0, Ordering::Relaxed);
            self.wakes.completion.signal();
        }
    }

    fn is_deaf(&self) -> bool {
        self.memory
            .control()
            .server
            .0
            .is_deaf
            .load(Ordering::SeqCst)
            != 0
    }
}

/// Writes a frame straight into the reply area.
#[derive(Debug)]
struct AreaSink<'a> {
    memory: &'a LinkMemory,
    offset: u64,
}

impl Sink for AreaSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.memory.write_area(self.offset, bytes);
        self.offset += bytes.len() as u64;
    }
}
