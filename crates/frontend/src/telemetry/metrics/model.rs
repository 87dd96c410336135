//! What is counted of one model version, by whoever has a part in its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::stages::{Release, Stages, nanos};
use super::cells::{Count, Durations, Sizes};

/// How the wait for an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The handler answered, with whatever status below 500.
    Answered,
    /// The handler, its worker or the server failed.
    Failed,
    /// There was no worker, no place in the queue or no memory for it.
    Rejected,
    /// It was not answered in time.
    Expired,
    /// The client left.
    Cancelled,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] = [
        Self::Answered,
        Self::Failed,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a worker was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its process could not be started, or its model not be loaded.
    Load,
    /// Its process ended or closed its socket.
    Exit,
    /// It did not answer in time.
    Timeout,
    /// It broke the protocol.
    Protocol,
}

impl Loss {
    pub(super) const ALL: [Self; 4] = [Self::Load, Self::Exit, Self::Timeout, Self::Protocol];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
        }
    }
}

/// What the original counts of a model, for one way of naming its version.
#[derive(Debug, Default)]
pub(super) struct Classic {
    pub(super) requests: Count,
    pub(super) latency_nanos: Count,
    pub(super) queue_nanos: Count,
}

/// The figures of one model version.
#[derive(Debug)]
pub struct ModelMetrics {
    pub(super) name: Arc<str>,
    pub(super) version: String,
    counts_requests: bool,
    /// For requests that name no version, and those that do.
    pub(super) classic: [Classic; 2],
    pub(super) outcomes: [Count; 5],
    /// Requests that were admitted, and those of them that are over.
    pub(super) admitted: Count,
    pub(super) over: Count,
    pub(super) request_bytes: Count,
    pub(super) response_bytes: Count,
    pub(super) total: Durations,
    pub(super) batch_wait: Durations,
    pub(super) queue: Durations,
    pub(super) transport: Durations,
    pub(super) handler: Durations,
    /// preprocess, inference, postprocess
    pub(super) steps: [Durations; 3],
    pub(super) batch_sizes: Sizes,
    pub(super) releases: [Count; Release::ALL.len()],
    pub(super) losses: [Count; 4],
    pub(super) refused_lines: [Count; 3],
    /// Nanoseconds of the handler's last batch; `u64::MAX` before the first one.
    pub(super) prediction_nanos: AtomicU64,
    /// When the last line of it was logged, in milliseconds of the server's life.
    pub(super) prediction_logged_at: AtomicU64,
}

impl ModelMetrics {
    pub(super) fn new(name: &str, version: &str, counts_requests: bool) -> Self {
        Self {
            name: name.into(),
            version: version.to_owned(),
            counts_requests,
            classic: Default::default(),
            outcomes: Default::default(),
            admitted: Count::default(),
            over: Count::default(),
            request_bytes: Count::default(),
            response_bytes: Count::default(),
            total: Durations::default(),
            batch_wait: Durations::default(),
            queue: Durations::default(),
            transport: Durations::default(),
            handler: Durations::default(),
            steps: Default::default(),
            batch_sizes: Sizes::default(),
            releases: Default::default(),
            losses: Default::default(),
            refused_lines: Default::default(),
            prediction_nanos: AtomicU64::new(u64::MAX),
            prediction_logged_at: AtomicU64::new(0),
        }
    }

    /// Whether requests are counted at all; else only what befalls workers is.
    pub fn counts_requests(&self) -> bool {
        self.counts_requests
    }

    /// A client has asked for a prediction, whatever becomes of it.
    pub fn requested(&self, names_version: bool) {
        if !self.counts_requests {
            return;
        }
        self.classic[usize::from(names_version)].requests.add(1);
    }

    /// A request was admitted to the queue.
    pub fn admitted(&self, bytes: u64) {
        if !self.counts_requests {
            return;
        }
        self.admitted.add(1);
        self.request_bytes.add(bytes);
    }

    /// A request that was not admitted, or whose wait is over.
    pub fn ended(&self, outcome: Outcome) {
        if !self.counts_requests {
            return;
        }
        self.outcomes[outcome as usize].add(1);
        if outcome != Outcome::Rejected {
            self.over.add(1);
        }
    }

    /// A request that was admitted found no place in the queue.
    pub fn refused(&self) {
        if !self.counts_requests {
            return;
        }
        self.over.add(1);
        self.outcomes[Outcome::Rejected as usize].add(1);
    }

    /// A client has its answer, or the first part of it, after `total` since its admission.
    pub fn answered(&self, stages: Option<&Stages>, total: Duration, names_version: bool) {
        if !self.counts_requests {
            return;
        }
        let total = nanos(total);
        self.total.observe(total, 1);
        if let Some(stages) = stages {
            let classic = &self.classic[usize::from(names_version)];
            classic.latency_nanos.add(total);
            classic.queue_nanos.add(stages.waited_ns());
        }
    }

    /// A worker has answered a batch. Returns where the time of its last request went.
    pub fn batch_done(
        &self,
        release: Release,
        size: usize,
        stages: impl IntoIterator<Item = Stages>,
    ) -> Option<Stages> {
        self.batch_sizes.observe(size as u64);
        self.releases[release as usize].add(1);
        let mut any = None;
        for stages in stages {
            self.batch_wait.observe(stages.batch_wait_ns, 1);
            self.queue.observe(stages.queue_ns, 1);
            any = Some(stages);
        }
        // The same for all requests of a batch.
        if let Some(stages) = any {
            let size = size as u64;
            self.transport.observe(stages.transport_ns, size);
            self.handler.observe(stages.handler_ns, size);
            if stages.steps_ns != [0; 3] {
                for (cell, step) in self.steps.iter().zip(stages.steps_ns) {
                    cell.observe(step, size);
                }
            }
        }
        any
    }

    /// Bytes of answers have come from a worker.
    pub fn sent(&self, bytes: u64) {
        self.response_bytes.add(bytes);
    }

    /// A worker was lost.
    pub fn lost(&self, loss: Loss) {
        self.losses[loss as usize].add(1);
    }

    /// Requests that were admitted and are not over.
    pub(super) fn in_flight(&self) -> u64 {
        // What is over was admitted before.
        let over = self.over.get();
        self.admitted.get().saturating_sub(over)
    }

    pub(super) fn note_prediction(&self, took_ns: u64) {
        self.prediction_nanos.store(took_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_losses_are_where_their_names_are() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        for (place, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, place);
        }
        for (place, release) in Release::ALL.into_iter().enumerate() {
            assert_eq!(release as usize, place);
        }
    }

    #[test]
    fn only_admitted_requests_are_in_flight() {
        let metrics = ModelMetrics::new("m", "1", true);
        metrics.ended(Outcome::Rejected);
        metrics.admitted(10);
        metrics.admitted(10);
        metrics.ended(Outcome::Failed);
        assert_eq!(metrics.in_flight(), 1);
    }
}
