//! Shared-memory transport.

/// A piece of a request arena.
#[derive(Debug)]
pub struct Block(());
