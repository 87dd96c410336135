//! A span of bytes that another process may share: mapped from a file, or on the heap.
//!
//! Every access is checked against the bounds. Bytes that the other side may write at any time are
//! only ever copied out, or read through atomics; no reference to them is made.
#![expect(unsafe_code, reason = "raw access to memory that other processes map")]

use std::{alloc::Layout, ptr::NonNull};
#[cfg(not(loom))]
use std::{io, os::fd::BorrowedFd};

/// Memory at a fixed address for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    is_writable: bool,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    /// Unmaps when dropped.
    #[cfg(not(loom))]
    Mapping(#[expect(dead_code, reason = "held for its drop")] memmap2::MmapRaw),
    Heap(Layout),
}

// SAFETY: `base` stays valid wherever the value moves, and nothing in it is tied to a thread.
unsafe impl Send for Region {}
// SAFETY: shared methods copy bytes, hand out atomics, or are `unsafe` and name their caller's duty.
unsafe impl Sync for Region {}

impl Region {
    /// Maps the first `len` bytes of a file for reading and writing.
    #[cfg(not(loom))]
    pub(crate) fn map(fd: BorrowedFd<'_>, len: u64) -> io::Result<Self> {
        let mapping = options(len)?.map_raw(&fd)?;
        Self::from_mapping(mapping, true)
    }

    /// Maps the first `len` bytes of a file for reading; the file may be open for reading only.
    #[cfg(not(loom))]
    pub(crate) fn map_read_only(fd: BorrowedFd<'_>, len: u64) -> io::Result<Self> {
        let mapping = options(len)?.map_raw_read_only(&fd)?;
        Self::from_mapping(mapping, false)
    }

    #[cfg(not(loom))]
    fn from_mapping(mapping: memmap2::MmapRaw, is_writable: bool) -> io::Result<Self> {
        // A core dump of the server must not hold every sparse segment.
        mapping.advise(memmap2::Advice::DontDump)?;
        let base = NonNull::new(mapping.as_mut_ptr())
            .ok_or_else(|| io::Error::other("segment mapped at address zero"))?;
        Ok(Self {
            base,
            len: mapping.len(),
            is_writable,
            backing: Backing::Mapping(mapping),
        })
    }

    /// Takes `len` zeroed bytes from the heap, aligned to a page; `None` when there is no memory.
    pub(crate) fn heap(len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok().filter(|len| *len > 0)?;
        let layout = Layout::from_size_align(len, 4096).ok()?;
        // SAFETY: the layout has a size above zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self {
            base,
            len,
            is_writable: true,
            backing: Backing::Heap(layout),
        })
    }

    #[cfg(not(loom))]
    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Copies `len` bytes out; `None` when they are not all inside.
    ///
    /// The other side may write meanwhile: the copy then holds some mixture of old and new bytes,
    /// which the caller must treat as untrusted anyway.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Option<Vec<u8>> {
        let (offset, len) = self.span(offset, len)?;
        let mut copy = Vec::with_capacity(len);
        // SAFETY: `span` has checked that the source lies inside; the destination has `len` bytes of
        // its own; all bit patterns are valid bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), copy.as_mut_ptr(), len);
            copy.set_len(len);
        }
        Some(copy)
    }

    /// Copies `bytes` in; false when they would not all be inside or the region is read-only.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some((offset, len)) = self.span(offset, bytes.len() as u64) else {
            return false;
        };
        if !self.is_writable {
            return false;
        }
        // SAFETY: `span` has checked that the destination lies inside, and it is mapped writable; no
        // reference to these bytes exists, since only `slice` and `slice_mut` make any.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(offset), len);
        }
        true
    }

    /// Bytes in place; `None` when they are not all inside.
    ///
    /// # Safety
    ///
    /// Nobody, in any process, may write these bytes while the slice is in use.
    pub(crate) unsafe fn slice(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let (offset, len) = self.span(offset, len)?;
        // SAFETY: inside the region by `span`; not written meanwhile by the caller's word.
        Some(unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset), len) })
    }

    /// Start of `len` bytes in place; `None` when they are not all inside or are read-only.
    pub(crate) fn pointer(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let (offset, _) = self.span(offset, len)?;
        // SAFETY: inside the region by `span`.
        self.is_writable
            .then(|| unsafe { self.base.byte_add(offset) })
    }

    /// A value of atomics in place.
    ///
    /// # Panics
    ///
    /// When it would not be inside, not be aligned, or the region is read-only: the offset is the
    /// program's own, never read from shared memory.
    ///
    /// # Safety
    ///
    /// `T` must consist of atomics only, without padding that matters, and be valid for all bits.
    #[cfg(not(loom))]
    pub(crate) unsafe fn atomics<T>(&self, offset: u64) -> &T {
        let pointer = self
            .pointer(offset, size_of::<T>() as u64)
            .expect("atomics lie inside a writable region by construction")
            .cast::<T>();
        assert!(pointer.is_aligned(), "atomics are aligned by construction");
        // SAFETY: inside, aligned, writable; any bits are valid by the caller's word, and concurrent
        // writes are what atomics are for.
        unsafe { pointer.as_ref() }
    }

    fn span(&self, offset: u64, len: u64) -> Option<(usize, usize)> {
        let end = offset.checked_add(len)?;
        (end <= self.len as u64).then_some((offset as usize, len as usize))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match &self.backing {
            #[cfg(not(loom))]
            Backing::Mapping(_) => {}
            Backing::Heap(layout) => {
                // SAFETY: `heap` allocated `base` with this very layout.
                unsafe { std::alloc::dealloc(self.base.as_ptr(), *layout) }
            }
        }
    }
}

#[cfg(not(loom))]
fn options(len: u64) -> io::Result<memmap2::MmapOptions> {
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut options = memmap2::MmapOptions::new();
    options.len(len).no_reserve_swap();
    Ok(options)
}
