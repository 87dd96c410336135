//! The closed loop: every connection sends its next request when it has read the last answer.
//!
//! As many requests are under way as there are connections, whatever the server does. A server that
//! pauses therefore gets fewer requests during the pause, and few latencies tell of it: a closed
//! loop measures capacity, an open loop (`open.rs`) measures what users wait.

use std::io;
use std::time::{Duration, Instant};

use crate::answer::Progress;
use crate::connection::{Connections, Load, STALL};
use crate::tally::Tally;

/// Keeps `count` requests under way until the end.
///
/// # Errors
/// The server cannot be reached; a connection that ends later is opened anew and counted.
pub(crate) fn run(load: &Load<'_>, count: usize) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut connections = Connections::open(load, count)?;
    for connection in &mut connections.open {
        connection.begin(load.request, Instant::now())?;
    }
    let mut ready = Vec::with_capacity(count);
    loop {
        let now = Instant::now();
        if now >= load.end {
            return Ok(tally);
        }
        let longest = (load.end - now).min(Duration::from_millis(500));
        connections.wait(longest, &mut ready)?;
        for &index in &ready {
            serve(load, &mut connections, index, &mut tally)?;
        }
        if ready.is_empty() {
            give_up_stalled(load, &mut connections, &mut tally)?;
        }
    }
}

fn serve(
    load: &Load<'_>,
    connections: &mut Connections,
    index: usize,
    tally: &mut Tally,
) -> io::Result<()> {
    let wrong = tally.wrong;
    let progress = connections.advance(load, index, tally);
    let now = Instant::now();
    if !load.counts(now) {
        tally.wrong = wrong;
    }
    let closes = match progress {
        Ok(Progress::Incomplete) => return Ok(()),
        Ok(Progress::Right { closes }) => {
            if load.counts(now) {
                tally.right(now - connections.open[index].sent_at, now);
            }
            closes
        }
        Ok(Progress::Wrong { closes }) => closes,
        Err(_ended) => {
            tally.broken += 1;
            true
        }
    };
    if closes {
        connections.reopen(load, index)?;
    }
    if now >= load.end {
        return Ok(());
    }
    if connections.open[index].begin(load.request, now).is_err() {
        // The server closed it in this very moment: once more, on a new connection.
        tally.broken += 1;
        connections.reopen(load, index)?;
        connections.open[index].begin(load.request, now)?;
    }
    Ok(())
}

/// Only called when nothing happens, so that it costs nothing under load.
fn give_up_stalled(
    load: &Load<'_>,
    connections: &mut Connections,
    tally: &mut Tally,
) -> io::Result<()> {
    for index in 0..connections.open.len() {
        if connections.open[index].sent_at.elapsed() > STALL {
            tally.broken += 1;
            connections.reopen(load, index)?;
            connections.open[index].begin(load.request, Instant::now())?;
        }
    }
    Ok(())
}
