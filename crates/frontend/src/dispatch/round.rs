//! One round of a worker whose requests stay with it: what its reply makes of each of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tserve_batcher::Queued as _;
use tserve_shm::{Reply, ReplyItem};

use super::batch::{ReplyLimits, check_size, end_if_stalled, failure, finish, split_item};
use super::job::{Job, SequenceTag};
use super::kind::RoundRules;
use super::stream::Room;
use crate::error::Error;
use crate::service::InferenceReply;
use crate::telemetry::Stages;

/// The header by which an answer says that more follows.
const STREAM_NEXT: &str = "ts_stream_next";

/// What is left of a batch after its reply.
#[derive(Debug, Default)]
pub struct Round {
    /// Requests that come back in the next round.
    pub(super) running: Vec<Job>,
    /// Sequences whose request has been answered.
    pub(super) left: Vec<SequenceTag>,
    /// Sequences that the handler has ended.
    pub(super) ended: Vec<String>,
}

impl Round {
    /// Reads the reply to a batch: answers the requests that are done, passes the parts of the
    /// others on.
    pub(super) fn of(
        jobs: Vec<Job>,
        reply: Reply,
        limits: ReplyLimits,
        rules: &Arc<RoundRules>,
        stages: &dyn Fn(&Job) -> Option<Stages>,
    ) -> Self {
        let mut round = Self::default();
        if reply.code != 200 {
            let error = failure(reply, limits);
            for job in jobs {
                round.leave(job, Err(error.clone()));
            }
            return round;
        }
        let mut items: Vec<Option<ReplyItem>> = Vec::new();
        items.resize_with(jobs.len(), || None);
        for item in reply.items {
            // A place outside the batch, or a second answer for one place, is a worker's mistake.
            if let Some(place) = items.get_mut(item.index as usize) {
                place.get_or_insert(item);
            }
        }
        for (job, item) in jobs.into_iter().zip(items) {
            if let Some(item) = &item {
                round.note_ended(item, &rules.end_header);
            }
            let stages = stages(&job);
            match item {
                Some(part) if rules.is_continuous && has_more(&part) => {
                    round.go_on(job, part, limits, stages);
                }
                whole => round.leave(job, finish(whole, limits, stages)),
            }
        }
        round
    }

    /// Takes the requests of a batch that no client waits for any more.
    pub(super) fn dismiss_dead(running: &mut Vec<Job>, now: Instant) -> Vec<SequenceTag> {
        let dead = running.extract_if(.., |job| !job.is_live(now));
        dead.filter_map(|mut job| job.sequence.take().map(|tag| *tag))
            .collect()
    }

    fn go_on(
        &mut self,
        mut job: Job,
        part: ReplyItem,
        limits: ReplyLimits,
        stages: Option<Stages>,
    ) {
        let (head, body) = split_item(part, stages);
        if let Err(error) = check_size(body.len(), limits.max_response_size) {
            return self.leave(job, Err(error));
        }
        // A slice would keep the parts of all neighbours alive.
        let body = Bytes::copy_from_slice(&body);
        job.reply.send_part(head, body, limits.max_response_size);
        job.request.forget_inputs();
        self.running.push(job);
    }

    fn leave(&mut self, mut job: Job, answer: Result<InferenceReply, Error>) {
        self.left.extend(job.sequence.take().map(|tag| *tag));
        job.answer(answer);
    }

    fn note_ended(&mut self, item: &ReplyItem, end_header: &str) {
        let values = item
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(end_header))
            .flat_map(|(_, value)| value.split(';'));
        let ids = values.map(str::trim).filter(|id| !id.is_empty());
        self.ended.extend(ids.map(str::to_owned));
    }

    /// What to wait for before the next round; `None` while all streams have room.
    pub fn lacks_room(&self) -> Option<Room> {
        self.running.iter().find_map(|job| job.reply.lacks_room())
    }

    /// Ends the streams whose clients have taken nothing for `limit`, to the good of the others.
    pub fn end_stalled(&mut self, limit: Duration) {
        for job in &mut self.running {
            end_if_stalled(job, limit);
        }
    }

    /// Answers what would come back with an error.
    pub fn fail(self, error: &Error) {
        for job in self.running {
            job.answer(Err(error.clone()));
        }
    }
}

fn has_more(item: &ReplyItem) -> bool {
    let mut headers = item.headers.iter();
    headers.any(|(name, value)| name == STREAM_NEXT && value == "true")
}
