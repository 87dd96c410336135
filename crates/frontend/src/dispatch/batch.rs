//! One batch on its way through a worker, and how its reply is split.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tserve_shm::wire::RequestView;
use tserve_shm::{JobRef, Reply, ReplyItem, ReplyTimes};

use super::Job;
use super::delivery::{Closing, Delivery};
use super::kind::RoundRules;
use super::round::Round;
use super::stream::Room;
use crate::error::{Error, ErrorDetail};
use crate::service::InferenceReply;
use crate::telemetry::{Release, Stages};

/// Parts up to this size do not keep the frame that they came in.
const SMALL_PART: usize = 4096;

/// Largest description of an exception that is believed.
const MOST_DETAIL: usize = 128 * 1024;

/// Limits on what a worker may answer.
#[derive(Debug, Clone, Copy)]
pub struct ReplyLimits {
    /// Largest body of one reply, bytes, inclusive.
    pub max_response_size: u64,
    /// Whether clients are told what a handler raised.
    pub error_detail: bool,
}

/// A batch that a worker has been given.
#[derive(Debug)]
pub struct Batch {
    /// Unique within the model version.
    pub id: u64,
    jobs: Vec<Job>,
    closing: Closing,
    /// Set for a round whose requests may come back in the next one.
    rules: Option<Arc<RoundRules>>,
}

impl Batch {
    /// The jobs of a batch that is closed now, in their order on the link.
    pub fn new(id: u64, jobs: Vec<Job>) -> Self {
        let closing = Closing::new(Release::Full, Instant::now(), &jobs, Duration::ZERO);
        Self::closed(id, jobs, closing)
    }

    pub(super) fn closed(id: u64, jobs: Vec<Job>, closing: Closing) -> Self {
        Self {
            id,
            jobs,
            closing,
            rules: None,
        }
    }

    /// A batch whose reply is read as that of a round.
    pub(super) fn of_round(id: u64, jobs: Vec<Job>, rules: Arc<RoundRules>) -> Self {
        let closing = Closing::new(Release::Eager, Instant::now(), &jobs, Duration::ZERO);
        Self {
            id,
            jobs,
            closing,
            rules: Some(rules),
        }
    }

    /// Number of jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Why it was closed.
    pub fn release(&self) -> Release {
        self.closing.reason
    }

    /// Ids of its requests, comma-separated.
    pub fn request_ids(&self) -> String {
        let records = self.jobs.iter().map(|job| job.request.record());
        let views = records.filter_map(|record| RequestView::parse(record).ok());
        let ids: Vec<&str> = views.map(|view| view.id()).collect();
        ids.join(",")
    }

    /// A reply to it that has just been read; `free_since` is when the worker was done with what it
    /// ran before.
    pub fn delivery(
        &self,
        limits: ReplyLimits,
        worker: u64,
        times: ReplyTimes,
        free_since: Option<Instant>,
    ) -> Delivery {
        let closed = (&self.closing, self.jobs.len());
        Delivery::now(limits, closed, worker, times, free_since)
    }

    /// Where the time of each of its jobs went.
    pub fn stages(&self, delivery: &Delivery) -> impl Iterator<Item = Stages> {
        // One that comes back has been told of when it was new.
        let jobs = self.jobs.iter().filter(|job| !job.request.is_follow_up());
        jobs.filter_map(|job| delivery.stages(job.arrived))
    }

    /// Whether it holds no job.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn job_refs(&self) -> impl Iterator<Item = JobRef> + '_ {
        self.jobs.iter().map(|job| job.request.job_ref())
    }

    /// The jobs, unanswered: they were never started and go back into the queue.
    pub fn into_jobs(self) -> Vec<Job> {
        self.jobs
    }

    /// Passes the parts of an intermediate reply on to the clients; a part that is too large ends
    /// its own stream only.
    pub fn pass_on(&mut self, reply: Reply, delivery: impl Into<Delivery>) {
        let delivery = delivery.into();
        let limits = delivery.limits;
        if reply.code != 200 {
            return self.fail_all(&failure(reply, limits));
        }
        // A slice keeps the whole frame alive, and a client that reads slowly must not keep what was
        // meant for its neighbours.
        let is_shared = reply.items.len() > 1;
        for item in reply.items {
            // A place outside the batch is a worker's mistake that concerns nobody else.
            let Some(job) = self.jobs.get_mut(item.index as usize) else {
                continue;
            };
            let stages = delivery.stages(job.arrived);
            let (head, body) = split_item(item, stages);
            match check_size(body.len(), limits.max_response_size) {
                Ok(()) if is_shared || body.len() <= SMALL_PART => {
                    let body = Bytes::copy_from_slice(&body);
                    job.reply.send_part(head, body, limits.max_response_size);
                }
                Ok(()) => job.reply.send_part(head, body, limits.max_response_size),
                Err(error) => job.reply.fail(error),
            }
        }
    }

    /// What to wait for before the next parts are passed on; `None` while all streams have room.
    pub fn lacks_room(&self) -> Option<Room> {
        self.jobs.iter().find_map(|job| job.reply.lacks_room())
    }

    /// Ends the streams whose clients have taken nothing for `limit`, to the good of the others.
    pub fn end_stalled(&mut self, limit: Duration) {
        for job in &mut self.jobs {
            end_if_stalled(job, limit);
        }
    }

    /// Answers every job with the same error, though the worker has yet to answer the batch.
    pub fn fail_all(&mut self, error: &Error) {
        for job in &mut self.jobs {
            job.reply.fail(error.clone());
        }
    }

    /// Whether some client still waits for an answer or the rest of one.
    pub fn is_awaited(&self) -> bool {
        let now = Instant::now();
        self.jobs.iter().any(|job| job.reply.is_awaited(now))
    }

    /// Answers every job from the worker's last reply: each exactly once, whatever the reply says.
    /// Only of a round something is left.
    pub fn answer(self, reply: Reply, delivery: impl Into<Delivery>) -> Option<Round> {
        let delivery = delivery.into();
        let limits = delivery.limits;
        let stages = |job: &Job| delivery.stages(job.arrived);
        if let Some(rules) = &self.rules {
            return Some(Round::of(self.jobs, reply, limits, rules, &stages));
        }
        if reply.code != 200 {
            self.fail(&failure(reply, limits));
            return None;
        }
        if is_in_order(&reply.items, self.jobs.len()) {
            for (job, item) in self.jobs.into_iter().zip(reply.items) {
                let stages = stages(&job);
                job.answer(finish(Some(item), limits, stages));
            }
            return None;
        }
        let mut answers: Vec<Option<ReplyItem>> = Vec::new();
        answers.resize_with(self.jobs.len(), || None);
        for item in reply.items {
            // A place outside the batch, or a second answer for one place, is a worker's mistake
            // that must not reach another request.
            if let Some(place) = answers.get_mut(item.index as usize) {
                place.get_or_insert(item);
            }
        }
        for (job, item) in self.jobs.into_iter().zip(answers) {
            let stages = stages(&job);
            job.answer(finish(item, limits, stages));
        }
        None
    }

    /// Answers every job with the same error.
    pub fn fail(self, error: &Error) {
        for job in self.jobs {
            job.answer(Err(error.clone()));
        }
    }
}

/// Ends the stream of a job whose client has taken nothing for `limit`.
pub(super) fn end_if_stalled(job: &mut Job, limit: Duration) {
    if let Some(room) = job.reply.lacks_room()
        && room.idle_for() >= limit
    {
        job.reply.fail(Error::ClientTimeout(format!(
            "The client has read nothing of the stream for stream_stall_timeout {} s.",
            limit.as_secs_f64()
        )));
    }
}

/// The error of a reply that befell the whole batch.
pub(super) fn failure(reply: Reply, limits: ReplyLimits) -> Error {
    let status = u16::try_from(reply.code).unwrap_or(500);
    let detail = limits.error_detail.then(|| raised(&reply)).flatten();
    let message = reply.message;
    match detail {
        Some(detail) => Error::Raised {
            status,
            message,
            detail: Arc::new(detail),
        },
        None => Error::Worker { status, message },
    }
}

/// What the handler raised, as its worker describes it beside a failure.
pub fn raised(reply: &Reply) -> Option<ErrorDetail> {
    let described = reply.items.first().filter(|_| reply.code != 200)?;
    if described.body.len() > MOST_DETAIL {
        return None;
    }
    serde_json::from_slice(&described.body).ok()
}

/// Whether each job has one answer, in the jobs' order: then nothing has to be sorted out.
fn is_in_order(items: &[ReplyItem], jobs: usize) -> bool {
    let indices = items.iter().map(|item| item.index as usize);
    items.len() == jobs && indices.eq(0..jobs)
}

/// Checks the last, or only, answer to one request.
pub(super) fn finish(
    item: Option<ReplyItem>,
    limits: ReplyLimits,
    stages: Option<Stages>,
) -> Result<InferenceReply, Error> {
    let item = item.ok_or_else(|| Error::Worker {
        status: 500,
        message: "The worker answered its batch without an answer for this request.".to_owned(),
    })?;
    let (head, body) = split_item(item, stages);
    check_size(body.len(), limits.max_response_size)?;
    Ok(InferenceReply { body, ..head })
}

pub(super) fn split_item(item: ReplyItem, stages: Option<Stages>) -> (InferenceReply, Bytes) {
    let status = u16::try_from(item.status)
        .ok()
        .filter(|status| (100..=999).contains(status));
    let head = InferenceReply {
        status: status.unwrap_or(500),
        phrase: item.phrase,
        headers: item.headers,
        body: Bytes::new(),
        stages,
    };
    (head, item.body)
}

/// Checks the size of one reply, or of one part.
pub(super) fn check_size(bytes: usize, max_response_size: u64) -> Result<(), Error> {
    if bytes as u64 <= max_response_size {
        return Ok(());
    }
    Err(Error::Worker {
        status: 500,
        message: format!(
            "The response of {bytes} bytes exceeds max_response_size {max_response_size}."
        ),
    })
}
