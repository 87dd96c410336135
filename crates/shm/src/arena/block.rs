//! A span of the arena that its holder alone may use.

use std::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::Arc,
};

use super::{ArenaInner, Claim};

/// Bytes of an arena; gives them back when dropped.
///
/// Drop it only when no worker reads it any more: after the last reply of its batch, or after the
/// worker's death.
#[derive(Debug)]
pub struct Block {
    arena: Arc<ArenaInner>,
    claim: Claim,
    start: NonNull<u8>,
    len: usize,
}

#[expect(unsafe_code, reason = "a block is an owned span of raw memory")]
// SAFETY: a block is like a boxed slice: it owns its span, and the arena's own state is atomic.
unsafe impl Send for Block {}
#[expect(unsafe_code, reason = "a block is an owned span of raw memory")]
// SAFETY: a shared block only reads its span.
unsafe impl Sync for Block {}

impl Block {
    pub(super) fn new(arena: Arc<ArenaInner>, claim: Claim, len: usize) -> Self {
        let start = arena
            .region
            .pointer(claim.offset, len as u64)
            .expect("a claimed slot lies inside the writable arena");
        Self {
            arena,
            claim,
            start,
            len,
        }
    }

    /// Where the block starts, from the start of the arena, in bytes.
    pub fn offset(&self) -> u64 {
        self.claim.offset
    }

    /// Its length in bytes, exactly as asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` bytes; no effect when it is not longer. The space stays taken.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Block {
    type Target = [u8];

    #[expect(unsafe_code, reason = "a block is an owned span of raw memory")]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` and `len` were checked to lie inside the region, which `arena` keeps mapped;
        // the memory is initialised (zeroed, then bytes); the slot is ours alone until dropped, and
        // other processes can only read it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    #[expect(unsafe_code, reason = "a block is an owned span of raw memory")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena.give_back(&self.claim);
    }
}
