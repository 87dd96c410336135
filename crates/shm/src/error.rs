//! One closed error type per operation.

use std::io;

/// Why [`Arena::allocate`](crate::Arena::allocate) refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The arena holds too many live bytes now; a later try may succeed.
    #[error("request arena is full")]
    Full,
    /// The block is larger than the whole arena; no later try can succeed.
    #[error("block is larger than the request arena")]
    TooLarge,
}

/// Why [`Submitter::submit`](crate::Submitter::submit) refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many batches as the link's depth are in flight.
    #[error("link has its full depth of batches in flight")]
    Full,
    /// The batch is larger than the link was made for.
    #[error("batch holds more jobs than the link was made for")]
    TooManyJobs,
    /// The link was closed.
    #[error("link is closed")]
    Closed,
}

/// What a worker wrote into its link that no sound worker writes; the link is unusable from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The counter of completions ran backwards or too far ahead.
    #[error("worker's completion counter is out of range")]
    Counter,
    /// A completion points outside the reply area.
    #[error("worker's completion points outside the reply area")]
    OutOfRange,
    /// A reply frame does not parse.
    #[error("worker's reply is malformed: {0}")]
    Frame(&'static str),
    /// A reply frame names more requests than a batch can hold.
    #[error("worker's reply names a request outside any batch")]
    Index,
    /// More batches were answered than were submitted.
    #[error("worker answered more batches than it was given")]
    Surplus,
}

/// Why [`WorkerLink::open`](crate::WorkerLink::open) failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The link segment was made by another version of the server, or is no link segment.
    #[error("link segment does not fit this worker: {0}")]
    Layout(&'static str),
    /// The kernel refused to map a segment.
    #[error("cannot map a segment: {0}")]
    Map(#[from] io::Error),
}

/// Why [`WorkerLink::receive`](crate::WorkerLink::receive) returned no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The server closed the link.
    #[error("link is closed")]
    Closed,
    /// Nothing came within the time given.
    #[error("nothing was submitted in time")]
    TimedOut,
    /// A signal handler ran; call again.
    #[error("interrupted by a signal")]
    Interrupted,
    /// Something in this process overwrote the link segment.
    #[error("submission ring is damaged")]
    Damaged,
}

/// Why a reply was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The reply area is too small for this frame, even when empty.
    #[error("reply of {frame_bytes} bytes exceeds the reply area of {limit_bytes} bytes")]
    TooLarge {
        /// Bytes that the whole frame needs.
        frame_bytes: u64,
        /// Bytes of the reply area.
        limit_bytes: u64,
    },
    /// The server no longer reads replies.
    #[error("link is closed")]
    Closed,
    /// Nobody wants intermediate replies of this batch any more; its last one is still due.
    #[error("nobody waits for the rest of this batch's replies")]
    Abandoned,
    /// The reply area stayed full for the time given.
    #[error("reply area is full")]
    TimedOut,
    /// A signal handler ran while waiting for space; call again.
    #[error("interrupted by a signal")]
    Interrupted,
    /// Something in this process overwrote the link segment.
    #[error("reply ring is damaged")]
    Damaged,
}
