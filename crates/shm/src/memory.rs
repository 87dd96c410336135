//! The shared memory of one link: control words, ring words, reply area.
//!
//! Under loom the words are loom's own, which do not fit into raw memory; the protocol above this
//! file is the same in both builds.
#![cfg_attr(
    not(loom),
    expect(unsafe_code, reason = "atomics placed in a raw segment")
)]

#[cfg(not(loom))]
use std::os::fd::OwnedFd;

use crate::{
    layout::{Control, Geometry},
    region::Region,
    sync::AtomicU64,
};

/// One link's memory as one side sees it.
#[derive(Debug)]
pub(crate) struct LinkMemory {
    pub(crate) geometry: Geometry,
    region: Region,
    /// The file behind the region; the server keeps it to give pages back.
    #[cfg(not(loom))]
    pub(crate) file: Option<OwnedFd>,
    #[cfg(loom)]
    control: Control,
    #[cfg(loom)]
    words: Vec<AtomicU64>,
}

#[cfg(not(loom))]
impl LinkMemory {
    /// Wraps a region of at least `geometry.total_bytes`.
    pub(crate) fn new(geometry: Geometry, region: Region, file: Option<OwnedFd>) -> Self {
        assert!(
            region.len() >= geometry.total_bytes,
            "region fits its geometry"
        );
        Self {
            geometry,
            region,
            file,
        }
    }

    pub(crate) fn control(&self) -> &Control {
        control_of(&self.region)
    }

    /// Word `index` of the rings.
    pub(crate) fn word(&self, index: u64) -> &AtomicU64 {
        debug_assert!(
            index < self.geometry.ring_words,
            "ring index inside the rings"
        );
        // SAFETY: one atomic; any bits are valid.
        unsafe { self.region.atomics(self.geometry.rings_offset + index * 8) }
    }

    fn area_offset(&self) -> u64 {
        self.geometry.reply_offset
    }

    /// Gives the whole pages of a span of the reply area back to the system.
    pub(crate) fn punch_area(&self, start: u64, end: u64) {
        let Some(file) = &self.file else { return };
        let start = start.next_multiple_of(crate::layout::PAGE_BYTES);
        let end = end - end % crate::layout::PAGE_BYTES;
        if start < end {
            crate::segment::punch(file, self.area_offset() + start, end - start);
        }
    }
}

/// The control words at the start of a segment of at least a page.
#[cfg(not(loom))]
pub(crate) fn control_of(region: &Region) -> &Control {
    // SAFETY: `Control` is `repr(C)` and made of atomics, so any bits are valid.
    unsafe { region.atomics(0) }
}

#[cfg(loom)]
impl LinkMemory {
    pub(crate) fn modelled(geometry: Geometry, area: Region) -> Self {
        Self {
            geometry,
            region: area,
            control: Control::default(),
            words: (0..geometry.ring_words)
                .map(|_| AtomicU64::new(0))
                .collect(),
        }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn word(&self, index: u64) -> &AtomicU64 {
        &self.words[index as usize]
    }

    #[expect(clippy::unused_self, reason = "same shape as the real one")]
    fn area_offset(&self) -> u64 {
        0
    }

    #[expect(clippy::unused_self, reason = "same shape as the real one")]
    pub(crate) fn punch_area(&self, _start: u64, _end: u64) {}
}

impl LinkMemory {
    /// Copies a span of the reply area out; `None` when it is not inside.
    pub(crate) fn read_area(&self, offset: u64, len: u64) -> Option<Vec<u8>> {
        let end = offset.checked_add(len)?;
        if end > self.geometry.reply_bytes {
            return None;
        }
        self.region.read(self.area_offset() + offset, len)
    }

    /// Copies bytes into the reply area, at an offset that the writer has allocated.
    pub(crate) fn write_area(&self, offset: u64, bytes: &[u8]) {
        let is_inside = offset + bytes.len() as u64 <= self.geometry.reply_bytes
            && self.region.write(self.area_offset() + offset, bytes);
        assert!(is_inside, "allocated frames lie inside the reply area");
    }
}
