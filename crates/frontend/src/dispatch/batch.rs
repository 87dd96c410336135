//! One batch on its way through a worker, and how its reply is split.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tserve_shm::{JobRef, Reply, ReplyItem};

use super::Job;
use crate::error::Error;
use crate::service::InferenceReply;

/// Limits on what a worker may answer.
#[derive(Debug, Clone, Copy)]
pub struct ReplyLimits {
    /// Largest body of one reply, bytes, inclusive.
    pub max_response_size: u64,
}

/// A batch that a worker has been given.
#[derive(Debug)]
pub struct Batch {
    /// Unique within the model version.
    pub id: u64,
    jobs: Vec<Job>,
    /// Parts of replies that arrive in pieces, by place in the batch.
    partial: BTreeMap<u32, Partial>,
}

/// A reply of which some parts have arrived.
#[derive(Debug)]
struct Partial {
    head: InferenceReply,
    body: BytesMut,
}

impl Batch {
    pub(super) fn new(id: u64, jobs: Vec<Job>) -> Self {
        Self {
            id,
            jobs,
            partial: BTreeMap::new(),
        }
    }

    /// Number of jobs.
    pub fn len(&self) -> usize {
        self.jobs.len()
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

    /// Keeps the parts of an intermediate reply until the last one arrives.
    ///
    /// # Errors
    /// A sentence for the client when the parts grow beyond the limit.
    pub fn keep_partial(&mut self, reply: Reply, limits: ReplyLimits) -> Result<(), Error> {
        for item in reply.items {
            let index = item.index;
            let (head, body) = split_item(item);
            let partial = self.partial.entry(index).or_insert_with(|| Partial {
                head,
                body: BytesMut::new(),
            });
            partial.body.extend_from_slice(&body);
            check_size(partial.body.len(), limits)?;
        }
        Ok(())
    }

    /// Answers every job from the worker's last reply: each exactly once, whatever the reply says.
    pub fn answer(mut self, reply: Reply, limits: ReplyLimits) {
        if reply.code != 200 {
            let status = u16::try_from(reply.code).unwrap_or(500);
            return self.fail(&Error::Worker {
                status,
                message: reply.message,
            });
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
        for (index, (job, item)) in self.jobs.into_iter().zip(answers).enumerate() {
            let partial = self.partial.remove(&(index as u32));
            job.answer(finish(item, partial, limits));
        }
    }

    /// Answers every job with the same error.
    pub fn fail(self, error: &Error) {
        for job in self.jobs {
            job.answer(Err(error.clone()));
        }
    }
}

/// Joins the last part of a reply with the parts before it.
fn finish(
    item: Option<ReplyItem>,
    partial: Option<Partial>,
    limits: ReplyLimits,
) -> Result<InferenceReply, Error> {
    let item = item.ok_or_else(|| Error::Worker {
        status: 500,
        message: "The worker answered its batch without an answer for this request.".to_owned(),
    })?;
    let (head, body) = split_item(item);
    let reply = match partial {
        None => InferenceReply { body, ..head },
        Some(mut partial) => {
            partial.body.extend_from_slice(&body);
            InferenceReply {
                body: partial.body.freeze(),
                ..partial.head
            }
        }
    };
    check_size(reply.body.len(), limits)?;
    Ok(reply)
}

fn split_item(item: ReplyItem) -> (InferenceReply, Bytes) {
    let status = u16::try_from(item.status)
        .ok()
        .filter(|status| (100..=999).contains(status));
    let head = InferenceReply {
        status: status.unwrap_or(500),
        phrase: item.phrase,
        headers: item.headers,
        body: Bytes::new(),
    };
    (head, item.body)
}

fn check_size(bytes: usize, limits: ReplyLimits) -> Result<(), Error> {
    if bytes as u64 <= limits.max_response_size {
        return Ok(());
    }
    Err(Error::Worker {
        status: 500,
        message: format!(
            "The response of {bytes} bytes exceeds max_response_size {}.",
            limits.max_response_size
        ),
    })
}
