//! The body of a request: as much of it under way as there is room for.

use std::future::poll_fn;
use std::sync::Arc;

use h2::RecvStream;
use tokio::time::timeout_at;

use super::super::exchange::Destination;
use super::super::limits::{Limits, Pace};
use super::super::routes::Payload;
use crate::service::{BodyBlock, ServedModel};

/// Where a body goes, and where it is afterwards.
pub(super) enum Place {
    Heap(Vec<u8>),
    Arena(Arc<ServedModel>, BodyBlock),
    Nowhere,
}

/// Why a body cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody sends it any more.
    Gone,
    /// It is not as long as it was said to be.
    Malformed,
    /// It comes too slowly.
    TooSlow,
    /// It is larger than `max_request_size`.
    TooLarge,
}

impl From<Destination> for Place {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Heap => Self::Heap(Vec::new()),
            Destination::Arena(model, block) => Self::Arena(model, block),
            Destination::Nowhere => Self::Nowhere,
        }
    }
}

impl Place {
    /// What routes get; bytes in the server's memory stay in `read`.
    pub(super) fn payload(self, read: &mut Vec<u8>) -> Payload<'_> {
        match self {
            Self::Heap(bytes) => {
                *read = bytes;
                Payload::Bytes(read)
            }
            Self::Arena(model, block) => Payload::Arena { model, block },
            Self::Nowhere => Payload::Bytes(&[]),
        }
    }

    /// Puts the next bytes behind `read` ones; whether they fit.
    fn put(&mut self, read: usize, bytes: &[u8]) -> bool {
        match self {
            Self::Heap(heap) => heap.extend_from_slice(bytes),
            Self::Arena(_, block) => match block.get_mut(read..read + bytes.len()) {
                Some(room) => room.copy_from_slice(bytes),
                None => return false,
            },
            Self::Nowhere => {}
        }
        true
    }

    fn is_filled(&self, read: usize) -> bool {
        match self {
            Self::Arena(_, block) => block.len() == read,
            Self::Heap(_) | Self::Nowhere => true,
        }
    }
}

/// Reads a body to its place. What has been read makes room for more of it, nothing else does.
pub(super) async fn read(
    body: &mut RecvStream,
    goal: &mut Place,
    largest: u64,
    limits: &Limits,
) -> Result<(), Failure> {
    let mut pace = Pace::start(limits);
    let mut read = 0;
    loop {
        let data = poll_fn(|context| body.poll_data(context));
        let data = match timeout_at(pace.deadline().into(), data).await {
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(_))) => return Err(Failure::Gone),
            Ok(None) if goal.is_filled(read) => return Ok(()),
            Ok(None) => return Err(Failure::Malformed),
            Err(_) => return Err(Failure::TooSlow),
        };
        if (read + data.len()) as u64 > largest {
            return Err(Failure::TooLarge);
        }
        if !goal.put(read, &data) {
            return Err(Failure::Malformed);
        }
        read += data.len();
        pace.moved(data.len());
        // It fails for a stream that has been reset, which the next read will tell.
        let _ = body.flow_control().release_capacity(data.len());
    }
}
