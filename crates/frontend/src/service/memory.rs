//! Places in a model's request arena.

use std::ops::{Deref, DerefMut};

use tserve_shm::Block;

/// A piece of a model's request arena that a body can be read into.
#[derive(Debug)]
pub struct BodyBlock {
    block: Block,
    /// Bytes before the body, so that what lies inside of it is aligned.
    lead: usize,
}

impl BodyBlock {
    /// Leaves out that many bytes at the front.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.lead += bytes;
    }

    /// Where the body starts, from the start of the arena, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.block.offset() + self.lead as u64
    }

    /// The memory itself.
    pub(super) fn into_block(self) -> Block {
        self.block
    }
}

impl From<Block> for BodyBlock {
    fn from(block: Block) -> Self {
        Self { block, lead: 0 }
    }
}

impl Deref for BodyBlock {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.block[self.lead..]
    }
}

impl DerefMut for BodyBlock {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.block[self.lead..]
    }
}
