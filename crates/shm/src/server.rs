//! The server's end of a link: submissions out, completions in.
//!
//! Nothing that the worker writes is believed. The server keeps its own counters, reads each shared
//! word once, copies a frame before it looks at it, and checks every length against the copy.

mod completions;
mod submitter;

use std::{io, sync::Arc};

pub use completions::{Completion, Completions};
pub use submitter::{JobRef, Submitter};

use crate::{
    layout::{LinkConfig, MAGIC},
    memory::LinkMemory,
    sync::{AtomicU32, AtomicU64, Ordering},
    wake::Wakes,
    wire::LAYOUT_VERSION,
};

/// What the two server halves of a link share; the counters here are out of the worker's reach.
#[derive(Debug)]
pub(crate) struct ServerLink {
    pub(crate) memory: Arc<LinkMemory>,
    pub(crate) wakes: Arc<Wakes>,
    /// Batches submitted.
    submitted: AtomicU64,
    /// Batches whose last frame was read.
    finished: AtomicU64,
    /// Most batches that the worker was ever seen to have taken.
    started: AtomicU64,
    /// 1 once the link was closed; the shared flag tells the worker, and is not believed here.
    is_closed: AtomicU32,
}

impl ServerLink {
    /// Stamps fresh memory with its identity and splits it into the two halves.
    pub(crate) fn start(
        memory: Arc<LinkMemory>,
        wakes: Arc<Wakes>,
        config: &LinkConfig,
    ) -> (Submitter, Completions) {
        let identity = &memory.control().identity.0;
        identity.depth.store(config.depth, Ordering::Relaxed);
        identity
            .max_batch
            .store(config.max_batch, Ordering::Relaxed);
        identity
            .reply_bytes
            .store(memory.geometry.reply_bytes, Ordering::Relaxed);
        identity
            .layout_version
            .store(LAYOUT_VERSION, Ordering::Relaxed);
        identity.magic.store(MAGIC, Ordering::Release);
        let link = Arc::new(Self {
            memory,
            wakes,
            submitted: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            started: AtomicU64::new(0),
            is_closed: AtomicU32::new(0),
        });
        (Submitter::new(Arc::clone(&link)), Completions::new(link))
    }
}

/// The descriptors that a worker needs besides the arena's; hand them over and drop them.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct WorkerFds {
    /// The link segment, readable and writable.
    pub link: std::os::fd::OwnedFd,
    /// The eventfd that wakes the server.
    pub wake: std::os::fd::OwnedFd,
}

/// Makes a link for one worker process.
///
/// # Errors
///
/// `InvalidInput` for a zero or absurd size; otherwise what the kernel says about memory files,
/// mappings and descriptors.
#[cfg(not(any(loom, miri)))]
pub fn create_link(config: &LinkConfig) -> io::Result<(Submitter, Completions, WorkerFds)> {
    use crate::{
        layout::Geometry,
        region::Region,
        segment,
        wake::{Bell, Event},
    };
    use std::os::fd::AsFd;

    let geometry = Geometry::new(config).ok_or_else(invalid_config)?;
    let file = segment::create("tserve-link", geometry.total_bytes)?;
    let region = Region::map(file.as_fd(), geometry.total_bytes)?;
    let event = Event::new()?;
    let fds = WorkerFds {
        link: file.try_clone()?,
        wake: event.fd().try_clone_to_owned()?,
    };
    let wakes = Wakes {
        submission: Bell::Futex,
        space: Bell::Futex,
        completion: event,
    };
    let memory = Arc::new(LinkMemory::new(geometry, region, Some(file)));
    let (submitter, completions) = ServerLink::start(memory, Arc::new(wakes), config);
    Ok((submitter, completions, fds))
}

/// The error for a [`LinkConfig`] that cannot be laid out.
pub(crate) fn invalid_config() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "link depth, max_batch and reply_bytes must be above zero and sane",
    )
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests;
