//! Counters and histograms that a request may touch: atomics, no locks, no memory.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of metrics are floats for everybody"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// What it is now.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of durations in nanoseconds: 50 us to 100 s in steps of 2 to 2.5.
const NANOS: [u64; 20] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    25_000_000_000,
    50_000_000_000,
    100_000_000_000,
];

/// The same in seconds.
pub(super) const SECONDS: [f64; NANOS.len()] = {
    let mut seconds = [0.0; NANOS.len()];
    let mut place = 0;
    while place < NANOS.len() {
        seconds[place] = NANOS[place] as f64 / 1e9;
        place += 1;
    }
    seconds
};

/// The bucket of a duration. Bounds that are at most 2.5 times apart leave at most two within an
/// octave, so that the octave finds it in three steps instead of a search.
fn place_of(nanos: u64) -> usize {
    /// For each octave, the bounds that are below all of it.
    const BELOW: [u8; 64] = {
        let mut below = [0; 64];
        let mut octave = 0;
        while octave < 64 {
            while (below[octave] as usize) < NANOS.len()
                && NANOS[below[octave] as usize] < 1 << octave
            {
                below[octave] += 1;
            }
            octave += 1;
        }
        below
    };
    let octave = nanos.checked_ilog2().unwrap_or(0);
    let mut place = usize::from(BELOW[octave as usize]);
    while place < NANOS.len() && NANOS[place] < nanos {
        place += 1;
    }
    place
}

/// How many durations there were of each size, and their sum.
#[derive(Debug, Default)]
pub(super) struct Durations {
    counts: [AtomicU64; SECONDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    /// Counts `times` durations of the same length.
    pub(super) fn observe(&self, nanos: u64, times: u64) {
        let place = place_of(nanos);
        self.counts[place].fetch_add(times, Ordering::Relaxed);
        let sum = nanos.saturating_mul(times);
        self.sum_nanos.fetch_add(sum, Ordering::Relaxed);
    }

    /// The counts by bucket, and the sum in seconds.
    pub(super) fn read(&self) -> (Vec<u64>, f64) {
        let counts = self.counts.iter().map(|it| it.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed));
        (counts.collect(), sum.as_secs_f64())
    }
}

/// Upper bounds of batch sizes.
pub(super) const SIZES: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];

/// How many batches there were of each size, and their sum.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    counts: [AtomicU64; SIZES.len() + 1],
    sum: AtomicU64,
}

impl Sizes {
    /// Counts a batch.
    pub(super) fn observe(&self, size: u64) {
        let place = match size {
            0 | 1 => 0,
            2..=1024 => (size - 1).ilog2() as usize + 1,
            1025..=4096 => SIZES.len() - 1,
            _ => SIZES.len(),
        };
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// The counts by bucket, and the sum.
    pub(super) fn read(&self) -> (Vec<u64>, f64) {
        let counts = self.counts.iter().map(|it| it.load(Ordering::Relaxed));
        (counts.collect(), self.sum.load(Ordering::Relaxed) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_bucket_that_it_fits() {
        let durations = Durations::default();
        durations.observe(50_000, 2);
        durations.observe(51_000, 1);
        durations.observe(1_000_000_000_000, 1);
        let (counts, sum) = durations.read();
        assert_eq!((counts[0], counts[1], counts[SECONDS.len()]), (2, 1, 1));
        assert!((sum - 1_000.000_151).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn the_octave_leads_to_the_bucket_that_a_search_finds() {
        let bounds = NANOS.into_iter().flat_map(|it| [it - 1, it, it + 1]);
        let octaves = (0..64).flat_map(|it| [(1 << it) - 1, 1 << it, (1 << it) + 1]);
        for nanos in bounds.chain(octaves).chain([u64::MAX]) {
            let found = NANOS.partition_point(|bound| *bound < nanos);
            assert_eq!(place_of(nanos), found, "{nanos}");
        }
    }

    #[test]
    fn a_size_is_counted_in_the_bucket_that_it_fits() {
        let sizes = Sizes::default();
        for size in [1, 3, 4, 5000] {
            sizes.observe(size);
        }
        let (counts, sum) = sizes.read();
        assert_eq!((counts[0], counts[2], counts[SIZES.len()]), (1, 2, 1));
        for size in 0..5000 {
            let one = Sizes::default();
            one.observe(size);
            let place = SIZES.partition_point(|bound| *bound < size as f64);
            assert_eq!(one.read().0[place], 1, "{size}");
        }
        assert!((sum - 5008.0).abs() < 1e-9);
    }
}
