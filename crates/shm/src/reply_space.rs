//! Who owns which part of the reply area: the worker's private book-keeping.
//!
//! A byte ring with contiguous frames (a "bip buffer"). Frames are given back in the order in which
//! they were taken. Whenever all are back the next one starts at offset 0 again, so that a worker
//! with modest replies keeps touching the same few pages.

use std::collections::VecDeque;

/// Frames start at multiples of this.
const ALIGNMENT: u64 = 8;

/// A queue of contiguous spans inside `capacity` bytes.
#[derive(Debug)]
pub(crate) struct ReplySpace {
    capacity: u64,
    /// Start and length of each span in use, oldest first.
    spans: VecDeque<(u64, u64)>,
    /// Bytes of all spans in use.
    used: u64,
    /// Where the newest span ends.
    write: u64,
}

impl ReplySpace {
    pub(crate) fn new(capacity: u64) -> Self {
        debug_assert!(
            capacity.is_multiple_of(ALIGNMENT),
            "capacity in whole units"
        );
        Self {
            capacity,
            spans: VecDeque::new(),
            used: 0,
            write: 0,
        }
    }

    /// Spans in use.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    /// Takes `len` contiguous bytes; `None` while they are not free.
    pub(crate) fn take(&mut self, len: u64) -> Option<u64> {
        let len = len.max(1).checked_next_multiple_of(ALIGNMENT)?;
        let start = match self.spans.front() {
            None => (len <= self.capacity).then_some(0)?,
            // The free space is behind the newest span and before the oldest one.
            Some(&(oldest, _)) if self.write > oldest => {
                if len <= self.capacity - self.write {
                    self.write
                } else if len <= oldest {
                    0
                } else {
                    return None;
                }
            }
            // Wrapped round: the free space is one gap.
            Some(&(oldest, _)) => (len <= oldest - self.write).then_some(self.write)?,
        };
        self.write = start + len;
        self.spans.push_back((start, len));
        self.used += len;
        Some(start)
    }

    /// Gives the oldest span back.
    pub(crate) fn give_back(&mut self) {
        if let Some((_, len)) = self.spans.pop_front() {
            self.used -= len;
        }
    }
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests;
