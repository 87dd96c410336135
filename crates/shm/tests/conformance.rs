//! One suite of the transport's promises, run over memory files and over the process-local twin.
//!
//! The twin's half also runs under miri:
//! `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p tserve-shm --test conformance`.
#![cfg(not(loom))]

#[path = "conformance/arena.rs"]
mod arena;
#[path = "conformance/kinds.rs"]
mod kinds;
#[path = "conformance/link.rs"]
mod link;
