//! What is known of a reply besides its content: limits, and where the time of its batch went.

use std::time::{Duration, Instant};

use tserve_shm::{ReplyTimes, monotonic_ns};

use super::batch::ReplyLimits;
use super::job::Job;
use crate::telemetry::{Release, Stages};

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

/// When things happened to a batch that has been answered.
#[derive(Debug, Clone, Copy)]
struct Timing {
    worker: u64,
    /// When the server had the reply.
    collected: Instant,
    /// When the worker took the batch.
    taken: Option<Instant>,
    /// When the worker had answered what it ran before.
    free_since: Option<Instant>,
    handler: Duration,
    steps: [Duration; 3],
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
    /// A reply that has just been read. What the worker says about its time is kept within what the
    /// server has seen itself.
    pub fn now(
        limits: ReplyLimits,
        worker: u64,
        times: ReplyTimes,
        free_since: Option<Instant>,
    ) -> Self {
        let collected = Instant::now();
        let taken = match times.taken_at_ns {
            0 => None,
            at => {
                let ago = Duration::from_nanos(monotonic_ns().saturating_sub(at));
                collected.checked_sub(ago)
            }
        };
        Self {
            limits,
            timing: Some(Timing {
                worker,
                collected,
                taken,
                free_since,
                handler: Duration::from_nanos(times.handler_ns),
                steps: times.steps_ns.map(Duration::from_nanos),
            }),
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
    pub(super) fn stages(
        &self,
        closing: &Closing,
        arrived: Instant,
        batch_size: usize,
    ) -> Option<Stages> {
        let timing = self.timing.as_ref()?;
        let before = closing.at.saturating_duration_since(arrived);
        let since = |moment: Option<Instant>, begin: Instant| {
            moment.map_or(Duration::ZERO, |it| it.saturating_duration_since(begin))
        };
        let batch_wait = since(closing.ready, arrived).min(before);
        let on_link = timing.collected.saturating_duration_since(closing.at);
        let until_taken = since(timing.taken, closing.at).min(on_link);
        // Prepared for a busy worker, it waited for it there.
        let behind_another = since(timing.free_since, closing.at).min(until_taken);
        let handler = timing.handler.min(on_link.saturating_sub(until_taken));
        let mut left = handler;
        let [preprocess, inference, postprocess] = timing.steps.map(|step| {
            let step = step.min(left);
            left -= step;
            step
        });
        Some(Stages {
            admitted: arrived,
            batch_wait,
            queue: before.saturating_sub(batch_wait) + behind_another,
            transport: on_link.saturating_sub(behind_another + handler),
            handler,
            preprocess,
            inference,
            postprocess,
            batch_size: u32::try_from(batch_size).unwrap_or(u32::MAX),
            worker: timing.worker,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn timing(begin: Instant, taken: Option<u32>, free: Option<u32>, handler: u32) -> Delivery {
        Delivery {
            limits: ReplyLimits {
                max_response_size: 1,
                error_detail: false,
            },
            timing: Some(Timing {
                worker: 9000,
                collected: begin + 100 * MS,
                taken: taken.map(|it| begin + it * MS),
                free_since: free.map(|it| begin + it * MS),
                handler: handler * MS,
                steps: [MS, 2 * MS, 500 * MS],
            }),
        }
    }

    fn closing(begin: Instant, at: u32, ready: Option<u32>) -> Closing {
        Closing {
            reason: Release::Full,
            at: begin + at * MS,
            ready: ready.map(|it| begin + it * MS),
        }
    }

    #[test]
    fn the_stages_add_up_and_each_time_is_where_it_belongs() {
        let begin = Instant::now();
        let delivery = timing(begin, Some(60), Some(50), 30);
        let stages = delivery
            .stages(&closing(begin, 40, Some(25)), begin, 3)
            .unwrap();
        assert_eq!(stages.batch_wait, 25 * MS);
        assert_eq!(stages.queue, 15 * MS + 10 * MS, "for a worker, twice");
        assert_eq!(stages.handler, 30 * MS);
        assert_eq!(stages.transport, 20 * MS);
        assert_eq!((stages.preprocess, stages.inference), (MS, 2 * MS));
        assert_eq!(stages.postprocess, 27 * MS, "no more than there is");
        assert_eq!(stages.total(), 100 * MS);
        assert_eq!(stages.replied(), begin + 100 * MS);
    }

    #[test]
    fn a_worker_that_lies_shifts_no_time_out_of_the_request() {
        let begin = Instant::now();
        for taken in [None, Some(0), Some(60), Some(100), Some(4_000_000)] {
            for free in [None, Some(0), Some(70), Some(4_000_000)] {
                for handler in [0, 40, 4_000_000] {
                    for ready in [None, Some(0), Some(30), Some(4_000_000)] {
                        let delivery = timing(begin, taken, free, handler);
                        let stages = delivery.stages(&closing(begin, 40, ready), begin, 1);
                        assert_eq!(stages.unwrap().total(), 100 * MS);
                    }
                }
            }
        }
    }
}
