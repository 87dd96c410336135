//! The byte side of a connection: a reused read buffer, deadlines that cost nothing until they are
//! near, writes that notice a client who does not read.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::connection::Prelude;
use super::limits::{Limits, Pace};
use crate::ingress::Reset;

/// First size of a read buffer; most requests fit.
const USUAL_BUFFER: usize = 4096;
/// Buffers that grew beyond this are given back between requests.
const KEPT_BUFFER: usize = 64 * 1024;
/// How far the next requests are read while an answer is awaited.
const READ_AHEAD: usize = 64 * 1024;
/// Most bytes that are read only to be thrown away.
pub(super) const DISCARD_LIMIT: u64 = 64 * 1024 * 1024;

/// Why bytes stopped moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireError {
    /// The peer has closed its half in order; it may still listen.
    Ended,
    /// The connection failed.
    Closed,
    /// The peer is too slow.
    TimedOut,
}

/// Bytes that were read and not used yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What was read and not consumed.
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Forgets the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > KEPT_BUFFER {
                self.bytes = Vec::new();
            }
        }
    }

    /// Makes room for `total` unconsumed bytes. Positions in [`Buffer::data`] stay.
    pub(super) fn reserve(&mut self, total: usize) {
        if self.start + total > self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if total > self.bytes.len() {
            let size = total.next_power_of_two().max(USUAL_BUFFER);
            self.bytes.resize(size, 0);
        }
    }

    fn spare(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() {
            self.reserve(self.end - self.start + USUAL_BUFFER / 2);
        }
        &mut self.bytes[self.end..]
    }
}

/// A deadline that may be moved for free: the timer is only touched when it fires too early.
struct Watchdog {
    sleep: Pin<Box<Sleep>>,
    deadline: Instant,
}

impl Watchdog {
    fn new(deadline: Instant) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
            deadline,
        }
    }

    fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if self.sleep.deadline().into_std() > deadline {
            self.sleep.as_mut().reset(deadline.into());
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<WireError> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if Instant::now() >= self.deadline {
                return Poll::Ready(WireError::TimedOut);
            }
            self.sleep.as_mut().reset(self.deadline.into());
        }
    }
}

/// A stream with its buffer and its watchdog.
pub(super) struct Wire<S> {
    stream: S,
    /// Bytes read ahead.
    pub(super) buffer: Buffer,
    watchdog: Watchdog,
    limits: Limits,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a stream.
    pub(super) fn new(stream: S, limits: Limits) -> Self {
        Self {
            stream,
            buffer: Buffer::default(),
            watchdog: Watchdog::new(Instant::now() + limits.idle),
            limits,
        }
    }

    /// Hands over to another version of HTTP.
    pub(super) fn into_prelude(self) -> Prelude<S> {
        Prelude {
            stream: self.stream,
            read: self.buffer.data().to_vec(),
        }
    }

    /// The limits of this connection.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets the window in which bodies and replies must move; returns the old one.
    pub(super) fn set_progress(&mut self, window: Duration) -> Duration {
        std::mem::replace(&mut self.limits.progress, window)
    }

    /// Reads some bytes into the buffer, until `deadline` or until `stop` is done.
    pub(super) async fn fill_until(
        &mut self,
        deadline: Instant,
        stop: Option<Pin<&mut (dyn Future<Output = ()> + Send)>>,
    ) -> Result<usize, WireError> {
        self.watchdog.set(deadline);
        let mut stop = stop;
        poll_fn(|context| {
            match self.poll_fill(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(WireError::Ended)),
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(WireError::Closed)),
                Poll::Pending => {}
            }
            if let Some(stop) = &mut stop
                && stop.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Err(WireError::Closed));
            }
            self.watchdog.poll_expired(context).map(Err)
        })
        .await
    }

    /// Reads ahead while an answer is prepared; done when the client is gone. A client that only
    /// closed its own half may still listen and gets a grace period; there is no telling.
    pub(super) fn poll_gone(
        &mut self,
        context: &mut Context<'_>,
        has_ended: &mut bool,
    ) -> Poll<()> {
        while !*has_ended && self.buffer.data().len() < READ_AHEAD {
            match ready!(self.poll_fill(context)) {
                Ok(0) => {
                    *has_ended = true;
                    self.watchdog.set(Instant::now() + self.limits.half_close);
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        if *has_ended {
            self.watchdog.poll_expired(context).map(|_| ())
        } else {
            Poll::Pending
        }
    }

    /// Polls one read into the buffer. `Ok(0)` means that the peer has closed.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut target = ReadBuf::new(self.buffer.spare());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut target))?;
        let count = target.filled().len();
        self.buffer.end += count;
        Poll::Ready(Ok(count))
    }

    /// Fills `target` from the buffer and then straight from the stream.
    pub(super) async fn read_exact(&mut self, target: &mut [u8]) -> Result<(), WireError> {
        let buffered = self.buffer.data().len().min(target.len());
        target[..buffered].copy_from_slice(&self.buffer.data()[..buffered]);
        self.buffer.consume(buffered);
        let mut filled = buffered;
        let mut pace = Pace::start(&self.limits);
        while filled < target.len() {
            self.watchdog.set(pace.deadline());
            let count = poll_fn(|context| {
                let mut room = ReadBuf::new(&mut target[filled..]);
                match Pin::new(&mut self.stream).poll_read(context, &mut room) {
                    Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                        Poll::Ready(Ok(room.filled().len()))
                    }
                    Poll::Ready(Ok(())) => Poll::Ready(Err(WireError::Ended)),
                    Poll::Ready(Err(_)) => Poll::Ready(Err(WireError::Closed)),
                    Poll::Pending => self.watchdog.poll_expired(context).map(Err),
                }
            })
            .await?;
            filled += count;
            pace.moved(count);
        }
        Ok(())
    }

    /// Reads and forgets `count` bytes.
    pub(super) async fn discard(&mut self, mut count: u64) -> Result<(), WireError> {
        let mut pace = Pace::start(&self.limits);
        loop {
            let buffered = self.buffer.data().len();
            let used = usize::try_from(count).unwrap_or(usize::MAX).min(buffered);
            self.buffer.consume(used);
            count -= used as u64;
            if count == 0 {
                return Ok(());
            }
            let moved = self.fill_until(pace.deadline(), None).await?;
            pace.moved(moved);
        }
    }

    /// Writes `head` and `body` in as few system calls as possible.
    pub(super) async fn write_all(&mut self, head: &[u8], body: &[u8]) -> Result<(), WireError> {
        let total = head.len() + body.len();
        let mut written = 0;
        let mut pace: Option<Pace> = None;
        poll_fn(|context| {
            while written < total {
                let head_left = &head[written.min(head.len())..];
                let body_left = &body[written.saturating_sub(head.len())..];
                let slices = [IoSlice::new(head_left), IoSlice::new(body_left)];
                let used = if head_left.is_empty() {
                    &slices[1..]
                } else {
                    &slices[..]
                };
                match Pin::new(&mut self.stream).poll_write_vectored(context, used) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        written += count;
                        if let Some(pace) = &mut pace {
                            pace.moved(count);
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(WireError::Closed)),
                    Poll::Pending => return self.poll_slow(context, &mut pace),
                }
            }
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(outcome) => Poll::Ready(outcome.map_err(|_| WireError::Closed)),
                Poll::Pending => self.poll_slow(context, &mut pace),
            }
        })
        .await
    }

    fn poll_slow(
        &mut self,
        context: &mut Context<'_>,
        pace: &mut Option<Pace>,
    ) -> Poll<Result<(), WireError>> {
        let pace = pace.get_or_insert_with(|| Pace::start(&self.limits));
        self.watchdog.set(pace.deadline());
        self.watchdog.poll_expired(context).map(Err)
    }

    /// Closes at once, so that the client sees a broken connection and not the end of a message.
    pub(super) fn abort(&self)
    where
        S: Reset,
    {
        self.stream.reset_on_close();
    }

    /// Closes without a reset: ends the own half, then reads what the client still sends until it
    /// closes too. A reset would make the client lose a reply that it has not read yet.
    pub(super) async fn close(mut self) {
        if self.end_output().await.is_err() {
            return;
        }
        let end = Instant::now() + self.limits.linger.saturating_mul(10);
        let mut thrown = 0;
        while thrown < DISCARD_LIMIT {
            let count = self.buffer.data().len();
            self.buffer.consume(count);
            let deadline = end.min(Instant::now() + self.limits.linger);
            match self.fill_until(deadline, None).await {
                Ok(count) => thrown += count as u64,
                Err(_) => return,
            }
        }
    }

    async fn end_output(&mut self) -> Result<(), WireError> {
        let limit: Duration = self.limits.linger;
        match tokio::time::timeout(limit, self.stream.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(WireError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    fn hurried() -> Limits {
        Limits {
            progress: Duration::from_millis(50),
            linger: Duration::from_millis(50),
            ..Limits::default()
        }
    }

    #[test]
    fn a_buffer_keeps_positions_while_it_moves_and_grows() {
        let mut buffer = Buffer::default();
        buffer.spare()[..6].copy_from_slice(b"abcdef");
        buffer.end = 6;
        buffer.consume(2);
        buffer.reserve(100_000);
        assert_eq!(buffer.data(), b"cdef");
        buffer.consume(4);
        assert!(buffer.bytes.is_empty(), "a large buffer is given back");
    }

    #[tokio::test]
    async fn a_large_body_is_read_past_the_buffer() {
        let (mut client, server) = duplex(64);
        let mut wire = Wire::new(server, Limits::default());
        let sender = tokio::spawn(async move {
            client.write_all(&[7; 10_000]).await.unwrap();
            client
        });
        wire.fill_until(Instant::now() + Duration::from_secs(5), None)
            .await
            .unwrap();
        let mut body = vec![0; 10_000];
        wire.read_exact(&mut body).await.unwrap();
        assert!(body.iter().all(|&byte| byte == 7));
        drop(sender.await.unwrap());
    }

    #[tokio::test]
    async fn a_body_that_stops_moving_times_out() {
        let (mut client, server) = duplex(64);
        client.write_all(b"abc").await.unwrap();
        let mut wire = Wire::new(server, hurried());
        assert_eq!(
            wire.read_exact(&mut [0; 10]).await,
            Err(WireError::TimedOut)
        );
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_times_out() {
        let (client, server) = duplex(64);
        let mut wire = Wire::new(server, hurried());
        assert_eq!(
            wire.write_all(b"head", &[0; 1000]).await,
            Err(WireError::TimedOut)
        );
        drop(client);
    }

    #[tokio::test]
    async fn head_and_body_arrive_whole_in_any_pieces() {
        let (mut client, server) = duplex(7);
        let mut wire = Wire::new(server, Limits::default());
        let writer = tokio::spawn(async move {
            wire.write_all(b"0123456789", b"abcdefghij").await.unwrap();
            wire.close().await;
        });
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "0123456789abcdefghij");
        drop(client);
        writer.await.unwrap();
    }
}
