//! The request arena of a model version: the server writes requests here, its workers read them.
//!
//! The memory file is divided into one part per power of two ("class"), each large enough for twice
//! the arena's capacity. Parts cost address space only; pages come with the first write. A global
//! budget bounds what is in use, so a class never runs dry before the budget does. Within a class a
//! slot comes from a lock-free free list, or is the next one never used before.
//!
//! All book-keeping is in the server's heap: a worker that scribbles cannot confuse it, and has the
//! file mapped read-only anyway.

mod block;
mod entries;
mod slots;

use std::{io, sync::Arc};

pub use block::Block;

use crate::{
    error::AllocateError,
    layout::PAGE_BYTES,
    region::Region,
    sync::{AtomicU64, Ordering, update},
};
use slots::Slots;

/// log2 of the smallest class, 1 KiB.
const SMALLEST_SHIFT: u32 = 10;
/// Blocks of at least this many bytes count as big.
const BIG_BYTES: u64 = 1 << 20;
/// Pages that free blocks may keep, in bytes, once for small and once for big blocks.
const WARM_BYTES: u64 = 64 << 20;
/// Largest capacity: slots of 1 KiB are numbered with 32 bits.
const MAX_CAPACITY_BYTES: u64 = 1 << 40;

/// Sizes of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaLimits {
    /// Bytes that may be in use at once, and so the largest block; counted in pages for blocks of
    /// more than 2 KiB.
    pub capacity_bytes: u64,
}

/// A shared handle to an arena.
#[derive(Clone, Debug)]
pub struct Arena {
    inner: Arc<ArenaInner>,
}

/// The arena itself; blocks keep it alive.
#[derive(Debug)]
struct ArenaInner {
    region: Arc<Region>,
    #[cfg(not(loom))]
    file: Option<ArenaFile>,
    classes: Vec<Class>,
    capacity_bytes: u64,
    used_bytes: AtomicU64,
    warm: [AtomicU64; 2],
}

/// The file behind a mapped arena.
#[cfg(not(loom))]
#[derive(Debug)]
struct ArenaFile {
    file: std::os::fd::OwnedFd,
    reader: std::os::fd::OwnedFd,
}

/// The part of the arena with blocks of one size.
#[derive(Debug)]
struct Class {
    shift: u32,
    /// From the start of the arena, in bytes.
    start: u64,
    slots: Slots,
}

/// What a block holds and gives back.
#[derive(Debug)]
struct Claim {
    class: usize,
    slot: u32,
    /// From the start of the arena, in bytes.
    offset: u64,
    /// What it counts against the capacity.
    charged_bytes: u64,
}

impl Arena {
    /// Makes an arena in a sealed, sparse memory file.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the capacity is zero or above 1 TiB; otherwise what the kernel says.
    #[cfg(not(any(loom, miri)))]
    pub fn new(limits: &ArenaLimits) -> io::Result<Self> {
        use crate::segment;
        use std::os::fd::AsFd;

        let (classes, total_bytes) = plan(limits.capacity_bytes)?;
        let file = segment::create("tserve-arena", total_bytes)?;
        let region = Region::map(file.as_fd(), total_bytes)?;
        let reader = segment::reopen_read_only(file.as_fd())?;
        let file = ArenaFile { file, reader };
        Ok(Self::assemble(
            limits.capacity_bytes,
            region,
            Some(file),
            classes,
        ))
    }

    /// Makes an arena on the heap, for tests and for workers inside the server's process.
    ///
    /// # Errors
    ///
    /// As for a mapped arena; `OutOfMemory` when the address space is not there.
    pub(crate) fn on_heap(capacity_bytes: u64) -> io::Result<Self> {
        let (classes, total_bytes) = plan(capacity_bytes)?;
        let region =
            Region::heap(total_bytes).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        #[cfg(not(loom))]
        return Ok(Self::assemble(capacity_bytes, region, None, classes));
        #[cfg(loom)]
        Ok(Self::assemble(capacity_bytes, region, classes))
    }

    fn assemble(
        capacity_bytes: u64,
        region: Region,
        #[cfg(not(loom))] file: Option<ArenaFile>,
        classes: Vec<Class>,
    ) -> Self {
        Self {
            inner: Arc::new(ArenaInner {
                region: Arc::new(region),
                #[cfg(not(loom))]
                file,
                classes,
                capacity_bytes,
                used_bytes: AtomicU64::new(0),
                warm: [AtomicU64::new(0), AtomicU64::new(0)],
            }),
        }
    }

    /// Takes `len` bytes; lock-free, from any thread.
    ///
    /// The bytes are whatever the last user left there. The only system call on the way is the page
    /// fault of memory never touched before.
    ///
    /// # Errors
    ///
    /// [`AllocateError::Full`] now, [`AllocateError::TooLarge`] forever.
    pub fn allocate(&self, len: usize) -> Result<Block, AllocateError> {
        let claim = self.inner.claim(len as u64)?;
        Ok(Block::new(Arc::clone(&self.inner), claim, len))
    }

    /// The descriptor to hand to workers; it can only be read and mapped for reading.
    ///
    /// # Panics
    ///
    /// For an arena of [`local`](crate::local), which has no descriptor.
    #[cfg(not(loom))]
    pub fn reader_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd;

        let file = self.inner.file.as_ref();
        file.expect("only arenas in memory files are handed to other processes")
            .reader
            .as_fd()
    }

    /// Bytes in use, as counted against the capacity.
    pub fn used_bytes(&self) -> u64 {
        self.inner.used_bytes.load(Ordering::Acquire)
    }

    /// Bytes that may be in use at once.
    pub fn capacity_bytes(&self) -> u64 {
        self.inner.capacity_bytes
    }

    pub(crate) fn region(&self) -> Arc<Region> {
        Arc::clone(&self.inner.region)
    }
}

impl ArenaInner {
    fn claim(&self, len: u64) -> Result<Claim, AllocateError> {
        let class = class_index(len);
        let size = self
            .classes
            .get(class)
            .ok_or(AllocateError::TooLarge)?
            .size();
        let charged_bytes = len.max(1).next_multiple_of(size.min(PAGE_BYTES));
        if charged_bytes > self.capacity_bytes {
            return Err(AllocateError::TooLarge);
        }
        let fits = |used: u64| {
            let sum = used.checked_add(charged_bytes)?;
            (sum <= self.capacity_bytes).then_some(sum)
        };
        if !update(&self.used_bytes, fits) {
            return Err(AllocateError::Full);
        }
        // The budget leaves a slot in the class itself, but another thread may hold the last one
        // between the list and its budget; a larger class serves as well.
        for (index, class) in self.classes.iter().enumerate().skip(class) {
            if let Some(slot) = class.slots.take() {
                self.warm_of(class)
                    .fetch_sub(class.slots.warm_bytes(slot), Ordering::AcqRel);
                return Ok(Claim {
                    class: index,
                    slot,
                    offset: class.start + (u64::from(slot) << class.shift),
                    charged_bytes,
                });
            }
        }
        self.used_bytes.fetch_sub(charged_bytes, Ordering::AcqRel);
        Err(AllocateError::Full)
    }

    fn give_back(&self, claim: &Claim) {
        let class = &self.classes[claim.class];
        if class.size() >= PAGE_BYTES {
            self.keep_or_punch(class, claim);
        }
        class.slots.put(claim.slot);
        self.used_bytes
            .fetch_sub(claim.charged_bytes, Ordering::AcqRel);
    }

    /// Keeps the pages of a block for its next user, or returns them when enough are kept.
    fn keep_or_punch(&self, class: &Class, claim: &Claim) {
        let populated = class.slots.warm_bytes(claim.slot).max(claim.charged_bytes);
        let keep = |warm: u64| {
            let sum = warm + populated;
            (sum <= WARM_BYTES).then_some(sum)
        };
        if update(self.warm_of(class), keep) {
            class.slots.set_warm_bytes(claim.slot, populated);
            return;
        }
        #[cfg(not(loom))]
        if let Some(file) = &self.file {
            crate::segment::punch(&file.file, claim.offset, populated);
        }
        class.slots.set_warm_bytes(claim.slot, 0);
    }

    fn warm_of(&self, class: &Class) -> &AtomicU64 {
        &self.warm[usize::from(class.size() >= BIG_BYTES)]
    }
}

impl Class {
    fn size(&self) -> u64 {
        1 << self.shift
    }
}

/// Which class serves `len` bytes; beyond the last one when none does.
fn class_index(len: u64) -> usize {
    let shift = len
        .max(1)
        .checked_next_power_of_two()
        .map_or(u64::BITS, u64::trailing_zeros);
    shift.saturating_sub(SMALLEST_SHIFT) as usize
}

/// Divides the arena into classes; also yields its size in bytes.
fn plan(capacity: u64) -> io::Result<(Vec<Class>, u64)> {
    if capacity == 0 || capacity > MAX_CAPACITY_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "arena capacity must be above zero and at most 1 TiB",
        ));
    }
    let mut classes = Vec::new();
    let mut start = 0_u64;
    for index in 0..=class_index(capacity) as u32 {
        let shift = SMALLEST_SHIFT + index;
        // A block may fill little more than half of its slot.
        let count = (capacity >> (shift - 1)).max(1);
        classes.push(Class {
            shift,
            start,
            slots: Slots::new(u32::try_from(count).map_err(io::Error::other)?)?,
        });
        start += (count << shift).next_multiple_of(PAGE_BYTES);
    }
    Ok((classes, start))
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests;
