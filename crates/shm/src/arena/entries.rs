//! The book-keeping table of one class: zeroed, and without memory until a part of it is used.
//!
//! A class of small blocks has a million slots, of which most are never used. The table is a mapping
//! of its own rather than a piece of the heap, since allocators clear what they hand out again, or
//! back it with huge pages, and both fill it with memory at once.

use std::{io, ops::Deref};

use crate::sync::AtomicU32;

/// Book-keeping of one slot. All-zero bytes are a valid one.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// Slot number + 1 of the next free slot, or 0; meaningful while the slot is in the list.
    pub(crate) next: AtomicU32,
    /// Pages that the slot holds; touched by the slot's owner only.
    pub(crate) warm_pages: AtomicU32,
}

/// Entries, all zero at first.
#[derive(Debug)]
pub(crate) struct Entries {
    #[cfg(not(any(loom, miri)))]
    mapping: memmap2::MmapRaw,
    #[cfg(not(any(loom, miri)))]
    count: usize,
    #[cfg(any(loom, miri))]
    list: Box<[Entry]>,
}

#[cfg(not(any(loom, miri)))]
impl Entries {
    /// A table of `count` entries, one at least.
    ///
    /// # Errors
    ///
    /// What the kernel says about the mapping.
    pub(crate) fn new(count: u32) -> io::Result<Self> {
        let count = count.max(1) as usize;
        let bytes = count * size_of::<Entry>();
        let mapping = memmap2::MmapOptions::new()
            .len(bytes)
            .no_reserve_swap()
            .map_anon()?;
        // Kernels without huge pages refuse, and do what is asked for anyway.
        let _ = mapping.advise(memmap2::Advice::NoHugePage);
        Ok(Self {
            mapping: mapping.into(),
            count,
        })
    }
}

#[cfg(not(any(loom, miri)))]
impl Deref for Entries {
    type Target = [Entry];

    #[expect(unsafe_code, reason = "a view of mapped memory as atomics")]
    fn deref(&self) -> &[Entry] {
        let start = self.mapping.as_ptr();
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        let start = start.cast::<Entry>();
        // SAFETY: the mapping is private to this value, lives as long as it, begins at a page and
        // has room for `count` entries; the kernel zeroed it, and all-zero bytes are valid entries.
        // They consist of atomics, so that shared references to them allow for changes.
        unsafe { std::slice::from_raw_parts(start, self.count) }
    }
}

#[cfg(any(loom, miri))]
impl Entries {
    pub(crate) fn new(count: u32) -> io::Result<Self> {
        let list = (0..count.max(1)).map(|_| Entry::default()).collect();
        Ok(Self { list })
    }
}

#[cfg(any(loom, miri))]
impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.list
    }
}
