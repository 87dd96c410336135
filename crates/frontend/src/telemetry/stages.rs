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
/// after is known to the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// When the request had been read and was admitted to the queue.
    pub admitted: Instant,
    /// Waiting for other requests to fill the batch.
    pub batch_wait: Duration,
    /// Waiting for a worker.
    pub queue: Duration,
    /// On the way to the worker and back: wake-ups, copies, decoding, encoding.
    pub transport: Duration,
    /// In the handler. For a reply in parts, until its first part.
    pub handler: Duration,
    /// Part of `handler`; zero for handlers that have no such step.
    pub preprocess: Duration,
    /// Part of `handler`; zero for handlers that have no such step.
    pub inference: Duration,
    /// Part of `handler`; zero for handlers that have no such step.
    pub postprocess: Duration,
    /// Requests in its batch.
    pub batch_size: u32,
    /// Id of the worker.
    pub worker: u64,
}

impl Stages {
    /// The sum of the stages.
    pub fn total(&self) -> Duration {
        self.batch_wait + self.queue + self.transport + self.handler
    }

    /// When the server had the worker's reply.
    pub fn replied(&self) -> Instant {
        self.admitted + self.total()
    }
}
