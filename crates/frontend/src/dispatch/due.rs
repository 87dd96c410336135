//! When a dispatcher has to look at its work again though nothing has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Dispatcher;

/// The instant at which the batch that is forming is due, for the task that sleeps until then.
#[derive(Debug)]
pub(super) struct DueTime {
    /// Nanoseconds after `epoch`; `u64::MAX` when nothing waits.
    at: AtomicU64,
    earlier: Notify,
    pub(super) epoch: Instant,
}

impl DueTime {
    pub(super) fn new() -> Self {
        Self {
            at: AtomicU64::new(u64::MAX),
            earlier: Notify::new(),
            epoch: Instant::now(),
        }
    }

    /// Moves the due time forward if `at` is earlier. A later one is met anyway: the task wakes,
    /// finds nothing due, and is told the new time.
    pub(super) fn set(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX - 1);
        if nanos < self.at.fetch_min(nanos, Ordering::Relaxed) {
            self.earlier.notify_one();
        }
    }

    pub(super) async fn watch(dispatcher: std::sync::Weak<Dispatcher>) {
        loop {
            let Some(strong) = dispatcher.upgrade() else {
                return;
            };
            let at = strong.due.at.load(Ordering::Relaxed);
            // The dispatcher must be able to go away while this task sleeps, so that it holds it
            // for at most a second at a time.
            let cap = Instant::now() + Duration::from_secs(1);
            let until = if at == u64::MAX {
                cap
            } else {
                cap.min(strong.due.epoch + Duration::from_nanos(at))
            };
            tokio::select! {
                () = strong.due.earlier.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {
                    let now = strong.due.epoch.elapsed().as_nanos();
                    if u128::from(at) <= now {
                        strong.due.at.store(u64::MAX, Ordering::Relaxed);
                        strong.pump();
                    }
                }
            }
        }
    }
}
