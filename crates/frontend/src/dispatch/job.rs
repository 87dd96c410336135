//! One admitted request and the promise that it is answered exactly once.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use tserve_batcher::Queued;
use tserve_shm::{Block, JobRef};

use super::arrivals::WaitingClient;
use super::stream::{self, Begun, PartSender, Room};
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

/// Where the client's side learns how its request is answered.
pub type BegunReceiver = oneshot::Receiver<Result<Begun, Error>>;

/// The once-only answer of a job. Dropping it unanswered is a bug of the server; the client still
/// gets an answer, a 500, and the log says so.
#[derive(Debug)]
pub struct ReplySlot {
    sender: Option<oneshot::Sender<Result<Begun, Error>>>,
    /// Takes the sender's place when the handler sends a first part.
    stream: Option<PartSender>,
    deadline: Option<Instant>,
}

impl ReplySlot {
    /// A slot and the receiving end for the client's side, which waits until `deadline`.
    pub fn new(deadline: Option<Instant>) -> (Self, BegunReceiver) {
        let (sender, receiver) = oneshot::channel();
        (
            Self {
                sender: Some(sender),
                stream: None,
                deadline,
            },
            receiver,
        )
    }

    /// Whether somebody still waits for the answer, or for the rest of it.
    pub fn is_awaited(&self, now: Instant) -> bool {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            return false;
        }
        match (&self.sender, &self.stream) {
            (Some(sender), _) => !sender.is_closed(),
            (None, Some(stream)) => !stream.is_closed(),
            (None, None) => false,
        }
    }

    /// Gives up the slot without an answer: the client has been told otherwise.
    pub fn disarm(mut self) {
        self.sender = None;
    }

    /// Sends a part of the answer; status and headers of the first one are the answer's. Parts for
    /// a slot that has been answered are thrown away.
    pub fn send_part(&mut self, head: InferenceReply, body: Bytes, max_response_size: u64) {
        if let Some(sender) = self.sender.take() {
            let (parts, stream) = stream::open(head, max_response_size);
            self.stream = Some(parts);
            // The client may have gone away; that ends the stream as well.
            let _ = sender.send(Ok(Begun::Stream(stream)));
        }
        if let Some(stream) = &self.stream {
            stream.send(body);
        }
    }

    /// What to wait for before the next part; `None` while there is room.
    pub fn lacks_room(&self) -> Option<Room> {
        self.stream.as_ref()?.lacks_room()
    }

    /// Gives the answer, or the last part of it.
    pub fn answer(mut self, answer: Result<InferenceReply, Error>) {
        if let Some(sender) = self.sender.take() {
            // The client may have gone away; then nobody misses the answer.
            let _ = sender.send(answer.map(Begun::Whole));
        } else if let Some(stream) = self.stream.take() {
            let outcome = answer.map(|last| stream.send(last.body));
            stream.end(outcome);
        }
    }

    /// Answers with an error; what comes later is thrown away.
    pub fn fail(&mut self, error: Error) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(Err(error));
        } else if let Some(stream) = self.stream.take() {
            stream.end(Err(error));
        }
    }
}

impl Drop for ReplySlot {
    fn drop(&mut self) {
        // A stream that is left over ends itself.
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
    /// Its connection, which can send no other request until this is dropped; `None` where nothing
    /// is known of the client.
    pub client: Option<WaitingClient>,
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
