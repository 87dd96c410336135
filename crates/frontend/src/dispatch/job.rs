//! One admitted request and the promise that it is answered exactly once.

use std::time::Instant;

use tokio::sync::oneshot;
use tserve_batcher::Queued;
use tserve_shm::{Block, JobRef};

use crate::error::Error;
use crate::service::InferenceReply;

/// A request in the model's arena. The blocks go back to the arena when this is dropped.
#[derive(Debug)]
pub struct EncodedRequest {
    /// Id, headers and input table; small inputs stand here too.
    pub meta: Block,
    /// A large body that inputs refer to.
    pub body: Option<Block>,
}

impl EncodedRequest {
    /// Where the worker finds the request.
    pub fn job_ref(&self) -> JobRef {
        JobRef {
            offset: self.meta.offset(),
            len: self.meta.len() as u32,
        }
    }
}

/// The once-only answer of a job. Dropping it unanswered is a bug of the server; the client still
/// gets an answer, a 500, and the log says so.
#[derive(Debug)]
pub struct ReplySlot {
    sender: Option<oneshot::Sender<Result<InferenceReply, Error>>>,
    deadline: Option<Instant>,
}

impl ReplySlot {
    /// A slot and the receiving end for the client's side, which waits until `deadline`.
    pub fn new(
        deadline: Option<Instant>,
    ) -> (Self, oneshot::Receiver<Result<InferenceReply, Error>>) {
        let (sender, receiver) = oneshot::channel();
        (
            Self {
                sender: Some(sender),
                deadline,
            },
            receiver,
        )
    }

    /// Whether somebody still waits for the answer.
    pub fn is_awaited(&self, now: Instant) -> bool {
        self.deadline.is_none_or(|deadline| now < deadline)
            && self
                .sender
                .as_ref()
                .is_some_and(|sender| !sender.is_closed())
    }

    /// Gives up the slot without an answer: the client has been told otherwise.
    pub fn disarm(mut self) {
        self.sender = None;
    }

    /// Gives the answer.
    pub fn answer(mut self, answer: Result<InferenceReply, Error>) {
        if let Some(sender) = self.sender.take() {
            // The client may have gone away; then nobody misses the answer.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for ReplySlot {
    fn drop(&mut self) {
        if self.is_awaited(Instant::now())
            && let Some(sender) = self.sender.take()
        {
            tracing::error!("a request was dropped without an answer; answering 500");
            let _ = sender.send(Err(Error::Internal(
                "The server lost this request; this is a bug in tserve.".to_owned(),
            )));
        }
    }
}

/// One admitted request.
#[derive(Debug)]
pub struct Job {
    /// The request in shared memory.
    pub request: EncodedRequest,
    /// When it was admitted.
    pub arrived: Instant,
    /// Where its answer goes.
    pub reply: ReplySlot,
}

impl Job {
    /// Answers the job.
    pub fn answer(self, answer: Result<InferenceReply, Error>) {
        self.reply.answer(answer);
    }
}

impl Queued for Job {
    fn is_live(&self, now: Instant) -> bool {
        self.reply.is_awaited(now)
    }

    fn arrived(&self) -> Instant {
        self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_slot_still_answers() {
        let (slot, receiver) = ReplySlot::new(None);
        drop(slot);
        assert!(matches!(receiver.await, Ok(Err(Error::Internal(_)))));
    }

    #[tokio::test]
    async fn a_slot_is_not_awaited_once_its_client_is_gone() {
        let (slot, receiver) = ReplySlot::new(None);
        assert!(slot.is_awaited(Instant::now()));
        drop(receiver);
        assert!(!slot.is_awaited(Instant::now()));
    }
}
