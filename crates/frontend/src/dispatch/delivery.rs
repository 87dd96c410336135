//! What is known of a reply besides its content: limits, and where the time of its batch went.

use std::time::{Duration, Instant};

use tserve_shm::{ReplyTimes, monotonic_ns};

use super::batch::ReplyLimits;
use super::job::Job;
use crate::telemetry::{Release, Stages, nanos_between};

/// How a batch came to be closed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) reason: Release,
    /// When a worker got it.
    pub(super) at: Instant,
    /// From when on it waited for a worker only; `None` when it never waited to be filled.
    ready: Option<Instant>,
}

impl Closing {
    pub(super) fn new(reason: Release, at: Instant, jobs: &[Job], delay: Duration) -> Self {
        let ready = match reason {
            Release::Full | Release::Eager => jobs.last().map(|newest| newest.arrived),
            Release::Delay => jobs.first().map(|oldest| oldest.arrived + delay),
            Release::Alone | Release::Retried => None,
        };
        Self { reason, at, ready }
    }
}

/// A reply on its way to those who wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub(super) limits: ReplyLimits,
    timing: Option<Timing>,
}

/// What is known about the time of a batch that has been answered; the same for all of its jobs but
/// for when they arrived.
#[derive(Debug, Clone, Copy)]
struct Timing {
    worker: u64,
    batch_size: u32,
    closed: Instant,
    /// When the server had the reply.
    collected: Instant,
    /// How long before its closing it waited for a worker only; `None` when it never waited to be
    /// filled.
    ready_ns: Option<u64>,
    /// How long it lay before a busy worker.
    behind_another_ns: u64,
    transport_ns: u64,
    handler_ns: u64,
    steps_ns: [u64; 3],
}

impl From<ReplyLimits> for Delivery {
    fn from(limits: ReplyLimits) -> Self {
        Self {
            limits,
            timing: None,
        }
    }
}

impl Delivery {
    /// The reply to a batch that has just been read. What the worker says about its time is kept
    /// within what the server has seen itself.
    pub(super) fn now(
        limits: ReplyLimits,
        closed: (&Closing, usize),
        worker: u64,
        times: ReplyTimes,
        free_since: Option<Instant>,
    ) -> Self {
        let collected = Instant::now();
        let taken_ago = match times.taken_at_ns {
            0 => None,
            at => Some(monotonic_ns().saturating_sub(at)),
        };
        Self {
            limits,
            timing: Some(Timing::new(
                closed, worker, collected, taken_ago, free_since, times,
            )),
        }
    }

    /// Largest body of one reply.
    pub fn max_response_size(&self) -> u64 {
        self.limits.max_response_size
    }

    /// The worker that answered; 0 where that is not known.
    pub fn worker(&self) -> u64 {
        self.timing.map_or(0, |timing| timing.worker)
    }

    /// When the server had the reply.
    pub fn collected(&self) -> Option<Instant> {
        self.timing.map(|timing| timing.collected)
    }

    /// Where the time of one job of the batch went.
    pub(super) fn stages(&self, arrived: Instant) -> Option<Stages> {
        self.timing.as_ref().map(|timing| timing.stages(arrived))
    }
}

impl Timing {
    /// `free_since` is when the worker had answered what it ran before.
    fn new(
        (closing, batch_size): (&Closing, usize),
        worker: u64,
        collected: Instant,
        taken_ago: Option<u64>,
        free_since: Option<Instant>,
        times: ReplyTimes,
    ) -> Self {
        let on_link = nanos_between(closing.at, collected);
        let until_taken = taken_ago.map_or(0, |ago| on_link.saturating_sub(ago));
        // Prepared for a busy worker, it waited for it there.
        let free_after = free_since.map_or(0, |since| nanos_between(closing.at, since));
        let behind_another_ns = free_after.min(until_taken);
        let handler_ns = times.handler_ns.min(on_link - until_taken);
        let mut left = handler_ns;
        let steps_ns = times.steps_ns.map(|step| {
            let step = step.min(left);
            left -= step;
            step
        });
        Self {
            worker,
            batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
            closed: closing.at,
            collected,
            ready_ns: closing.ready.map(|ready| nanos_between(ready, closing.at)),
            behind_another_ns,
            transport_ns: on_link - (behind_another_ns + handler_ns),
            handler_ns,
            steps_ns,
        }
    }

    fn stages(&self, arrived: Instant) -> Stages {
        let before = nanos_between(arrived, self.closed);
        let batch_wait_ns = self
            .ready_ns
            .map_or(0, |ready| before.saturating_sub(ready));
        Stages {
            admitted: arrived,
            batch_wait_ns,
            queue_ns: before - batch_wait_ns + self.behind_another_ns,
            transport_ns: self.transport_ns,
            handler_ns: self.handler_ns,
            steps_ns: self.steps_ns,
            batch_size: self.batch_size,
            worker: self.worker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    /// Collected 100 ms after `begin`.
    fn timing(
        begin: Instant,
        (at, ready): (u64, Option<u64>),
        taken: Option<u64>,
        free: Option<u64>,
        handler: u64,
    ) -> Timing {
        let closing = Closing {
            reason: Release::Full,
            at: after(begin, at),
            ready: ready.map(|it| after(begin, it)),
        };
        let times = ReplyTimes {
            taken_at_ns: 0,
            handler_ns: handler * MS,
            steps_ns: [MS, 2 * MS, 500 * MS],
        };
        let ago = taken.map(|it| 100_u64.saturating_sub(it) * MS);
        let free = free.map(|it| after(begin, it));
        Timing::new((&closing, 1), 9000, after(begin, 100), ago, free, times)
    }

    #[test]
    fn the_stages_add_up_and_each_time_is_where_it_belongs() {
        let begin = Instant::now();
        let stages = timing(begin, (40, Some(25)), Some(60), Some(50), 30).stages(begin);
        assert_eq!(stages.batch_wait_ns, 25 * MS);
        assert_eq!(stages.queue_ns, (15 + 10) * MS, "for a worker, twice");
        assert_eq!(stages.handler_ns, 30 * MS);
        assert_eq!(stages.transport_ns, 20 * MS);
        assert_eq!(stages.steps_ns[..2], [MS, 2 * MS]);
        assert_eq!(stages.steps_ns[2], 27 * MS, "no more than there is");
        assert_eq!(stages.total(), Duration::from_millis(100));
        assert_eq!(stages.replied(), after(begin, 100));
    }

    #[test]
    fn a_worker_that_lies_shifts_no_time_out_of_the_request() {
        let begin = Instant::now();
        for taken in [None, Some(0), Some(60), Some(100), Some(4_000_000)] {
            for free in [None, Some(0), Some(70), Some(4_000_000)] {
                for handler in [0, 40, 4_000_000] {
                    for ready in [None, Some(0), Some(30), Some(4_000_000)] {
                        let timing = timing(begin, (40, ready), taken, free, handler);
                        let total = timing.stages(begin).total();
                        assert_eq!(total, Duration::from_millis(100));
                    }
                }
            }
        }
    }
}
