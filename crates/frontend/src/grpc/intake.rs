//! The way of a request into the server: how large its messages are, how fast they come, and how
//! much memory all of them take together.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tonic::Status;

/// Before each message: a flag and a length.
const PREFIX_BYTES: usize = 5;
/// Memory is counted in pieces of this size.
const PIECE_BYTES: u64 = 1024;
/// Least memory for messages on their way in.
const LEAST_MEMORY_BYTES: u64 = 256 << 20;
/// Messages up to this size have memory of their own, so that they never wait behind large ones.
const SMALL_MESSAGE_BYTES: u64 = 64 << 10;
const SMALL_MEMORY_BYTES: u64 = 64 << 20;
/// How long a message may take to move by [`PROGRESS_BYTES`], and to wait for memory.
const PATIENCE: Duration = Duration::from_secs(30);
const PROGRESS_BYTES: usize = 4096;

/// The memory that messages take while they come in, of all connections together. Who finds none
/// left is not read from until there is.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Pieces for large messages.
    most: u32,
    patience: Duration,
}

impl Memory {
    /// Enough for a few of the largest messages at once.
    pub(super) fn new(max_message_size: u64) -> Self {
        let bytes = max_message_size.saturating_mul(4).max(LEAST_MEMORY_BYTES);
        let most = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX >> 1);
        Self {
            small: Arc::new(Semaphore::new((SMALL_MEMORY_BYTES / PIECE_BYTES) as usize)),
            large: Arc::new(Semaphore::new(most as usize)),
            most,
            patience: PATIENCE,
        }
    }

    /// Where a message of this length finds memory, and how much of it.
    fn place(&self, bytes: u64) -> (&Arc<Semaphore>, u32) {
        let pieces = bytes.div_ceil(PIECE_BYTES);
        let pieces = u32::try_from(pieces).map_or(self.most, |pieces| pieces.min(self.most));
        let is_small = bytes <= SMALL_MESSAGE_BYTES;
        (if is_small { &self.small } else { &self.large }, pieces)
    }

    /// Waits for memory, but not for ever.
    async fn wait(
        place: Arc<Semaphore>,
        pieces: u32,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, Status> {
        match tokio::time::timeout(patience, place.acquire_many_owned(pieces)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Status::unavailable("The server stops.")),
            Err(_) => Err(Status::resource_exhausted(format!(
                "Other messages took all memory for requests for {} s; try again later.",
                patience.as_secs()
            ))),
        }
    }
}

/// Waits for memory.
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Status>> + Send>>;

/// The body of a request.
pub(super) struct Intake<B = Incoming> {
    body: B,
    /// Largest message, inclusive.
    largest: u64,
    framing: Framing,
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    /// A frame that was received and waits for memory.
    waiting: Option<(Turn, Bytes)>,
    /// For requests of many messages: becomes true when the server wants no more of them.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pace: Pace,
}

impl<B> Intake<B> {
    /// A body of messages of up to `largest` bytes, each of which has to come without long pauses. One
    /// with `stopping` may begin them at any time until that becomes true.
    pub(super) fn new(
        body: B,
        largest: u64,
        memory: Memory,
        stopping: Option<watch::Receiver<bool>>,
    ) -> Self {
        Self {
            body,
            largest,
            framing: Framing::default(),
            memory,
            held: None,
            waiting: None,
            stopping: stopping.map(|mut stopping| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(async move {
                    // A sender that is gone means the same as a stop.
                    let _ = stopping.wait_for(|stops| *stops).await;
                })
            }),
            pace: Pace::default(),
        }
    }

    /// Hands received bytes on, once there is memory for what they begin.
    fn admit(&mut self, data: Bytes) -> Result<Option<Bytes>, Status> {
        self.pace.moved += data.len();
        let Some(length) = self.framing.feed(&data) else {
            return Ok(Some(data));
        };
        if length > self.largest {
            return Err(Status::resource_exhausted(format!(
                "The message has {length} bytes; max_request_size is {}.",
                self.largest
            )));
        }
        // The message before this one has been handed on.
        self.held = None;
        let (place, pieces) = self.memory.place(length);
        if let Ok(permit) = Arc::clone(place).try_acquire_many_owned(pieces) {
            self.held = Some(permit);
            return Ok(Some(data));
        }
        let turn = Memory::wait(Arc::clone(place), pieces, self.memory.patience);
        self.waiting = Some((Box::pin(turn), data));
        Ok(None)
    }

    /// Nothing has come: an error when something should have, for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.stopping.is_some() && !self.framing.is_within_a_message() {
            self.pace = Pace::default();
            return Poll::Pending;
        }
        let patience = self.memory.patience;
        ready!(self.pace.poll_stalled(context, patience));
        Poll::Ready(Status::deadline_exceeded(format!(
            "Less than {PROGRESS_BYTES} bytes of the message came within {} s.",
            patience.as_secs()
        )))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Intake<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        if self.waiting.is_none() && !self.framing.is_within_a_message() {
            // Whoever polls for the next message has taken the one before.
            self.held = None;
        }
        loop {
            if let Some((turn, _)) = &mut self.waiting {
                let turn = ready!(turn.as_mut().poll(context));
                let data = self.waiting.take().map(|(_, data)| data);
                self.pace = Pace::default();
                return Poll::Ready(match turn {
                    Ok(permit) => {
                        self.held = Some(permit);
                        data.map(|data| Ok(Frame::data(data)))
                    }
                    Err(status) => Some(Err(status)),
                });
            }
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => {
                    let gone = Status::cancelled("The client gave the call up.");
                    return Poll::Ready(Some(Err(gone)));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    return Poll::Ready(Some(Err(ready!(self.poll_stalled(context)))));
                }
            };
            match frame.into_data() {
                Ok(data) => match self.admit(data) {
                    Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(None) => {}
                    Err(status) => return Poll::Ready(Some(Err(status))),
                },
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

/// Finds the lengths of messages in the bytes of a body.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that have been seen.
    seen: usize,
    /// Bytes of the current message that are still to come.
    left: u64,
}

impl Framing {
    /// Whether a message has begun and is not complete.
    fn is_within_a_message(&self) -> bool {
        self.left > 0 || self.seen > 0
    }

    /// Takes the next bytes; the length of the largest message that begins in them.
    fn feed(&mut self, mut data: &[u8]) -> Option<u64> {
        let mut largest = None;
        loop {
            let skipped = self.left.min(data.len() as u64);
            data.advance(skipped as usize);
            self.left -= skipped;
            if data.is_empty() {
                return largest;
            }
            let taken = (PREFIX_BYTES - self.seen).min(data.len());
            data.copy_to_slice(&mut self.prefix[self.seen..][..taken]);
            self.seen += taken;
            if self.seen == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.seen = 0;
                self.left = u32::from_be_bytes(length).into();
                largest = largest.max(Some(self.left));
            }
        }
    }
}

/// Watches that bytes move fast enough.
#[derive(Default)]
struct Pace {
    moved: usize,
    /// Set when the client first had to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Ready when too few bytes have come for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>, patience: Duration) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        loop {
            ready!(timer.as_mut().poll(context));
            if self.moved < PROGRESS_BYTES {
                return Poll::Ready(());
            }
            self.moved = 0;
            timer.as_mut().reset(Instant::now() + patience);
        }
    }
}
