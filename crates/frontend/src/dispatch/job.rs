//! One admitted request and the promise that it is answered exactly once.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::oneshot;
use tserve_batcher::Queued;
use tserve_shm::wire::{RequestView, RequestWriter};
use tserve_shm::{Block, JobRef};

use super::arrivals::WaitingClient;
use super::stream::{self, Begun, PartSender, Room};
use crate::error::Error;
use crate::service::InferenceReply;

/// A request in the model's arena. The blocks go back to the arena when this is dropped.
#[derive(Debug)]
pub struct EncodedRequest {
    /// Id, headers and input table; small inputs stand here too.
    meta: Block,
    /// Bytes of `meta` that are the record.
    record_len: usize,
    /// A large body that inputs refer to.
    body: Option<Block>,
    /// Whether a worker has had the inputs and is not to get them again.
    is_follow_up: bool,
}

impl EncodedRequest {
    /// A record that fills `meta`, and the body that its inputs refer to.
    pub fn new(meta: Block, body: Option<Block>) -> Self {
        Self {
            record_len: meta.len(),
            meta,
            body,
            is_follow_up: false,
        }
    }

    /// Where the worker finds the request.
    pub fn job_ref(&self) -> JobRef {
        JobRef {
            offset: self.meta.offset(),
            len: self.record_len as u32,
        }
    }

    /// Whether a worker has had the inputs already.
    pub(super) fn is_follow_up(&self) -> bool {
        self.is_follow_up
    }

    /// The record, as the worker reads it.
    pub(super) fn record(&self) -> &[u8] {
        &self.meta[..self.record_len]
    }

    /// Takes the inputs away, once the worker has answered its batch: it has its own copy, and gets
    /// id and headers again only to know whose turn it is.
    pub(super) fn forget_inputs(&mut self) {
        if self.is_follow_up {
            return;
        }
        self.is_follow_up = true;
        let Ok(view) = RequestView::parse(&self.meta) else {
            return;
        };
        let record = RequestWriter {
            id: view.id(),
            headers: view.headers(),
            inputs: &[],
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.write(&mut bytes);
        self.meta[..bytes.len()].copy_from_slice(&bytes);
        self.record_len = bytes.len();
        self.body = None;
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
        if self.sender.is_some()
            && self.is_awaited(Instant::now())
            && let Some(sender) = self.sender.take()
        {
            tracing::error!("a request was dropped without an answer; answering 500");
            let _ = sender.send(Err(Error::Internal(
                "The server lost this request; this is a bug in tserve.".to_owned(),
            )));
        }
    }
}

/// The sequence that a request belongs to.
#[derive(Debug)]
pub struct SequenceTag {
    /// Id of the sequence.
    pub id: String,
    /// Whether this request is to be its last one.
    pub ends: bool,
    /// What the client is told when the sequence, or another one, cannot be taken on.
    pub refusal: Error,
    /// Whether a worker has had an earlier request of the sequence.
    pub(super) is_continuing: bool,
}

impl SequenceTag {
    /// The tag of a request that is about to be admitted.
    pub fn new(id: String, ends: bool, refusal: Error) -> Box<Self> {
        Box::new(Self {
            id,
            ends,
            refusal,
            is_continuing: false,
        })
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
    /// Its sequence, if its model has such.
    pub sequence: Option<Box<SequenceTag>>,
}

impl Job {
    /// Whether only the worker that has it can go on with it.
    pub fn is_bound(&self) -> bool {
        self.request.is_follow_up || self.sequence.as_ref().is_some_and(|it| it.is_continuing)
    }

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
