//! Predictions: admission, encoding into shared memory, and the reply that follows.

mod sequence;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tserve_batcher::PushError;
use tserve_shm::Block;
use tserve_shm::wire::{InputRef, RequestWriter, ValueRef};

use super::state::ServerState;
use super::{BodyBlock, ServedModel, typed};
use crate::dispatch::{
    Begun, BegunReceiver, Client, EncodedRequest, Job, ReplySlot, SequenceTag, WaitingClient,
};
use crate::error::Error;
use crate::telemetry::{ModelMetrics, Outcome, Stages};

/// One named input of a request.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Name under which the handler finds it.
    pub name: &'a str,
    /// Content type without parameters, as it was sent; empty when there is none.
    pub content_type: &'a str,
    /// Its bytes.
    pub value: Value<'a>,
}

/// The bytes of one input.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Bytes in the adapter's own memory (decoded form fields, query parameters).
    Inline(&'a [u8]),
    /// A range of the request's [`Body`].
    Body(Range<usize>),
}

/// A request body, wherever the adapter read it to.
#[derive(Debug)]
pub enum Body {
    /// No body, or one whose bytes all stand in the inputs.
    None,
    /// In the server's heap; small, or of unknown length while it was read.
    Heap(Bytes),
    /// Already in the model's request arena (see [`InferenceService::body_block`]).
    Arena(BodyBlock),
}

/// One request, neutral of protocols. Everything borrowed is copied when it is submitted.
#[derive(Debug)]
pub struct InferenceRequest<'a> {
    /// The version that serves it.
    pub model: Arc<ServedModel>,
    /// The version as the client named it, for texts.
    pub requested_version: Option<&'a str>,
    /// Request id: a UUID, seen by the handler and sent back as `x-request-id`.
    pub id: &'a str,
    /// Header names and values as the client spelled them, plus what the route adds; in order,
    /// later ones win.
    pub headers: &'a [(&'a str, &'a str)],
    /// Named inputs, in order; later ones win.
    pub inputs: &'a [Input<'a>],
    /// The body that inputs refer to.
    pub body: Body,
    /// The connection it came on, if that carries one request at a time.
    pub client: Option<WaitingClient>,
}

/// A successful answer (its status may still be the handler's own 4xx or 5xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceReply {
    /// HTTP-like status chosen by the handler, 200 by default.
    pub status: u16,
    /// Reason phrase; `None` when the handler set none.
    pub phrase: Option<String>,
    /// Response headers set by the handler, `content-type` among them.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
    /// Where the time went, as far as a worker had a part in it.
    pub stages: Option<Stages>,
}

/// An admitted request. Await [`PendingReply::begin`] or [`PendingReply::wait`]; dropping it cancels
/// the request: if no worker has started it, none will.
#[derive(Debug)]
pub struct PendingReply {
    receiver: BegunReceiver,
    deadline: Option<Deadline>,
    account: Account,
}

/// Counts how a request ends; one that is dropped before was cancelled.
#[derive(Debug)]
struct Account {
    metrics: Arc<ModelMetrics>,
    admitted: Instant,
    names_version: bool,
    is_settled: bool,
}

impl Account {
    fn settle(&mut self, answer: &Result<Begun, Error>) {
        let (status, stages) = match answer {
            Ok(Begun::Whole(reply)) => (reply.status, reply.stages.as_ref()),
            Ok(Begun::Stream(stream)) => (stream.status, stream.stages.as_ref()),
            Err(error) => {
                return self.end(match error {
                    Error::ClientTimeout(_) => Outcome::Expired,
                    _ => Outcome::Failed,
                });
            }
        };
        let total = self.admitted.elapsed();
        self.metrics.answered(stages, total, self.names_version);
        self.end(if status < 500 {
            Outcome::Answered
        } else {
            Outcome::Failed
        });
    }

    /// It was not admitted after all.
    fn refuse(&mut self) {
        self.is_settled = true;
        self.metrics.refused();
    }

    fn end(&mut self, outcome: Outcome) {
        self.is_settled = true;
        self.metrics.ended(outcome);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.is_settled {
            self.metrics.ended(Outcome::Cancelled);
        }
    }
}

/// When a client stops waiting, and what it is told then.
#[derive(Debug)]
struct Deadline {
    at: Instant,
    model: String,
    limit: Duration,
}

impl Deadline {
    fn error(&self) -> Error {
        Error::ClientTimeout(format!(
            "Model \"{}\" did not answer within clientTimeoutInMills {}.",
            self.model,
            self.limit.as_millis()
        ))
    }
}

impl PendingReply {
    /// Waits until the answer is there, or its first part: a handler decides by itself whether it
    /// answers in parts. Cancel safe, but not to be polled again after it has resolved.
    ///
    /// # Errors
    /// Whatever became of the request; [`Error::ClientTimeout`] when the model's
    /// `clientTimeoutInMills` passes first. It goes on for the parts that follow.
    pub async fn begin(&mut self) -> Result<Begun, Error> {
        let answer = self.arrive().await;
        self.account.settle(&answer);
        answer
    }

    async fn arrive(&mut self) -> Result<Begun, Error> {
        let Some(deadline) = &self.deadline else {
            return lost(&mut self.receiver).await;
        };
        match tokio::time::timeout_at(deadline.at.into(), lost(&mut self.receiver)).await {
            Ok(Ok(Begun::Stream(mut stream))) => {
                stream.expire(deadline.at, deadline.error());
                Ok(Begun::Stream(stream))
            }
            Ok(answer) => answer,
            Err(_) => Err(deadline.error()),
        }
    }

    /// Waits for the whole answer; parts are joined, as far as `max_response_size` allows. One
    /// future may be polled in a `select!` loop.
    ///
    /// # Errors
    /// As [`Self::begin`], and whatever ends the parts.
    pub async fn wait(&mut self) -> Result<InferenceReply, Error> {
        match self.begin().await? {
            Begun::Whole(reply) => Ok(reply),
            Begun::Stream(stream) => stream.join().await,
        }
    }
}

/// Waits for the answer; every job answers, even when it is dropped, so that the error arm is
/// reached only when the deadline and the answer race.
async fn lost(receiver: &mut BegunReceiver) -> Result<Begun, Error> {
    receiver.await.unwrap_or_else(|_| {
        Err(Error::Internal(
            "The request expired in the queue.".to_owned(),
        ))
    })
}

/// Predictions on registered models.
#[derive(Debug, Clone)]
pub struct InferenceService {
    state: Arc<ServerState>,
}

impl InferenceService {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    pub(super) fn state(&self) -> &ServerState {
        &self.state
    }

    /// Finds the version that serves a request; `None` means the default version.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::VersionNotFound`].
    pub fn lookup(&self, model: &str, version: Option<&str>) -> Result<Arc<ServedModel>, Error> {
        self.state.registry.get(model, version)
    }

    /// The model that `/invocations` goes to when the request names none: the only one loaded at
    /// start, if it is still registered.
    pub fn startup_model(&self) -> Option<String> {
        let mut names = self.state.loaded_at_startup();
        let name = names.next()?;
        let is_only_one = names.all(|other| other == name);
        let is_registered = self.state.registry.get(name, None).is_ok();
        (is_only_one && is_registered).then(|| name.to_owned())
    }

    /// Counts a connection that carries one request at a time, for as long as the guard lives: a
    /// batch need not wait for company when no connection can bring any.
    pub fn connect(&self) -> Client {
        self.state.arrivals.connect()
    }

    /// Room for a body of exactly `len` bytes in the model's arena, to read the socket into.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the arena is full: the client may retry.
    pub fn body_block(&self, model: &ServedModel, len: usize) -> Result<BodyBlock, Error> {
        allocate(model, len).map(BodyBlock::from)
    }

    /// The versions of a model, in order.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`].
    pub(super) fn versions(&self, model: &str) -> Result<Vec<String>, Error> {
        let versions = self.state.registry.versions(model)?;
        let names = versions.iter().map(|(name, _)| name.to_string());
        Ok(names.collect())
    }

    /// The names of all models, in order.
    pub fn models(&self) -> Vec<String> {
        let models = self.state.registry.models().into_iter();
        let mut names: Vec<_> = models.map(|(name, _)| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// Admits a request into the model's queue.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the model has no worker, the queue is full or the arena is full.
    pub fn submit(&self, request: InferenceRequest<'_>) -> Result<PendingReply, Error> {
        let model = Arc::clone(&request.model);
        let context = model.context();
        let version = request.requested_version;
        let metrics = &context.metrics;
        metrics.requested(version.is_some());
        if !model.pool.can_serve()
            || (context.settings.use_job_ticket && !context.dispatcher.has_idle_worker())
        {
            metrics.ended(Outcome::Rejected);
            return Err(no_worker(model.name(), version));
        }
        if request.client.is_none() {
            self.state.arrivals.surprise();
        }
        let typed = typed::read(&request).inspect_err(|_| metrics.ended(Outcome::Rejected))?;
        let (content_type, input);
        let request = match typed {
            None => request,
            Some(body) => {
                content_type = body.content_type;
                input = [Input {
                    name: request.inputs[0].name,
                    content_type: &content_type,
                    value: Value::Body(body.range),
                }];
                InferenceRequest {
                    inputs: &input,
                    body: body.block.map_or(request.body, Body::Arena),
                    ..request
                }
            }
        };
        let admitted = if context.dispatcher.kind().has_sequences() {
            sequence::admit(request)
        } else {
            admit(request, None)
        };
        let (job, mut pending) = admitted.inspect_err(|_| metrics.ended(Outcome::Rejected))?;
        match context.dispatcher.push(job) {
            Ok(()) => {
                model.pool.answer_if_deserted();
                Ok(pending)
            }
            Err(PushError::Full(job) | PushError::Closed(job)) => {
                // The client is told here; the slot must not answer a second time.
                job.reply.disarm();
                pending.account.refuse();
                Err(no_worker(model.name(), version))
            }
        }
    }
}

/// Runs one request alone in its batch, past the queue (customized describe).
pub(super) fn submit_solo(request: InferenceRequest<'_>) -> Result<PendingReply, Error> {
    let model = Arc::clone(&request.model);
    let (job, pending) = admit(request, None)?;
    model.context().dispatcher.push_solo(job);
    model.pool.answer_if_deserted();
    Ok(pending)
}

/// Writes a request into shared memory and makes its job.
fn admit(
    request: InferenceRequest<'_>,
    sequence: Option<Box<SequenceTag>>,
) -> Result<(Job, PendingReply), Error> {
    let meta = encode(&request)?;
    let model = Arc::clone(&request.model);
    let names_version = request.requested_version.is_some();
    let arrived = Instant::now();
    let deadline = request
        .model
        .context()
        .settings
        .client_timeout
        .map(|limit| Deadline {
            at: arrived + limit,
            model: request.model.name().to_owned(),
            limit,
        });
    let (reply, receiver) = ReplySlot::new(deadline.as_ref().map(|deadline| deadline.at));
    let body = match request.body {
        Body::Arena(block) => Some(block.into_block()),
        Body::None | Body::Heap(_) => None,
    };
    let bytes = meta.len() + body.as_ref().map_or(0, Block::len);
    let bytes = bytes as u64;
    let job = Job {
        request: EncodedRequest::new(meta, body),
        arrived,
        reply,
        client: request.client,
        sequence,
    };
    let metrics = Arc::clone(&model.context().metrics);
    metrics.admitted(bytes);
    let account = Account {
        metrics,
        admitted: arrived,
        names_version,
        is_settled: false,
    };
    let pending = PendingReply {
        receiver,
        deadline,
        account,
    };
    Ok((job, pending))
}

/// The request record, in the model's arena.
fn encode(request: &InferenceRequest<'_>) -> Result<Block, Error> {
    let body: &[u8] = match &request.body {
        Body::None => &[],
        Body::Heap(bytes) => bytes,
        Body::Arena(block) => block,
    };
    let inputs: Vec<InputRef<'_>> = request
        .inputs
        .iter()
        .map(|input| InputRef {
            name: input.name,
            content_type: input.content_type,
            value: match (&input.value, &request.body) {
                (Value::Inline(bytes), _) => ValueRef::Inline(bytes),
                (Value::Body(range), Body::Arena(block)) => ValueRef::Arena {
                    offset: block.offset() + range.start as u64,
                    len: range.len() as u64,
                },
                (Value::Body(range), _) => ValueRef::Inline(&body[range.clone()]),
            },
        })
        .collect();
    let record = RequestWriter {
        id: request.id,
        headers: request.headers,
        inputs: &inputs,
    };
    let mut meta = allocate(&request.model, record.encoded_len())?;
    record.write(&mut meta);
    Ok(meta)
}

pub(super) fn allocate(model: &ServedModel, len: usize) -> Result<Block, Error> {
    let arena = &model.context().arena;
    arena.allocate(len).map_err(|_| {
        Error::Unavailable(format!(
            "Model \"{}\" has no memory left for a request of {len} bytes: {} of {} bytes are in \
             use. Send the request again later.",
            model.name(),
            arena.used_bytes(),
            arena.capacity_bytes()
        ))
    })
}

/// The error of a model without a worker or a place in its queue. The text is the original's, odd
/// quote included, because clients match on it.
fn no_worker(model: &str, version: Option<&str>) -> Error {
    let version = version
        .map(|version| format!(" Version {version}\""))
        .unwrap_or_default();
    Error::Unavailable(format!(
        "Model \"{model}\"{version} has no worker to serve inference request. Please use scale \
         workers API to add workers. If this is a sequence inference, please check if it is \
         closed, or expired; or exceeds maxSequenceJobQueueSize"
    ))
}
