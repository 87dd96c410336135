//! The way of a request into the server: how large its messages are, how fast they come, and how
//! much memory all of them take together.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};
use tonic::Status;

/// Before each message: a flag and a length.
const PREFIX_BYTES: usize = 5;
/// Memory is counted in pieces of this size.
const PIECE_BYTES: u64 = 1024;
/// Least memory for messages on their way in.
const LEAST_MEMORY_BYTES: u64 = 256 << 20;
/// Window in which a single request has to move by so many bytes, unless fewer are left.
const PROGRESS: Duration = Duration::from_secs(30);
const PROGRESS_BYTES: usize = 4096;

/// The memory that messages take while they come in, of all connections together. Who finds none
/// left is not read from until there is.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pieces: Arc<Semaphore>,
    most: u32,
}

impl Memory {
    /// Enough for a few of the largest messages at once.
    pub(super) fn new(max_message_size: u64) -> Self {
        let bytes = max_message_size.saturating_mul(4).max(LEAST_MEMORY_BYTES);
        let most = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX >> 1);
        Self {
            pieces: Arc::new(Semaphore::new(most as usize)),
            most,
        }
    }

    fn pieces(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(PIECE_BYTES)).map_or(self.most, |pieces| pieces.min(self.most))
    }
}

/// Waits for memory.
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The body of a request.
pub(super) struct Intake {
    body: Incoming,
    /// Largest message, inclusive.
    largest: u64,
    framing: Framing,
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    /// A frame that was received and waits for memory.
    waiting: Option<(Turn, Bytes)>,
    /// For requests of many messages: becomes true when the server wants no more of them.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pace: Option<Pace>,
}

impl Intake {
    /// A body of messages of up to `largest` bytes. One with `stopping` may send them at any time
    /// until that becomes true; any other has to send its message without long pauses.
    pub(super) fn new(
        body: Incoming,
        largest: u64,
        memory: Memory,
        stopping: Option<watch::Receiver<bool>>,
    ) -> Self {
        let pace = stopping.is_none().then(Pace::default);
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
            pace,
        }
    }

    /// Takes note of received bytes; the pieces of memory that they announce a need for.
    fn measure(&mut self, data: &[u8]) -> Result<Option<u32>, Status> {
        let Some(length) = self.framing.feed(data) else {
            return Ok(None);
        };
        if length > self.largest {
            return Err(Status::resource_exhausted(format!(
                "The message has {length} bytes; max_request_size is {}.",
                self.largest
            )));
        }
        Ok(Some(self.memory.pieces(length)))
    }

    /// Hands received bytes on, once there is memory for what they begin.
    fn admit(&mut self, data: Bytes) -> Result<Option<Bytes>, Status> {
        if let Some(pace) = &mut self.pace {
            pace.moved(data.len());
        }
        let Some(pieces) = self.measure(&data)? else {
            return Ok(Some(data));
        };
        // The message before this one has been handed on.
        self.held = None;
        let semaphore = Arc::clone(&self.memory.pieces);
        if let Ok(permit) = Arc::clone(&semaphore).try_acquire_many_owned(pieces) {
            self.held = Some(permit);
            return Ok(Some(data));
        }
        self.waiting = Some((Box::pin(semaphore.acquire_many_owned(pieces)), data));
        Ok(None)
    }
}

impl Body for Intake {
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
        loop {
            if let Some((turn, _)) = &mut self.waiting {
                let permit = ready!(turn.as_mut().poll(context));
                self.held = permit.ok();
                if let Some(pace) = &mut self.pace {
                    *pace = Pace::default();
                }
                let data = self.waiting.take().map(|(_, data)| data);
                return Poll::Ready(data.map(|data| Ok(Frame::data(data))));
            }
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => {
                    let gone = Status::cancelled("The client gave the call up.");
                    return Poll::Ready(Some(Err(gone)));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let Some(pace) = &mut self.pace else {
                        return Poll::Pending;
                    };
                    ready!(pace.poll_stalled(context));
                    return Poll::Ready(Some(Err(Status::deadline_exceeded(format!(
                        "Less than {PROGRESS_BYTES} bytes of the request came within {} s.",
                        PROGRESS.as_secs()
                    )))));
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
    fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Ready when too few bytes have come for too long.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(PROGRESS)));
        loop {
            ready!(timer.as_mut().poll(context));
            if self.moved < PROGRESS_BYTES {
                return Poll::Ready(());
            }
            self.moved = 0;
            timer.as_mut().reset(Instant::now() + PROGRESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let wire: Vec<u8> = [0u32, 3, 700, 1]
            .into_iter()
            .flat_map(|length| {
                let mut message = vec![0];
                message.extend(length.to_be_bytes());
                message.resize(PREFIX_BYTES + length as usize, 7);
                message
            })
            .collect();
        for size in 1..wire.len() {
            let mut framing = Framing::default();
            let found: Vec<_> = wire
                .chunks(size)
                .filter_map(|chunk| framing.feed(chunk))
                .collect();
            assert_eq!(found.iter().max(), Some(&700), "{size}");
            assert_eq!((framing.left, framing.seen), (0, 0), "{size}");
        }
        let mut framing = Framing::default();
        assert_eq!(framing.feed(&[0, 255, 255]), None);
        assert_eq!(framing.feed(&[255, 255, 1]), Some(u32::MAX.into()));
    }

    #[test]
    fn no_message_needs_more_memory_than_there_is() {
        let memory = Memory::new(u64::from(u32::MAX));
        assert!(memory.pieces(u64::MAX) <= memory.most);
        assert_eq!(memory.pieces(0), 0);
        assert_eq!(
            Memory::new(1).most,
            (LEAST_MEMORY_BYTES / PIECE_BYTES) as u32
        );
    }
}
