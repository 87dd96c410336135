//! What came of a load: latencies, wrong answers, broken connections.

use std::time::{Duration, Instant};

use crate::histogram::Histogram;

/// Counts of one thread, or of all of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Latencies of the right answers: in an open loop from the moment when the request was due,
    /// in a closed loop from the moment when it was sent.
    pub(crate) latencies: Histogram,
    /// The same from the moment of sending, in an open loop.
    pub(crate) service: Histogram,
    /// How much later than due requests were sent, in an open loop.
    pub(crate) lags: Histogram,
    /// Requests that found no free connection when they were due, in an open loop.
    pub(crate) waited: u64,
    /// Answers with another status than 200 or another body than expected.
    pub(crate) wrong: u64,
    /// Connections that ended or stalled before an answer was complete, and requests that were
    /// never answered.
    pub(crate) broken: u64,
    /// All answers, those of the warm-up included.
    pub(crate) answers: u64,
    /// When the last counted answer was complete.
    pub(crate) last: Option<Instant>,
    /// The beginning of the first wrong answer, for the person who wonders.
    pub(crate) example: Option<String>,
}

/// How much of a wrong answer is kept.
const EXAMPLE_BYTES: usize = 1000;

impl Tally {
    /// Counts one right answer.
    pub(crate) fn right(&mut self, latency: Duration, now: Instant) {
        self.latencies.record(latency);
        self.last = Some(now);
    }

    /// Counts one wrong answer.
    pub(crate) fn wrong(&mut self, answer: &[u8]) {
        self.wrong += 1;
        if self.example.is_none() {
            let shown = &answer[..answer.len().min(EXAMPLE_BYTES)];
            self.example = Some(String::from_utf8_lossy(shown).into_owned());
        }
    }

    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.service.add(&other.service);
        self.lags.add(&other.lags);
        self.waited += other.waited;
        self.wrong += other.wrong;
        self.broken += other.broken;
        self.answers += other.answers;
        self.last = self.last.max(other.last);
        self.example = self.example.take().or(other.example);
    }
}
