//! Predictions, explanations, health and descriptions over REST.

use std::borrow::Cow;
use std::sync::Arc;

use crate::service::BodyBlock;

use super::answer::{Answer, Surface};
use super::authorization;
use super::body::{BodyPlace, Content, is_urlencoded};
use super::description;
use super::head::{Framing, HeadView, latin1};
use super::open_inference;
use super::response::Response;
use super::routes::{BodyUse, Call, Captures, Payload, Route};
use super::target::{Query, Target};
use crate::error::Error;
use crate::service::{Body, Client, Health, InferenceRequest, Readiness, ServedModel};

/// What distinguishes the routes that predict.
#[derive(Debug, Clone, Copy)]
struct Flavour {
    /// Value of the header `explain`, when the route sets it.
    explain: Option<&'static str>,
    /// Whether the handler gets the header `url_path`.
    has_url_path: bool,
    /// Whether query parameters are inputs.
    takes_query: bool,
}

/// `/predictions/...`
pub(super) fn predict(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    run(
        call,
        payload,
        Flavour {
            explain: Some("False"),
            has_url_path: true,
            takes_query: false,
        },
    )
}

/// `/explanations/...`
pub(super) fn explain(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    run(
        call,
        payload,
        Flavour {
            explain: Some("True"),
            has_url_path: true,
            takes_query: false,
        },
    )
}

/// `/v1/models/{m}:predict` and `/v2/models/{m}/infer`
pub(super) fn kserve_predict(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    run(
        call,
        payload,
        Flavour {
            explain: Some("False"),
            has_url_path: false,
            takes_query: false,
        },
    )
}

/// `/v1/models/{m}:explain` and `/v2/models/{m}/explain`
pub(super) fn kserve_explain(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    run(
        call,
        payload,
        Flavour {
            explain: Some("True"),
            has_url_path: false,
            takes_query: false,
        },
    )
}

/// `/invocations`, `/models/{m}/invoke` and the old `/{m}/predict`
pub(super) fn invoke(call: &Call<'_>, payload: Payload<'_>) -> Result<Answer, Error> {
    run(
        call,
        payload,
        Flavour {
            explain: None,
            has_url_path: false,
            takes_query: true,
        },
    )
}

/// Room in the memory of the model that a large body is for; `None` when the body has to be seen
/// before the model is known, or is no model's input.
///
/// # Errors
/// The model does not exist, or its memory is full: the body need not be read.
pub(super) fn room(
    surface: &Surface,
    route: &Route,
    head: &HeadView<'_>,
    target: &Target<'_>,
    captures: &Captures<'_>,
    length: usize,
) -> Result<Option<(Arc<ServedModel>, BodyBlock)>, Error> {
    if !matches!(route.body, BodyUse::ModelInput | BodyUse::Tensors)
        || head.method() == "OPTIONS"
        || is_urlencoded(head.content_type())
    {
        return Ok(None);
    }
    let service = &surface.services.inference;
    if route.body == BodyUse::Tensors && surface.services.config.open_inference {
        // What fails here is told in the protocol's own form, once the body is there.
        let header_length = open_inference::header_length(head).ok().flatten();
        let model = service.lookup(captures.model.unwrap_or_default(), captures.version);
        return Ok(model.ok().and_then(|model| {
            let header_length = header_length.filter(|&it| it <= length).unwrap_or(0);
            let block = service.tensor_block(&model, length, header_length).ok()?;
            Some((model, block))
        }));
    }
    let model = if let Some(model) = captures.model {
        service.lookup(model, captures.version)?
    } else {
        let query = target.query()?;
        let Some(name) = name_outside_body(surface, &query) else {
            return Ok(None);
        };
        service.lookup(&name, None)?
    };
    let block = service.body_block(&model, length)?;
    Ok(Some((model, block)))
}

/// The model that `/invocations` goes to, as far as the body does not matter.
fn name_outside_body<'a>(surface: &Surface, query: &'a Query<'_>) -> Option<Cow<'a, str>> {
    let named = query.first("model_name");
    match named {
        Some(name) if !name.is_empty() => Some(Cow::Borrowed(name)),
        _ => {
            let only = surface.services.inference.startup_model();
            only.map(Cow::Owned).or(named.map(Cow::Borrowed))
        }
    }
}

fn run(call: &Call<'_>, payload: Payload<'_>, flavour: Flavour) -> Result<Answer, Error> {
    let Call {
        surface,
        head,
        target,
        captures,
        identity,
        route: _,
        client,
    } = *call;
    let service = &surface.services.inference;
    let query = if flavour.takes_query {
        target.query()?
    } else {
        Query::default()
    };
    // Before the model is looked up, as in the original: a broken form is a broken form.
    let content = Content::read(head.content_type(), payload.bytes())?;
    let body_length = payload.bytes().len();
    let name = match captures.model {
        Some(model) => Cow::Borrowed(model),
        None => name_outside_body(surface, &query)
            .or_else(|| content.text("model_name", payload.bytes()).map(Cow::Owned))
            .ok_or_else(|| Error::BadRequest("Parameter model_name is required.".to_owned()))?,
    };
    let (model, place, body) = match payload {
        Payload::Bytes(bytes) => {
            let model = service.lookup(&name, captures.version)?;
            (model, BodyPlace::Here(bytes), Body::None)
        }
        Payload::Arena { model, block } => {
            (model, BodyPlace::Arena(body_length), Body::Arena(block))
        }
    };
    if head.method() == "OPTIONS" {
        let document = description::prediction(&name, model.schemas());
        return Ok(Answer::Now(Response::json(200, &document)));
    }
    let inputs = content.inputs(&query, place);
    let spelled = Spelled::new(&head, body_length);
    let mut headers = spelled.headers(&head);
    if flavour.has_url_path {
        headers.push(("url_path", captures.rest));
    }
    if let Some(explain) = flavour.explain {
        headers.push(("explain", explain));
    }
    identity.hand_on(&mut headers);
    let pending = service.submit(InferenceRequest {
        model,
        requested_version: captures.version,
        id: identity.id(),
        headers: &headers,
        inputs: &inputs,
        body,
        client: client.map(Client::waits),
    })?;
    Ok(Answer::Reply(pending))
}

/// Header texts that are not in the request as such.
pub(super) struct Spelled {
    /// Values with letters outside ASCII, in order.
    decoded: Vec<String>,
    /// Length of the body when no header gives it.
    length: Option<String>,
}

impl Spelled {
    pub(super) fn new(head: &HeadView<'_>, body_length: usize) -> Self {
        let mut decoded = Vec::new();
        if !head.is_ascii() {
            let values = head.headers().map(|(_, value)| value);
            decoded.extend(values.filter(|value| !value.is_ascii()).map(latin1));
        }
        let length = match head.framing() {
            Framing::Chunked => Some(body_length.to_string()),
            Framing::Length(_) | Framing::None => None,
        };
        Self { decoded, length }
    }

    /// The client's headers as the handler sees them. The server has dealt with `Expect` and
    /// `Transfer-Encoding`, so they are gone, and a length is always there.
    pub(super) fn headers<'a>(&'a self, head: &HeadView<'a>) -> Vec<(&'a str, &'a str)> {
        // Room for url_path, explain and content-length.
        let mut headers = Vec::with_capacity(head.header_count() + 3);
        let mut decoded = self.decoded.iter();
        for (name, text) in head.texts() {
            let text = text.unwrap_or_else(|| decoded.next().map_or("", String::as_str));
            if !name.eq_ignore_ascii_case("transfer-encoding")
                && !name.eq_ignore_ascii_case("expect")
            {
                headers.push((name, text));
            }
        }
        match (&self.length, head.framing()) {
            (Some(length), _) => headers.push(("content-length", length)),
            (None, Framing::None) => headers.push(("content-length", "0")),
            _ => {}
        }
        headers
    }
}

/// Headers of a request without a body for a handler, in memory of their own.
pub(super) fn owned_headers(call: &Call<'_>) -> Vec<(String, String)> {
    let spelled = Spelled::new(&call.head, 0);
    let mut headers = spelled.headers(&call.head);
    call.identity.hand_on(&mut headers);
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    headers.into_iter().map(own).collect()
}

/// `/ping`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn ping(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    Ok(Answer::Now(match call.surface.services.health.ping() {
        Health::Healthy => Response::status_text(200, "Healthy"),
        Health::Unhealthy => Response::status_text(500, "Unhealthy"),
    }))
}

/// `/livez`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn alive(_call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    Ok(Answer::Now(Response::status_text(200, "alive")))
}

/// `/readyz[?model=m]`
pub(super) fn ready(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let health = &call.surface.services.health;
    let query = call.query()?;
    Ok(readiness(
        call,
        &match query.text("model") {
            Some(model) => health.model_readiness(model)?,
            None => health.readiness(),
        },
    ))
}

/// `/startupz`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn started(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    Ok(readiness(call, &call.surface.services.health.startup()))
}

fn readiness(call: &Call<'_>, readiness: &Readiness) -> Answer {
    let status = if readiness.is_ready() { 200 } else { 503 };
    let tokens = &call.surface.services.tokens;
    Answer::Now(if tokens.shows_details(authorization::header(&call.head)) {
        Response::json(status, readiness)
    } else {
        Response::status_text(status, readiness.status)
    })
}

/// `OPTIONS /` and `/api-description`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn api_description(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let document = description::server(call.surface.connector);
    Ok(Answer::Now(Response::json(200, &document)))
}

/// A path that exists only to hide others.
pub(super) fn not_found(_call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    Err(Error::ResourceNotFound)
}
