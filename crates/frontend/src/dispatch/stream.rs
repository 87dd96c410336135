//! A reply that arrives in parts: its two ends, and how much may lie between them.
//!
//! The worker's own task sends, a protocol adapter receives. At most [`WINDOW`] bytes lie between
//! them: then the worker's next frames are left where they are, and its handler waits. Every stream
//! ends exactly once, in order or with an error, whatever becomes of the sending side.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Sleep;

use crate::error::Error;
use crate::service::InferenceReply;
use crate::telemetry::Stages;

/// Bytes of parts that may wait for one client; the last one may reach beyond it.
const WINDOW: usize = 256 * 1024;
/// What a part costs besides its bytes, so that empty ones are bounded as well.
const PART_COST: usize = 256;

/// How an admitted request is answered.
#[derive(Debug)]
pub enum Begun {
    /// At once.
    Whole(InferenceReply),
    /// In parts: the handler has sent the first one.
    Stream(Box<ReplyStream>),
}

/// A reply that arrives in parts. Dropping it tells the handler to stop.
#[derive(Debug)]
pub struct ReplyStream {
    /// HTTP-like status chosen by the handler before its first part, 200 by default.
    pub status: u16,
    /// Reason phrase; `None` when the handler set none.
    pub phrase: Option<String>,
    /// Response headers set by the handler before its first part.
    pub headers: Vec<(String, String)>,
    /// Where the time until the first part went.
    pub stages: Option<Stages>,
    parts: mpsc::UnboundedReceiver<Part>,
    window: Arc<Window>,
    expiry: Option<Expiry>,
    max_response_size: u64,
    has_ended: bool,
}

/// When a client stops waiting, and what it is told then.
#[derive(Debug)]
struct Expiry {
    sleep: Pin<Box<Sleep>>,
    error: Error,
}

/// What lies between the two ends.
#[derive(Debug)]
enum Part {
    /// Bytes as the handler sent them, and what they occupy of the window.
    Bytes(Bytes, usize),
    /// Nothing follows.
    End(Result<(), Error>),
}

/// The room of one stream, and when it last grew.
#[derive(Debug)]
struct Window {
    room: Semaphore,
    /// Nanoseconds after `epoch` at which the client last took something, or first could again.
    moved: AtomicU64,
    epoch: Instant,
}

impl Window {
    fn note_progress(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }
}

/// Makes the two ends of a stream whose head is `head`; its body is not looked at.
pub(super) fn open(head: InferenceReply, max_response_size: u64) -> (PartSender, Box<ReplyStream>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let window = Arc::new(Window {
        room: Semaphore::new(WINDOW),
        moved: AtomicU64::new(0),
        epoch: Instant::now(),
    });
    let stream = ReplyStream {
        status: head.status,
        phrase: head.phrase,
        headers: head.headers,
        stages: head.stages,
        parts: receiver,
        window: Arc::clone(&window),
        expiry: None,
        max_response_size,
        has_ended: false,
    };
    let sender = PartSender {
        parts: sender,
        window,
        has_ended: false,
    };
    (sender, Box::new(stream))
}

impl ReplyStream {
    /// The next part, as the handler sent it (maybe empty); `None` after the last one. Cancel safe.
    ///
    /// An error is the stream's end: there is `None` after it.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`], for those who poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(expiry) = &mut self.expiry
            && expiry.sleep.as_mut().poll(context).is_ready()
        {
            let error = expiry.error.clone();
            self.end();
            return Poll::Ready(Some(Err(error)));
        }
        let Poll::Ready(part) = self.parts.poll_recv(context) else {
            return Poll::Pending;
        };
        let outcome = match part {
            Some(Part::Bytes(bytes, cost)) => {
                self.window.room.add_permits(cost);
                self.window.note_progress();
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Part::End(outcome)) => outcome,
            // The sending end says how a stream ends even when it is dropped.
            None => Err(Error::Internal(
                "The server lost the end of this stream; this is a bug in tserve.".to_owned(),
            )),
        };
        self.end();
        Poll::Ready(outcome.err().map(Err))
    }

    /// Tells that the client has taken some of the part that was handed out last, so that a large
    /// part on a slow connection is not mistaken for a client that does not read.
    pub fn note_progress(&self) {
        self.window.note_progress();
    }

    /// Waits for all parts and joins them.
    ///
    /// # Errors
    /// Whatever ended the stream; [`Error::Worker`] when it grows beyond the limit of one reply.
    pub async fn join(mut self) -> Result<InferenceReply, Error> {
        let mut body = Vec::new();
        while let Some(part) = self.next().await {
            body.extend_from_slice(&part?);
            super::batch::check_size(body.len(), self.max_response_size)?;
        }
        Ok(InferenceReply {
            status: self.status,
            phrase: self.phrase.take(),
            headers: std::mem::take(&mut self.headers),
            body: body.into(),
            stages: self.stages,
        })
    }

    /// Ends the stream with `error` when it is not over at `at`.
    pub(crate) fn expire(&mut self, at: Instant, error: Error) {
        let sleep = Box::pin(tokio::time::sleep_until(at.into()));
        self.expiry = Some(Expiry { sleep, error });
    }

    /// Refuses what may still come, and wakes a sender that waits for room.
    fn end(&mut self) {
        self.has_ended = true;
        self.parts.close();
        self.window.room.close();
    }
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        self.end();
    }
}

/// The sending end of a stream; it ends the stream when it is dropped.
#[derive(Debug)]
pub(super) struct PartSender {
    parts: mpsc::UnboundedSender<Part>,
    window: Arc<Window>,
    has_ended: bool,
}

impl PartSender {
    /// Whether the client is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.parts.is_closed()
    }

    /// What to wait for before the next part; `None` while there is room.
    pub(super) fn lacks_room(&self) -> Option<Room> {
        let window = &self.window;
        let is_full = window.room.available_permits() == 0 && !self.is_closed();
        is_full.then(|| Room(Arc::clone(window)))
    }

    /// Sends a part; it never waits.
    pub(super) fn send(&self, bytes: Bytes) {
        if self.window.room.available_permits() == WINDOW {
            // There was nothing to take until now, which is not the client's fault.
            self.window.note_progress();
        }
        let wanted = bytes.len().saturating_add(PART_COST);
        let cost = wanted.min(self.window.room.available_permits());
        if let Ok(permits) = self.window.room.try_acquire_many(cost as u32) {
            permits.forget();
            // A client that is gone misses nothing.
            let _ = self.parts.send(Part::Bytes(bytes, cost));
        }
    }

    /// Ends the stream.
    pub(super) fn end(mut self, outcome: Result<(), Error>) {
        self.has_ended = true;
        let _ = self.parts.send(Part::End(outcome));
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        if !self.has_ended && !self.is_closed() {
            tracing::error!("a stream was dropped without an end; ending it with 500");
            let _ = self.parts.send(Part::End(Err(Error::Internal(
                "The server lost this request; this is a bug in tserve.".to_owned(),
            ))));
        }
    }
}

/// The room that a stream lacks.
#[derive(Debug)]
pub struct Room(Arc<Window>);

impl Room {
    /// Resolves when there is some, or nobody needs it any more. Cancel safe.
    pub async fn free(&self) {
        // It is closed when the client is gone.
        let _ = self.0.room.acquire().await;
    }

    /// How long the client has taken nothing, though there was something to take.
    pub fn idle_for(&self) -> Duration {
        let moved = Duration::from_nanos(self.0.moved.load(Ordering::Relaxed));
        self.0.epoch.elapsed().saturating_sub(moved)
    }
}

#[cfg(test)]
mod tests;
