//! Where the time of one request went.

use std::time::{Duration, Instant};

/// Why a batch was closed and given to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It had as many requests as `batchSize` allows.
    Full,
    /// Its oldest request had waited for `maxBatchDelay`.
    Delay,
    /// No client was left that could have sent another request.
    Eager,
    /// Its request has to be alone (customized describe).
    Alone,
    /// Its requests came back from a worker that went away before it had begun with them.
    Retried,
}

impl Release {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::Delay,
        Self::Eager,
        Self::Alone,
        Self::Retried,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Delay => "delay",
            Self::Eager => "eager",
            Self::Alone => "alone",
            Self::Retried => "retried",
        }
    }
}

/// Where the time of a request went that a worker has answered, from its admission until the server
/// had the worker's reply. The four stages add up to that time; what the adapter needs before and
/// after is known to the adapter. In nanoseconds, because one is made for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// When the request had been read and was admitted to the queue.
    pub admitted: Instant,
    /// Waiting for other requests to fill the batch.
    pub batch_wait_ns: u64,
    /// Waiting for a worker.
    pub queue_ns: u64,
    /// On the way to the worker and back: wake-ups, copies, decoding, encoding.
    pub transport_ns: u64,
    /// In the handler. For a reply in parts, until its first part.
    pub handler_ns: u64,
    /// What of `handler_ns` are preprocess, inference, postprocess; 0 for handlers without such steps.
    pub steps_ns: [u64; 3],
    /// Requests in its batch.
    pub batch_size: u32,
    /// Id of the worker.
    pub worker: u64,
}

impl Stages {
    /// Names of `steps_ns`.
    pub const STEPS: [&str; 3] = ["preprocess", "inference", "postprocess"];

    /// Waiting, for whatever.
    pub fn waited_ns(&self) -> u64 {
        self.batch_wait_ns + self.queue_ns
    }

    /// The sum of the stages.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.waited_ns() + self.transport_ns + self.handler_ns)
    }

    /// When the server had the worker's reply.
    pub fn replied(&self) -> Instant {
        self.admitted + self.total()
    }
}

/// Nanoseconds from one moment to another; 0 if they are the other way round.
pub fn nanos_between(earlier: Instant, later: Instant) -> u64 {
    nanos(later.saturating_duration_since(earlier))
}

/// A duration in nanoseconds, up to 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
