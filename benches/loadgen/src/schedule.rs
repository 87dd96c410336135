//! When requests are due in an open loop.

use std::time::{Duration, Instant};

/// How the arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// Independent arrivals with exponential distances, as from many users who know nothing of
    /// each other.
    Poisson,
    /// Equal distances.
    Uniform,
}

/// An endless row of moments.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    /// Mean distance, in seconds.
    distance: f64,
    origin: Instant,
    /// Seconds from the origin to the next arrival.
    offset: f64,
    random: fastrand::Rng,
}

impl Schedule {
    /// Begins at `origin`. The same `seed` gives the same Poisson arrivals.
    pub(crate) fn new(arrivals: Arrivals, rate: f64, origin: Instant, seed: u64) -> Self {
        let mut schedule = Self {
            arrivals,
            distance: 1.0 / rate,
            origin,
            offset: 0.0,
            random: fastrand::Rng::with_seed(seed),
        };
        // Threads with the same rate must not fire in unison.
        schedule.offset = schedule.distance * schedule.random.f64();
        schedule
    }

    /// The next moment; stays the same until `advance`.
    pub(crate) fn next(&self) -> Instant {
        self.origin + Duration::from_secs_f64(self.offset)
    }

    /// Goes on to the moment after that.
    pub(crate) fn advance(&mut self) {
        self.offset += match self.arrivals {
            Arrivals::Uniform => self.distance,
            // The inverse of the exponential distribution; 1 - f64() is never 0.
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln() * self.distance,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(arrivals: Arrivals, count: usize) -> Vec<f64> {
        let mut schedule = Schedule::new(arrivals, 1000.0, Instant::now(), 7);
        let mut before = schedule.next();
        (0..count)
            .map(|_| {
                schedule.advance();
                let distance = (schedule.next() - before).as_secs_f64();
                before = schedule.next();
                distance
            })
            .collect()
    }

    #[test]
    fn uniform_arrivals_have_equal_distances() {
        for distance in distances(Arrivals::Uniform, 1000) {
            assert!((distance - 1e-3).abs() < 1e-8, "{distance}");
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let found = distances(Arrivals::Poisson, 100_000);
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        assert!((mean / 1e-3 - 1.0).abs() < 0.02, "{mean}");
        // Of exponential distances, a share of 1/e is longer than the mean.
        let longer = found.iter().filter(|distance| **distance > 1e-3).count();
        let share = longer as f64 / found.len() as f64;
        assert!((share - (-1.0_f64).exp()).abs() < 0.01, "{share}");
    }
}
