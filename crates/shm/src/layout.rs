//! Where everything lies in a link segment.
//!
//! ```text
//! 0        Control: identity, counters, flags, bells (one cache line pair each)
//! 4096     submission ring: `depth` slots of 2 + 2 * max_batch words
//!          completion ring: COMPLETION_SLOTS slots of 2 words
//! page     reply area: `reply_bytes`, sparse
//! ```
//!
//! Counters only grow and count from 0; slot `n % slots` holds entry `n`.

use crate::sync::{AtomicU32, AtomicU64};

/// First word of a link segment.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"tsrvlink");
/// Unit of file sizes, mappings and holes.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Reply frames that may wait for the server at once.
pub(crate) const COMPLETION_SLOTS: u64 = 64;
/// Bytes of intermediate replies that may wait for the server, unless a single one is larger: what
/// a handler sends ahead of a client that does not keep up.
pub(crate) const AHEAD_BYTES: u64 = 1 << 20;
/// Intermediate replies that may wait for the server.
pub(crate) const AHEAD_FRAMES: u64 = 16;
/// Words of a completion slot: offset and length of a frame in the reply area.
pub(crate) const COMPLETION_WORDS: u64 = 2;
/// Offset of the rings.
const RINGS_OFFSET: u64 = PAGE_BYTES;
/// Largest reply area: what one frame may ask the server to copy.
const MAX_REPLY_BYTES: u64 = 1 << 40;

/// Sizes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Batches that may be submitted and not yet answered; at least 1.
    pub depth: u32,
    /// Jobs in a batch at most; at least 1.
    pub max_batch: u32,
    /// Size of the reply area and so of the largest reply frame, in bytes; rounded up to pages.
    /// The area is sparse: only what replies touch costs memory.
    pub reply_bytes: u64,
}

/// A value alone on its pair of cache lines, so that the two sides do not slow each other down.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// Identity of a segment; the server writes it once, the worker checks it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Identity {
    pub(crate) magic: AtomicU64,
    pub(crate) layout_version: AtomicU32,
    pub(crate) depth: AtomicU32,
    pub(crate) max_batch: AtomicU32,
    pub(crate) reserved: AtomicU32,
    pub(crate) reply_bytes: AtomicU64,
}

/// Flags and bells: written rarely, read at every step of the other side.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct ServerFlags {
    /// 1: no more submissions will be taken.
    pub(crate) is_closed: AtomicU32,
    /// 1: nobody reads completions any more.
    pub(crate) is_deaf: AtomicU32,
    /// 1: the server sleeps until the event is signalled.
    pub(crate) sleeps_for_completions: AtomicU32,
    /// Counts rings; the worker waits for a change of it when it has no batch.
    pub(crate) submission_bell: AtomicU32,
    /// Counts rings; the worker waits for a change of it when the reply area is full.
    pub(crate) space_bell: AtomicU32,
    /// One more than the id of the batch whose intermediate replies nobody wants any more; 0: none.
    pub(crate) abandoned: AtomicU64,
}

/// Flags written by the worker.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct WorkerFlags {
    /// 1: the worker waits on the submission bell.
    pub(crate) sleeps_for_submissions: AtomicU32,
    /// 1: the worker waits on the space bell.
    pub(crate) sleeps_for_space: AtomicU32,
}

/// The shared words of a link besides its rings.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    pub(crate) identity: Line<Identity>,
    /// Batches submitted; the server writes.
    pub(crate) submitted: Line<AtomicU64>,
    /// Frames the server has copied out; the server writes.
    pub(crate) consumed: Line<AtomicU64>,
    pub(crate) server: Line<ServerFlags>,
    /// Batches taken from the ring; the worker writes.
    pub(crate) taken: Line<AtomicU64>,
    /// Frames published; the worker writes.
    pub(crate) completed: Line<AtomicU64>,
    pub(crate) worker: Line<WorkerFlags>,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Control>() == 7 * 128);
    assert!(size_of::<Control>() as u64 <= RINGS_OFFSET);
    assert!(std::mem::offset_of!(Control, submitted) == 128);
    assert!(std::mem::offset_of!(Control, consumed) == 256);
    assert!(std::mem::offset_of!(Control, server) == 384);
    assert!(std::mem::offset_of!(Control, taken) == 512);
    assert!(std::mem::offset_of!(Control, completed) == 640);
    assert!(std::mem::offset_of!(Control, worker) == 768);
    assert!(std::mem::offset_of!(Identity, reply_bytes) == 24);
};

/// Sizes and offsets that follow from a [`LinkConfig`], all in bytes unless named otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) depth: u64,
    pub(crate) max_batch: u64,
    pub(crate) reply_bytes: u64,
    /// Words of the two rings together.
    pub(crate) ring_words: u64,
    pub(crate) rings_offset: u64,
    pub(crate) reply_offset: u64,
    pub(crate) total_bytes: u64,
}

impl Geometry {
    /// Lays a link out; `None` when a size is zero or absurd.
    pub(crate) fn new(config: &LinkConfig) -> Option<Self> {
        let (depth, max_batch) = (u64::from(config.depth), u64::from(config.max_batch));
        if depth == 0 || max_batch == 0 || config.reply_bytes == 0 {
            return None;
        }
        if config.reply_bytes > MAX_REPLY_BYTES {
            return None;
        }
        let reply_bytes = config.reply_bytes.next_multiple_of(PAGE_BYTES);
        let slot_words = submission_words(max_batch);
        let ring_words = depth
            .checked_mul(slot_words)?
            .checked_add(COMPLETION_SLOTS * COMPLETION_WORDS)?;
        let reply_offset = ring_words
            .checked_mul(8)?
            .checked_add(RINGS_OFFSET)?
            .checked_next_multiple_of(PAGE_BYTES)?;
        let total_bytes = reply_offset.checked_add(reply_bytes)?;
        i64::try_from(total_bytes).is_ok().then_some(Self {
            depth,
            max_batch,
            reply_bytes,
            ring_words,
            rings_offset: RINGS_OFFSET,
            reply_offset,
            total_bytes,
        })
    }

    /// Index of the first word of the slot of submission `number`.
    pub(crate) fn submission_slot(&self, number: u64) -> u64 {
        (number % self.depth) * submission_words(self.max_batch)
    }

    /// Index of the first word of the slot of completion `number`.
    pub(crate) fn completion_slot(&self, number: u64) -> u64 {
        self.depth * submission_words(self.max_batch)
            + (number % COMPLETION_SLOTS) * COMPLETION_WORDS
    }
}

/// Words of a submission slot: batch id, number of jobs, then offset and length of each job.
const fn submission_words(max_batch: u64) -> u64 {
    2 + 2 * max_batch
}
