//! Opening a worker's end from inherited descriptors.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use crate::{
    error::OpenError,
    layout::{Geometry, LinkConfig, MAGIC, PAGE_BYTES},
    memory::LinkMemory,
    region::Region,
    segment,
    sync::Ordering,
    wake::{Bell, Event, Wakes},
    wire::LAYOUT_VERSION,
    worker::WorkerLink,
};

impl WorkerLink {
    /// Maps the segments of a link that the server made; takes the descriptors.
    ///
    /// # Errors
    ///
    /// [`OpenError::Layout`] when the segment is not a link of this version of tserve.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the mappings replace the descriptors, which are closed here"
    )]
    pub fn open(link: OwnedFd, arena: OwnedFd, wake: OwnedFd) -> Result<Self, OpenError> {
        let size = segment::size(link.as_fd())?;
        if size < PAGE_BYTES {
            return Err(OpenError::Layout("the file is too short"));
        }
        let region = Region::map(link.as_fd(), size)?;
        let geometry = read_geometry(&region)?;
        let arena_bytes = segment::size(arena.as_fd())?;
        let arena = Region::map_read_only(arena.as_fd(), arena_bytes)?;
        let memory = LinkMemory::new(geometry, region, None);
        let wakes = Wakes {
            submission: Bell::Futex,
            space: Bell::Futex,
            completion: Event::from_fd(wake),
        };
        Ok(Self::new(
            Arc::new(memory),
            Arc::new(wakes),
            Arc::new(arena),
        ))
    }
}

/// Reads the sizes that the server stamped into a segment.
fn read_geometry(region: &Region) -> Result<Geometry, OpenError> {
    let control = crate::memory::control_of(region);
    let identity = &control.identity.0;
    if identity.magic.load(Ordering::Acquire) != MAGIC {
        return Err(OpenError::Layout("the file is not a link segment"));
    }
    if identity.layout_version.load(Ordering::Relaxed) != LAYOUT_VERSION {
        return Err(OpenError::Layout("the server has another layout version"));
    }
    let config = LinkConfig {
        depth: identity.depth.load(Ordering::Relaxed),
        max_batch: identity.max_batch.load(Ordering::Relaxed),
        reply_bytes: identity.reply_bytes.load(Ordering::Relaxed),
    };
    Geometry::new(&config)
        .filter(|geometry| geometry.total_bytes == region.len())
        .ok_or(OpenError::Layout("the file's size does not fit its header"))
}
