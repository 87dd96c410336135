//! Back-pressure: what a supervisor does while a client does not keep up with its stream.
//!
//! The worker's next frames stay in shared memory, so that its handler waits in its next send. The
//! clock of `responseTimeout` stands still: it is not the worker that is late.

use std::time::Duration;

use super::life::Life;
use crate::dispatch::Room;

/// Waits until a stream has room again, or its client has taken nothing for `limit`, which ends the
/// stream. Cancel safe.
pub(super) async fn wait_for_room(room: &Room, limit: Duration) {
    loop {
        let left = limit.saturating_sub(room.idle_for());
        if left.is_zero() || tokio::time::timeout(left, room.free()).await.is_ok() {
            return;
        }
    }
}

impl Life {
    /// Goes on after [`wait_for_room`].
    pub(super) fn resume(&mut self, limit: Duration) {
        if let Some(batch) = &mut self.current {
            batch.end_stalled(limit);
            if !batch.is_awaited() {
                self.completions.abandon(batch.id);
            }
        }
        if let Some(round) = &mut self.resting {
            round.end_stalled(limit);
        }
        self.in_flight.progressed();
    }
}
