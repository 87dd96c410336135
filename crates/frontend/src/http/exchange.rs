//! What every version of HTTP does with one request: what may come in, where its body goes, which
//! route answers, what the access log says. Nothing here knows how bytes travel.

use std::sync::Arc;
use std::time::Instant;

use super::answer::{Answer, Surface};
use super::head::{Expect, Framing, Head, HeadView};
use super::inference;
use super::limits::Limits;
use super::open_inference;
use super::parts::Form;
use super::platform;
use super::response::{CorsHeaders, Response};
use super::routes::{BodyUse, Call, Payload};
use super::target::Target;
use crate::error::Error;
use crate::service::{
    Asked, Begun, BodyBlock, Client, Identity, InferenceReply, ReplyStream, RequestLine,
    ServedModel,
};
use crate::telemetry::{AccessLine, ServerTiming, Stages};

/// Longest body that is read without a look at what it is for.
pub(super) const SMALL_BODY: u64 = 16 * 1024;
/// Answers up to this size travel together with their heads, parts that are there with each other.
pub(super) const JOINED_REPLY: usize = 16 * 1024;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Door {
    /// The services.
    pub(super) surface: Surface,
    /// CORS headers of every answer.
    pub(super) cors: CorsHeaders,
    /// Patience.
    pub(super) limits: Limits,
    /// Largest body, inclusive.
    pub(super) max_request_size: u64,
}

/// Requests that are refused before any route is looked at, bare and without a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The body is larger than `max_request_size`; its announced length, if there is one.
    Size(Option<u64>),
    /// `Expect` asks for something else than `100-continue`.
    Expectation,
}

/// Where a body goes that is not small.
#[derive(Debug)]
pub(super) enum Destination {
    /// The server's memory.
    Heap,
    /// The memory of its model.
    Arena(Arc<ServedModel>, BodyBlock),
    /// Nowhere: the route does not look at it.
    Nowhere,
}

impl Door {
    /// The length of the body that a head announces; `None` when only its end will tell.
    pub(super) fn announced(&self, head: &Head) -> Result<Option<u64>, Rejection> {
        match (head.expect, head.framing) {
            (Expect::Unsupported, _) => Err(Rejection::Expectation),
            (_, Framing::Length(length)) if length > self.max_request_size => {
                Err(Rejection::Size(Some(length)))
            }
            (_, Framing::Length(length)) => Ok(Some(length)),
            (_, Framing::None) => Ok(Some(0)),
            (_, Framing::Chunked) => Ok(None),
        }
    }

    /// Takes what a head says about who its request is: an id, a place in a trace.
    pub(super) fn identify(&self, exchange: &mut Exchange, remote: &str, head: &HeadView<'_>) {
        let line = RequestLine {
            remote,
            method: head.method(),
            uri: head.target(),
            protocol: head.protocol(),
        };
        let services = &self.surface.services;
        exchange
            .identity
            .read(services, &line, |name| head.first(name));
    }

    /// Decides where a body of a known length above [`SMALL_BODY`] goes: where the model will read
    /// it, if it is a model's input.
    pub(super) fn destination(
        &self,
        head: &HeadView<'_>,
        length: u64,
    ) -> Result<Destination, Error> {
        let surface = &self.surface;
        let target = Target::parse(head.target())?;
        let (route, captures) = platform::find(surface, head.method(), target.path())?;
        if route.body == BodyUse::Ignored {
            return Ok(Destination::Nowhere);
        }
        // The limit of bodies was checked, and it fits the address space.
        let room = usize::try_from(length).unwrap_or(usize::MAX);
        let room = inference::room(surface, route, head, &target, &captures, room)?;
        Ok(match room {
            Some((model, block)) => Destination::Arena(model, block),
            None => Destination::Heap,
        })
    }

    /// Hands a request to its route.
    pub(super) fn answer(
        &self,
        head: HeadView<'_>,
        payload: Payload<'_>,
        exchange: &Exchange,
        client: Option<&Client>,
    ) -> Result<Answer, Error> {
        let target = Target::parse(head.target())?;
        let surface = &self.surface;
        let (route, captures) = platform::find(surface, head.method(), target.path())?;
        let call = Call {
            surface,
            head,
            target: &target,
            captures,
            identity: &exchange.identity,
            route,
            client,
        };
        (route.handler)(&call, payload)
    }

    /// What a model has answered, and, to who may know, where the time went.
    pub(super) fn reply(&self, exchange: &mut Exchange, reply: InferenceReply) -> Response {
        exchange.stages = reply.stages;
        let mut response = Response::reply(reply);
        response.set_timing(self.timing(exchange));
        response
    }

    /// The same for the tensors that a client has asked for.
    pub(super) async fn tensors(
        &self,
        exchange: &mut Exchange,
        asked: &Asked,
        begun: Result<Begun, Error>,
    ) -> Response {
        if let Ok(Begun::Whole(reply)) = &begun {
            exchange.stages = reply.stages;
        }
        let mut response = open_inference::response(asked, begun).await;
        response.set_timing(self.timing(exchange));
        response
    }

    /// The same for the head of an answer in parts.
    pub(super) fn stream_head(
        &self,
        exchange: &mut Exchange,
        stream: &mut ReplyStream,
        form: &Form,
    ) -> Response {
        exchange.stages = stream.stages;
        let mut response = Response::stream(stream, form.makes_events());
        response.set_timing(self.timing(exchange));
        response
    }

    /// What the header `Server-Timing` says, if it is asked for.
    fn timing(&self, exchange: &Exchange) -> Option<ServerTiming> {
        let is_told = self.surface.services.config.server_timing;
        exchange
            .stages
            .filter(|_| is_told)
            .map(|stages| ServerTiming {
                started: exchange.started,
                stages,
            })
    }

    /// Counts an answer and writes the access log's line.
    pub(super) fn log(
        &self,
        remote: &str,
        (method, uri, protocol): (&str, &str, &str),
        status: u16,
        exchange: &Exchange,
    ) {
        let telemetry = &self.surface.services.telemetry;
        telemetry.metrics.count_response(status);
        telemetry.access.record(AccessLine {
            remote,
            method,
            uri,
            protocol,
            status,
            elapsed: exchange.started.elapsed(),
            stages: exchange.stages,
            request_id: exchange.id(),
            trace_id: exchange.identity.trace_id(),
        });
        if let Some(span) = exchange.identity.span() {
            span.answered(status, exchange.stages);
        }
    }
}

impl Rejection {
    /// The status that says it all.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Size(_) => 413,
            Self::Expectation => 417,
        }
    }
}

/// What an answer needs to know of its request.
pub(super) struct Exchange {
    identity: Identity,
    started: Instant,
    /// Where the time went, once a worker has answered.
    stages: Option<Stages>,
}

impl Exchange {
    /// A new one, which starts now.
    pub(super) fn new() -> Self {
        Self {
            identity: Identity::new(),
            started: Instant::now(),
            stages: None,
        }
    }

    /// The id of the request.
    pub(super) fn id(&self) -> &str {
        self.identity.id()
    }
}

/// The error of a message that is not HTTP, or stops in the middle.
pub(super) fn malformed() -> Error {
    Error::BadRequest("Invalid HTTP message.".to_owned())
}

/// The error of a message that comes too slowly.
pub(super) fn too_slow() -> Error {
    Error::OperationTimeout(
        "The request did not arrive in time: its bytes came too slowly.".to_owned(),
    )
}
