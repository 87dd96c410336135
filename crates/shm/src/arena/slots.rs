//! Which slots of one class are free: a lock-free list of used ones, and a count of fresh ones.
//!
//! The list is Treiber's stack over slot numbers. Its head carries a tag that changes with every
//! change of the list, so that a slot that left and came back meanwhile is not mistaken for one that
//! stayed (the ABA problem).
//!
//! # Source
//!
//! R. K. Treiber, Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986.

use std::io;

use super::entries::Entries;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Pages are counted in units of this many bytes in a slot's entry.
const WARM_UNIT: u64 = crate::layout::PAGE_BYTES;

/// The slots of one class.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Tag in the upper half; slot number + 1 of the first free slot, or 0, in the lower half.
    head: AtomicU64,
    /// Slots handed out at least once.
    fresh: AtomicU32,
    entries: Entries,
}

impl Slots {
    /// # Errors
    ///
    /// There is no memory for the book-keeping.
    pub(crate) fn new(count: u32) -> io::Result<Self> {
        Ok(Self {
            head: AtomicU64::new(0),
            fresh: AtomicU32::new(0),
            entries: Entries::new(count)?,
        })
    }

    /// Takes a slot, rather a used one since its pages are there; `None` when all are out.
    pub(crate) fn take(&self) -> Option<u32> {
        self.pop().or_else(|| self.take_fresh())
    }

    /// Gives a slot back.
    pub(crate) fn put(&self, slot: u32) {
        let entry = &self.entries[slot as usize];
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            entry.next.store(head as u32, Ordering::Relaxed);
            // SYNC: free_list. Releases `next` and what the owner did with the slot to `pop`.
            match self.head.compare_exchange_weak(
                head,
                retagged(head, slot + 1),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }

    /// Bytes of pages that a slot holds; for its owner.
    pub(crate) fn warm_bytes(&self, slot: u32) -> u64 {
        let entry = &self.entries[slot as usize];
        u64::from(entry.warm_pages.load(Ordering::Relaxed)) * WARM_UNIT
    }

    /// Notes how many bytes of pages a slot holds; for its owner.
    pub(crate) fn set_warm_bytes(&self, slot: u32, bytes: u64) {
        let pages = u32::try_from(bytes / WARM_UNIT).unwrap_or(u32::MAX);
        let entry = &self.entries[slot as usize];
        entry.warm_pages.store(pages, Ordering::Relaxed);
    }

    fn pop(&self) -> Option<u32> {
        // SYNC: free_list. Pairs with the Release exchange in `put`.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let slot = (head as u32).checked_sub(1)?;
            // Another thread may own the slot by now and change `next`; the tag then differs.
            let next = self.entries[slot as usize].next.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                retagged(head, next),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(slot),
                Err(current) => head = current,
            }
        }
    }

    fn take_fresh(&self) -> Option<u32> {
        let count = self.entries.len() as u32;
        self.fresh
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fresh| {
                (fresh < count).then_some(fresh + 1)
            })
            .ok()
    }
}

/// A head with another first slot and the next tag.
fn retagged(head: u64, first: u32) -> u64 {
    let tag = (head >> 32) as u32;
    (u64::from(tag.wrapping_add(1)) << 32) | u64::from(first)
}
