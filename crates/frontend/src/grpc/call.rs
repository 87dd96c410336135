//! One call: who may, where it goes, how long it may take, what the access log says of it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::Api;
use super::answer::{Account, Answer};
use super::intake::{Intake, Memory};
use super::routes::{self, Route};
use super::status;
use crate::service::{Identity, RequestLine, Services};

/// What logs and spans have in the place of an HTTP method.
pub(super) const METHOD: &str = "gRPC";
/// What calls travel over.
pub(super) const PROTOCOL: &str = "HTTP/2.0";
/// Where clients say how long they wait.
const TIMEOUT: &str = "grpc-timeout";

/// What all calls of a listener share.
pub(super) struct Door {
    services: Services,
    routes: Vec<Route>,
    memory: Memory,
    stopping: watch::Receiver<bool>,
}

/// How long a client waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The moment.
    pub(super) at: Instant,
    limit: Duration,
}

impl Deadline {
    /// What the client hears when it still listens.
    pub(super) fn passed(self) -> Status {
        Status::deadline_exceeded(format!(
            "The deadline of {} ms passed.",
            self.limit.as_millis()
        ))
    }
}

impl Door {
    pub(super) fn new(
        api: Api,
        services: Services,
        memory: Memory,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let routes = routes::of(api, &services, &stopping);
        Self {
            services,
            routes,
            memory,
            stopping,
        }
    }
}

/// Answers one call. A client that gives up meanwhile makes hyper drop this, and with it whatever
/// the call waits for.
pub(super) async fn answer(
    door: &Arc<Door>,
    remote: Arc<str>,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    let access = Arc::clone(&door.services.telemetry.access);
    let path = request.uri().path();
    let method = path.strip_prefix('/').unwrap_or(path);
    let identity = Arc::new(identify(&door.services, &remote, method, request.headers()));
    let account = Account::open(access, Arc::clone(&identity), remote, method);
    request.extensions_mut().insert(identity);
    let deadline = match deadline(request.headers()) {
        Ok(deadline) => deadline,
        Err(status) => return account.settle(status.into_http(), None),
    };
    let mut response = match deadline {
        None => run(door, request).await,
        Some(limit) => match tokio::time::timeout_at(limit.at, run(door, request)).await {
            Ok(response) => response,
            Err(_) => limit.passed().into_http(),
        },
    };
    if door.services.config.server_timing {
        account.tell_timing(&mut response);
    }
    account.settle(response, deadline)
}

/// Takes what the metadata of a call say about who it is: an id, a place in a trace.
fn identify(services: &Services, remote: &str, method: &str, headers: &HeaderMap) -> Identity {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let line = RequestLine {
        remote,
        method: METHOD,
        uri: method,
        protocol: PROTOCOL,
    };
    let mut identity = Identity::new();
    identity.read(services, &line, header);
    identity.keep_trace(header);
    identity
}

/// Who a call is.
pub(super) fn identity<T>(request: &tonic::Request<T>) -> Arc<Identity> {
    let found = request.extensions().get::<Arc<Identity>>();
    found.map_or_else(|| Arc::new(Identity::new()), Arc::clone)
}

async fn run(door: &Door, request: Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = misfit(&request) {
        return refusal;
    }
    let path = request.uri().path();
    let (service, method) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    let Some(route) = door.routes.iter().find(|route| route.name == service) else {
        return Status::unimplemented(format!("There is no service {service} here.")).into_http();
    };
    if let Some(scope) = route.scope {
        let token = request.headers().get(AUTHORIZATION);
        let token = token.map(http::HeaderValue::as_bytes);
        if let Err(error) = door.services.tokens.authorize(scope, token) {
            return status::refused(&error).into_http();
        }
        if let Err(status) = opened(&door.services, &door.stopping).await {
            return status.into_http();
        }
    }
    let is_streaming = routes::is_streaming(method);
    let request = request.map(|body| {
        let stopping = is_streaming.then(|| door.stopping.clone());
        let largest = door.services.config.max_request_size;
        Intake::new(body, largest, door.memory.clone(), stopping)
    });
    route.call(request).await
}

/// Waits until the models named at start are registered; probes do not.
async fn opened(services: &Services, stopping: &watch::Receiver<bool>) -> Result<(), Status> {
    let mut is_open = services.is_open();
    if *is_open.borrow() {
        return Ok(());
    }
    let mut stopping = stopping.clone();
    tokio::select! {
        _ = is_open.wait_for(|it| *it) => Ok(()),
        _ = stopping.wait_for(|it| *it) => Err(Status::unavailable("The server stops.")),
    }
}

/// The answer to what is no gRPC call.
fn misfit<B>(request: &Request<B>) -> Option<Response<Body>> {
    let content_type = request.headers().get(CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let status = if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if is_grpc {
        return None;
    } else {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Some(response)
}

/// The client's deadline, counted from now.
fn deadline(headers: &HeaderMap) -> Result<Option<Deadline>, Status> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let limit = value.to_str().ok().and_then(timeout).ok_or_else(|| {
        Status::invalid_argument(
            "grpc-timeout is not up to 8 digits and a unit of H, M, S, m, u or n.",
        )
    })?;
    Ok(Some(Deadline {
        at: Instant::now() + limit,
        limit,
    }))
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_has_them() {
        for (text, limit) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("0u", Some(Duration::ZERO)),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("5", None),
            ("-1S", None),
            ("+1S", None),
            ("1 S", None),
            ("123456789S", None),
            ("1é", None),
        ] {
            assert_eq!(timeout(text), limit, "{text}");
        }
    }
}
