//! Shared-memory transport between the server and its workers.
//!
//! One [`Arena`] per model version holds requests: the server writes, workers map it read-only. One
//! *link* per worker carries batches out ([`Submitter`]) and replies back ([`Completions`]); the
//! worker's end is [`WorkerLink`]. Both live in sealed, sparse memory files, so neither side can make
//! the other fault. While both sides are awake no system call is made; a sleeping worker is woken
//! through a futex, a sleeping server through an eventfd.
//!
//! What a worker writes is hostile input: it is copied, then checked, and nonsense ends in
//! [`Corrupt`], never in a panic, a hang or a read out of bounds. [`local`] has the same ends inside
//! one process.
//!
//! ```
//! use tserve_shm::{ArenaLimits, LinkConfig, JobRef, ReplyItemRef, local, wire};
//!
//! let arena = local::arena(&ArenaLimits { capacity_bytes: 1 << 20 })?;
//! let config = LinkConfig { depth: 2, max_batch: 8, reply_bytes: 1 << 20 };
//! let (mut submitter, mut completions, worker) = local::create_link(&config, &arena)?;
//!
//! // The server writes a request into the arena and submits a batch of one.
//! let record = wire::RequestWriter { id: "7", headers: &[], inputs: &[] };
//! let mut block = arena.allocate(record.encoded_len())?;
//! record.write(&mut block);
//! submitter.submit(1, &[JobRef { offset: block.offset(), len: block.len() as u32 }])?;
//!
//! // The worker answers it.
//! let batch = worker.receive(None)?;
//! assert_eq!(worker.request(&batch.jobs[0])?.id(), "7");
//! let item = ReplyItemRef { index: 0, status: 200, phrase: None, headers: &[], body: b"hello" };
//! worker.reply(batch.batch_id, 200, "Prediction success", true, &[item])?;
//!
//! // The server reads the reply.
//! let completion = completions.poll()?.expect("the reply was sent");
//! assert_eq!(&completion.reply.items[0].body[..], b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    any(loom, miri),
    allow(
        dead_code,
        unreachable_pub,
        unfulfilled_lint_expectations,
        reason = "what needs the system is left out of models"
    )
)]

mod arena;
#[cfg(not(any(loom, miri)))]
mod clock;
mod error;
#[cfg(not(any(loom, miri)))]
mod inherit;
mod layout;
pub mod local;
mod memory;
#[cfg(not(any(loom, miri)))]
mod open;
mod region;
mod reply_space;
#[cfg(not(loom))]
mod segment;
mod server;
mod sync;
mod wake;
#[cfg(not(any(loom, miri)))]
mod watch;
pub mod wire;
mod worker;

pub use self::{
    arena::{Arena, ArenaLimits, Block},
    error::{AllocateError, Corrupt, OpenError, ReceiveError, ReplyError, SubmitError},
    layout::LinkConfig,
    server::{Completion, Completions, JobRef, Submitter},
    wire::{Reply, ReplyItem, ReplyItemRef, ReplyRef, ReplyTimes},
    worker::{Submission, WorkerLink},
};
#[cfg(not(any(loom, miri)))]
pub use self::{
    clock::monotonic_ns,
    inherit::{adopt_fd, duplicate_fd},
    server::{WorkerFds, create_link},
    watch::{ORDERLY_EXIT, watch_process, watch_server},
};
