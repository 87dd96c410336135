//! Which requests the access log holds when it does not hold all of them.
//!
//! Kept are: every answer of 400 and above; every request that is among the slowest hundredth of
//! those before it; of the others a random share. "The slowest hundredth" is read from a histogram
//! of the elapsed times, with classes of 1 us or 0.4 %: a request is kept when its class is that of
//! the 99th percentile or a slower one. As the whole class is kept, it may be more than one in a
//! hundred, never less. The percentile is found anew after every 1,024 requests (until then everything is
//! kept), and after 65,536 the counts are halved, so that old times lose their weight.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Classes per octave of microseconds, as a power of two.
const STEPS_LOG2: u32 = 8;

/// Octaves: longer times than 19 hours are in the last class.
const OCTAVES: u32 = 36;

/// Counters; 29 KiB of them.
const CLASSES: usize = ((OCTAVES - STEPS_LOG2 + 1) as usize) << STEPS_LOG2;

/// Requests between two looks at the percentile.
const PERIOD: u32 = 1024;

/// Requests whose counts are kept in full.
const MEMORY: u64 = 65_536;

thread_local! {
    /// State of the generator that chooses the random share.
    static RANDOM: Cell<u64> = Cell::new(seed());
}

/// Decides which lines are written.
#[derive(Debug)]
pub(super) struct Sampling {
    /// A random number below this is in the share.
    share: u64,
    counts: Box<[AtomicU32]>,
    finished: AtomicU32,
    /// The class of the 99th percentile.
    slow: AtomicUsize,
}

impl Sampling {
    /// A share of 0 to 1; `None` when everything is kept.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of all numbers of 64 bits, rounded"
    )]
    pub(super) fn new(share: f64) -> Option<Self> {
        (share < 1.0).then(|| Self {
            share: (share.max(0.0) * u64::MAX as f64) as u64,
            counts: (0..CLASSES).map(|_| AtomicU32::new(0)).collect(),
            finished: AtomicU32::new(0),
            slow: AtomicUsize::new(0),
        })
    }

    /// Whether the line of a request is written. No lock, no memory.
    pub(super) fn keeps(&self, is_error: bool, elapsed: Duration) -> bool {
        let class = class(elapsed);
        self.counts[class].fetch_add(1, Ordering::Relaxed);
        let finished = self.finished.fetch_add(1, Ordering::Relaxed);
        if finished % PERIOD == PERIOD - 1 {
            self.look();
        }
        is_error || class >= self.slow.load(Ordering::Relaxed) || random() < self.share
    }

    /// Finds the class of the 99th percentile.
    fn look(&self) {
        let count = |class: &AtomicU32| u64::from(class.load(Ordering::Relaxed));
        let total: u64 = self.counts.iter().map(count).sum();
        let mut slower = 0;
        let slow = self.counts.iter().rposition(|class| {
            slower += count(class);
            slower * 100 >= total
        });
        self.slow.store(slow.unwrap_or(0), Ordering::Relaxed);
        if total >= MEMORY {
            for class in &self.counts {
                let half = class.load(Ordering::Relaxed) / 2;
                // Others count meanwhile.
                class.fetch_sub(half, Ordering::Relaxed);
            }
        }
    }
}

/// The class of an elapsed time: the position of its highest bit, and the eight bits below it.
fn class(elapsed: Duration) -> usize {
    const LONGEST: u64 = (1 << OCTAVES) - 1;
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.min(LONGEST);
    if micros < 1 << STEPS_LOG2 {
        return micros as usize;
    }
    let octave = micros.ilog2();
    let step = (micros >> (octave - STEPS_LOG2)) as usize - (1 << STEPS_LOG2);
    (((octave - STEPS_LOG2 + 1) as usize) << STEPS_LOG2) + step
}

/// xorshift64*.
///
/// # Source
/// Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
fn random() -> u64 {
    RANDOM.with(|state| {
        let mut value = state.get();
        value ^= value >> 12;
        value ^= value << 25;
        value ^= value >> 27;
        state.set(value);
        value.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

fn seed() -> u64 {
    // Never 0, which the generator would stay at.
    uuid::Uuid::new_v4().as_u64_pair().0 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_with_time_and_are_narrow() {
        let mut last = 0;
        for micros in (0..5000).chain((5000..60_000_000).step_by(997)) {
            let class = class(Duration::from_micros(micros));
            assert!(
                class >= last && (class <= last + 1 || micros > 5000),
                "{micros}"
            );
            last = class;
        }
        assert_ne!(
            class(Duration::from_millis(50)),
            class(Duration::from_micros(50_300))
        );
        assert_eq!(class(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn errors_and_the_slowest_hundredth_are_always_kept() {
        let sampling = Sampling::new(0.0).unwrap();
        let mut kept = (0, 0, 0);
        for request in 0..100_000_u64 {
            // Every hundredth takes ten times as long as the slowest other one.
            let is_slow = request % 100 == 99;
            let micros = if is_slow { 10_000 } else { 500 + request % 500 };
            let is_error = request % 1000 == 0;
            let is_kept = sampling.keeps(is_error, Duration::from_micros(micros));
            assert!(is_kept || !(is_slow || is_error), "{request}");
            if request >= u64::from(PERIOD) {
                kept.0 += u32::from(is_kept);
                kept.1 += u32::from(is_slow);
                kept.2 += u32::from(is_error);
            }
        }
        // The rest is gone; the class of the percentile may be the one below it at times.
        assert!(kept.0 < 20 * (kept.1 + kept.2), "{kept:?}");
    }

    #[test]
    fn a_change_of_pace_is_followed() {
        let sampling = Sampling::new(0.0).unwrap();
        let run = |micros: u64, requests: u32| {
            (0..requests)
                .filter(|_| sampling.keeps(false, Duration::from_micros(micros)))
                .count()
        };
        run(1_000, 20_000);
        // All are slower than before, until enough of them are known.
        assert!(run(9_000, 2_000) >= 1_000);
        run(100, 1_000_000);
        // And what was usual once is slow now.
        assert_eq!(run(9_000, 5), 5);
    }

    #[test]
    fn a_random_share_of_the_others_is_kept() {
        let sampling = Sampling::new(0.25).unwrap();
        let quick = Duration::from_micros(10);
        for request in 0..u64::from(PERIOD) {
            sampling.keeps(false, Duration::from_micros(10 + request));
        }
        let kept = (0..40_000).filter(|_| sampling.keeps(false, quick)).count();
        assert!((9_000..11_000).contains(&kept), "{kept}");
        assert!(Sampling::new(1.0).is_none());
    }
}
