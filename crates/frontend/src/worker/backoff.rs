//! How long a worker that failed waits before it is started again.

use std::time::{Duration, Instant};

/// Seconds before the first, second, ... restart; the last one repeats. The sequence is the
/// original's, so that dashboards and tests that wait for a restart keep their timing.
const DELAYS_SECS: [u64; 17] = [
    1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597,
];

/// The failures of one worker since it last loaded.
#[derive(Debug)]
pub(super) struct Backoff {
    first_failure: Option<Instant>,
    failures: usize,
    give_up_after: Duration,
}

impl Backoff {
    /// Retries for `give_up_after` from the first failure on; zero means never.
    pub(super) fn new(give_up_after: Duration) -> Self {
        Self {
            first_failure: None,
            failures: 0,
            give_up_after,
        }
    }

    /// The worker has loaded: the next failure is a first one again.
    pub(super) fn reset(&mut self) {
        self.first_failure = None;
        self.failures = 0;
    }

    /// Notes a failure. Returns how long to wait, or `None` when the worker is given up.
    pub(super) fn next_delay(&mut self, now: Instant) -> Option<Duration> {
        let first = *self.first_failure.get_or_insert(now);
        if now.duration_since(first) >= self.give_up_after {
            return None;
        }
        let place = self.failures.min(DELAYS_SECS.len() - 1);
        self.failures += 1;
        Some(Duration::from_secs(DELAYS_SECS[place]))
    }

    /// Failures since the last successful load.
    pub(super) fn failures(&self) -> usize {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_start_over_after_a_load() {
        let mut backoff = Backoff::new(Duration::from_secs(300));
        let now = Instant::now();
        let delays: Vec<u64> = (0..6)
            .filter_map(|_| backoff.next_delay(now))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(delays, [1, 1, 2, 3, 5, 8]);
        backoff.reset();
        assert_eq!(backoff.next_delay(now), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_worker_is_given_up_when_its_window_is_over() {
        let mut backoff = Backoff::new(Duration::from_secs(3));
        let now = Instant::now();
        assert!(backoff.next_delay(now).is_some());
        assert!(backoff.next_delay(now + Duration::from_secs(3)).is_none());
        assert!(Backoff::new(Duration::ZERO).next_delay(now).is_none());
    }
}
