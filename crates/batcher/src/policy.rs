//! When a batch is closed.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// How long to ask a caller to wait for a batch whose delay is beyond what [`Instant`] can hold.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// What closes a batch: its size, or the time its oldest job has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The most jobs in one batch.
    pub batch_size: NonZeroUsize,
    /// How long the oldest job may wait, from its arrival, for others to join it.
    pub max_batch_delay: Duration,
}

impl Policy {
    /// Whether `waiting` jobs fill a batch.
    pub(crate) fn is_full(&self, waiting: usize) -> bool {
        waiting >= self.batch_size.get()
    }

    /// Whether a job that arrived at `oldest` has waited long enough at `now`.
    pub(crate) fn is_due(&self, oldest: Instant, now: Instant) -> bool {
        now.saturating_duration_since(oldest) >= self.max_batch_delay
    }

    /// When a job that arrived at `oldest` has waited long enough.
    pub(crate) fn deadline(&self, oldest: Instant, now: Instant) -> Instant {
        oldest
            .checked_add(self.max_batch_delay)
            .unwrap_or_else(|| now + FAR)
    }
}
