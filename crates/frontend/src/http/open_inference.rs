//! The Open Inference Protocol over REST, and the parts of `KServe` v1 that are no predictions.

use serde::Serialize;

use super::answer::Answer;
use super::head::HeadView;
use super::inference::{Spelled, kserve_explain, kserve_predict};
use super::response::Response;
use super::routes::{Call, Payload};
use crate::error::Error;
use crate::service::{
    Asked, Begun, Client, InferBody, InferCall, InferError, InferRequest, InferenceReply,
};

/// Where the JSON of a request with binary tensors ends.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// `/v2/models/{m}[/versions/{v}]/infer`
pub(super) fn infer(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    if is_plain(call) {
        return kserve_predict(call, payload);
    }
    Ok(run(call, payload, "False").unwrap_or_else(|error| Answer::Now(failure(&error))))
}

/// `/v2/models/{m}/explain`
pub(super) fn explain(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    if is_plain(call) {
        return kserve_explain(call, payload);
    }
    Ok(run(call, payload, "True").unwrap_or_else(|error| Answer::Now(failure(&error))))
}

/// Whether the path is one for predictions like all others.
fn is_plain(call: &Call<'_>) -> bool {
    !call.surface.services.config.open_inference || call.head.method() == "OPTIONS"
}

fn run(call: &Call<'_>, payload: Payload<'_>, explain: &'static str) -> Result<Answer, Error> {
    let service = &call.surface.services.inference;
    let name = call.captures.model.unwrap_or_default();
    let model = match &payload {
        Payload::Arena { model, .. } => model.clone(),
        Payload::Bytes(_) => service.lookup(name, call.captures.version)?,
    };
    let header_length = header_length(&call.head)?;
    let request = InferRequest::read(payload.bytes(), header_length)?;
    let spelled = Spelled::new(&call.head, payload.bytes().len());
    let mut headers = spelled.headers(&call.head);
    headers.push(("explain", explain));
    call.identity.hand_on(&mut headers);
    let (pending, asked) = service.infer(InferCall {
        model,
        requested_version: call.captures.version,
        id: call.identity.id(),
        headers,
        request,
        body: match payload {
            Payload::Bytes(bytes) => InferBody::Here(bytes),
            Payload::Arena { block, .. } => InferBody::Arena(block),
        },
        client: call.client.map(Client::waits),
    })?;
    Ok(Answer::Tensors(pending, Box::new(asked)))
}

/// The length of the JSON in a request with binary tensors.
///
/// # Errors
/// The header is there and no length.
pub(super) fn header_length(head: &HeadView<'_>) -> Result<Option<usize>, Error> {
    let mut headers = head.headers();
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(HEADER_LENGTH));
    let Some((_, value)) = found else {
        return Ok(None);
    };
    let length = str::from_utf8(value).ok().and_then(|it| it.parse().ok());
    length.map(Some).ok_or_else(|| {
        Error::BadRequest("Inference-Header-Content-Length is not a length".to_owned())
    })
}

/// The answer that a handler's reply becomes.
pub(super) async fn response(asked: &Asked, begun: Result<Begun, Error>) -> Response {
    let whole: Result<InferenceReply, Error> = match begun {
        Ok(Begun::Whole(reply)) => Ok(reply),
        Ok(Begun::Stream(parts)) => parts.join().await,
        Err(error) => Err(error),
    };
    match whole.and_then(|reply| asked.rest(reply)) {
        Ok(reply) => Response::reply(reply),
        Err(error) => failure(&error),
    }
}

fn failure(error: &Error) -> Response {
    Response::error_as(error, |error| InferError::from(error))
}

fn answer(outcome: Result<Response, Error>) -> Answer {
    Answer::Now(outcome.unwrap_or_else(|error| failure(&error)))
}

/// A name and whether what has it is ready.
#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

fn readiness(call: &Call<'_>) -> Result<Response, Error> {
    let name = call.captures.model.unwrap_or_default();
    let health = &call.surface.services.health;
    let ready = health.is_model_ready(name, call.captures.version)?;
    let status = if ready { 200 } else { 503 };
    Ok(Response::json(status, &ModelReady { name, ready }))
}

/// `GET /v1/models/{m}`
pub(super) fn model_ready_v1(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    readiness(call).map(Answer::Now)
}

/// `GET /v1/models` and `GET /v2/models`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn models(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    #[derive(Serialize)]
    struct Models {
        models: Vec<String>,
    }
    let models = call.surface.services.inference.models();
    Ok(Answer::Now(Response::json(200, &Models { models })))
}

/// `GET /v2/models/{m}[/versions/{v}]/ready`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn model_ready(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    Ok(answer(readiness(call)))
}

/// `GET /v2/models/{m}[/versions/{v}]`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn model_metadata(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let name = call.captures.model.unwrap_or_default();
    let service = &call.surface.services.inference;
    let metadata = service.model_metadata(name, call.captures.version);
    Ok(answer(metadata.map(|it| Response::json(200, &it))))
}

/// `GET /v2`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn server_metadata(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let metadata = call.surface.services.inference.server_metadata();
    Ok(Answer::Now(Response::json(200, &metadata)))
}

/// `GET /v2/health/live`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn live(_call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    #[derive(Serialize)]
    struct Live {
        live: bool,
    }
    Ok(Answer::Now(Response::json(200, &Live { live: true })))
}

/// `GET /v2/health/ready`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn ready(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    #[derive(Serialize)]
    struct Ready {
        ready: bool,
    }
    let ready = call.surface.services.health.readiness().is_ready();
    let status = if ready { 200 } else { 503 };
    Ok(Answer::Now(Response::json(status, &Ready { ready })))
}
