//! The process-local twin: the same arena and link ends over heap memory and in-process wake-ups.
//!
//! For tests of the server without worker processes, for loom and miri, and for the conformance
//! suite, which runs over both kinds.

use std::{io, sync::Arc};

use crate::{
    arena::{Arena, ArenaLimits},
    layout::{Geometry, LinkConfig},
    memory::LinkMemory,
    region::Region,
    server::{Completions, ServerLink, Submitter, invalid_config},
    wake::{Bell, Event, Wakes},
    worker::WorkerLink,
};

/// Makes an arena on the heap.
///
/// # Errors
///
/// As for [`Arena::new`]; the whole address space is taken from the heap, so keep it modest.
pub fn arena(limits: &ArenaLimits) -> io::Result<Arena> {
    Arena::on_heap(limits.capacity_bytes)
}

/// Makes both ends of a link within this process.
///
/// # Errors
///
/// As for [`create_link`](crate::create_link).
pub fn create_link(
    config: &LinkConfig,
    arena: &Arena,
) -> io::Result<(Submitter, Completions, WorkerLink)> {
    let geometry = Geometry::new(config).ok_or_else(invalid_config)?;
    let wakes = Arc::new(Wakes {
        submission: Bell::local(),
        space: Bell::local(),
        completion: Event::new()?,
    });
    let memory = Arc::new(link_memory(geometry)?);
    let (submitter, completions) =
        ServerLink::start(Arc::clone(&memory), Arc::clone(&wakes), config);
    let worker = WorkerLink::new(memory, wakes, arena.region());
    Ok((submitter, completions, worker))
}

#[cfg(not(loom))]
fn link_memory(geometry: Geometry) -> io::Result<LinkMemory> {
    let region = heap(geometry.total_bytes)?;
    Ok(LinkMemory::new(geometry, region, None))
}

#[cfg(loom)]
fn link_memory(geometry: Geometry) -> io::Result<LinkMemory> {
    Ok(LinkMemory::modelled(geometry, heap(geometry.reply_bytes)?))
}

fn heap(len: u64) -> io::Result<Region> {
    Region::heap(len).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}
