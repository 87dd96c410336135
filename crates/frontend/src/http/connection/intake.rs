//! Reading one request: its head, where its body goes, and the body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::service::BodyBlock;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::chunked::ChunkedDecoder;
use super::super::exchange::{Destination, SMALL_BODY};
use super::super::head::{HeadScanner, Malformed};
use super::super::limits::Pace;
use super::super::wire::WireError;
use super::{Connection, End};
use crate::error::Error;
use crate::ingress::Reset;
use crate::service::ServedModel;

/// How much a body in the server's memory grows at once, so that a length that lies costs nothing.
const BODY_STEP: usize = 256 * 1024;
/// Why no request could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection ended.
    End(End),
    /// It is not HTTP.
    Malformed,
    /// It came too slowly.
    TooSlow,
    /// A body without a length grew too large.
    TooLarge,
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Closed => Self::End(End::Gone),
            WireError::TimedOut => Self::TooSlow,
            // A message that stops in the middle; its sender may still listen.
            WireError::Ended => Self::Malformed,
        }
    }
}

/// Where a body goes, and where it is afterwards.
pub(super) enum Place {
    /// Behind its head in the read buffer; this many bytes.
    Buffer(usize),
    /// In [`Connection::body`].
    Heap,
    /// In the memory of its model.
    Arena(Arc<ServedModel>, BodyBlock),
    /// Nowhere: the route does not look at it.
    Nowhere,
}

impl Place {
    /// Whether the head is still in the read buffer.
    pub(super) fn has_head(&self) -> bool {
        matches!(self, Self::Buffer(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Reset + Unpin + Send> Connection<S> {
    /// Waits for a whole head; returns its length in the buffer.
    pub(super) async fn read_head(&mut self) -> Result<usize, Failure> {
        let mut scanner = HeadScanner::default();
        let mut deadline = None;
        loop {
            if let Some(end) = scanner.find_end(self.wire.buffer.data())? {
                return Ok(end);
            }
            self.flush().await.map_err(Failure::End)?;
            if scanner.is_blank(self.wire.buffer.data()) {
                if *self.shutdown.borrow() {
                    return Err(Failure::End(End::Said));
                }
                let idle = Instant::now() + self.wire.limits().idle;
                let stop: Pin<&mut (dyn Future<Output = ()> + Send)> = self.stop.as_mut();
                match self.wire.fill_until(idle, Some(stop)).await {
                    Ok(_) => {}
                    Err(WireError::TimedOut) => return Err(Failure::End(End::Said)),
                    Err(WireError::Ended | WireError::Closed) => {
                        return Err(Failure::End(End::Gone));
                    }
                }
            } else {
                let limit = self.wire.limits().head;
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                self.wire.fill_until(deadline, None).await?;
            }
        }
    }

    /// Decides where the body goes. Large ones go where the model will read them.
    pub(super) fn place(&self, length: Option<u64>) -> Result<Place, Error> {
        let Some(length) = length else {
            return Ok(Place::Heap);
        };
        if length <= SMALL_BODY {
            return Ok(Place::Buffer(length as usize));
        }
        let head = self.head.view(self.wire.buffer.data());
        Ok(match self.door.destination(&head, length)? {
            Destination::Heap => Place::Heap,
            Destination::Arena(model, block) => Place::Arena(model, block),
            Destination::Nowhere => Place::Nowhere,
        })
    }

    pub(super) async fn read_body(
        &mut self,
        goal: &mut Place,
        length: Option<u64>,
    ) -> Result<(), Failure> {
        if !goal.has_head() {
            self.kept_head.clear();
            let head = &self.wire.buffer.data()[..self.head.len];
            self.kept_head.extend_from_slice(head);
            self.wire.buffer.consume(self.head.len);
        }
        match (goal, length) {
            (Place::Buffer(length), _) => {
                let total = self.head.len + *length;
                if self.wire.buffer.data().len() < total {
                    self.wire.buffer.reserve(total);
                    let mut pace = Pace::start(self.wire.limits());
                    while self.wire.buffer.data().len() < total {
                        let count = self.wire.fill_until(pace.deadline(), None).await?;
                        pace.moved(count);
                    }
                }
            }
            (Place::Arena(_, block), _) => self.wire.read_exact(block).await?,
            (Place::Nowhere, length) => self.wire.discard(length.unwrap_or(0)).await?,
            (Place::Heap, Some(length)) => {
                self.body.clear();
                let mut left = usize::try_from(length).unwrap_or(usize::MAX);
                while left > 0 {
                    let step = left.min(BODY_STEP);
                    let start = self.body.len();
                    self.body.resize(start + step, 0);
                    self.wire.read_exact(&mut self.body[start..]).await?;
                    left -= step;
                }
            }
            (Place::Heap, None) => self.read_chunks().await?,
        }
        Ok(())
    }

    async fn read_chunks(&mut self) -> Result<(), Failure> {
        self.body.clear();
        let mut decoder = ChunkedDecoder::default();
        let mut pace = Pace::start(self.wire.limits());
        loop {
            let body = &mut self.body;
            let input = self.wire.buffer.data();
            let used = decoder.decode(input, |run| body.extend_from_slice(run))?;
            self.wire.buffer.consume(used);
            if self.body.len() as u64 > self.door.max_request_size {
                return Err(Failure::TooLarge);
            }
            if decoder.is_done() {
                return Ok(());
            }
            let count = self.wire.fill_until(pace.deadline(), None).await?;
            pace.moved(count);
        }
    }
}
