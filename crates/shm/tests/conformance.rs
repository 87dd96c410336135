//! One suite of the transport's promises, run over memory files and over the process-local twin.

#[path = "conformance/arena.rs"]
mod arena;
#[path = "conformance/kinds.rs"]
mod kinds;
#[path = "conformance/link.rs"]
mod link;
