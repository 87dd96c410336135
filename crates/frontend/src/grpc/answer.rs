//! The way of an answer to its client: it ends at the deadline, and the access log hears how.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::call::{Deadline, METHOD, PROTOCOL};
use crate::service::Identity;
use crate::telemetry::{AccessLine, AccessLog, ServerTiming, Stages};

/// Where a call says how it ended.
const STATUS: &str = "grpc-status";
/// Where it says how long what took.
const TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Where it says what its id is.
const ID: HeaderName = HeaderName::from_static("x-request-id");

/// One line of the access log and the end of a span, once the call is over. A call that nobody
/// settles was given up by its client.
pub(super) struct Account {
    access: Arc<AccessLog>,
    identity: Arc<Identity>,
    remote: Arc<str>,
    method: String,
    started: Instant,
    code: Code,
    stages: Option<Stages>,
}

impl Account {
    /// Begins the line of a call.
    pub(super) fn open(
        access: Arc<AccessLog>,
        identity: Arc<Identity>,
        remote: Arc<str>,
        method: &str,
    ) -> Self {
        Self {
            access,
            identity,
            remote,
            method: method.to_owned(),
            started: Instant::now(),
            code: Code::Cancelled,
            stages: None,
        }
    }

    /// Lets the answer say where the time went.
    pub(super) fn tell_timing(&self, response: &mut Response<Body>) {
        let Some(&stages) = response.extensions().get() else {
            return;
        };
        let started = self.started;
        let mut value = Vec::new();
        ServerTiming { started, stages }.write(&mut value, Instant::now());
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            response.headers_mut().insert(TIMING, value);
        }
    }

    /// Hands over to the answer, which ends the line.
    pub(super) fn settle(
        mut self,
        mut response: Response<Body>,
        deadline: Option<Deadline>,
    ) -> Response<Answer> {
        if let Ok(id) = HeaderValue::from_str(self.identity.id()) {
            response.headers_mut().insert(ID, id);
        }
        self.stages = response.extensions().get().copied();
        let has_ended = self.note(response.headers());
        if !has_ended && response.body().is_end_stream() {
            // No gRPC call: HTTP alone says what was wrong.
            self.code = Code::Unknown;
        }
        response.map(|body| Answer {
            body: Some(body),
            deadline,
            timer: None,
            account: self,
        })
    }

    /// Reads how the call ended, if these headers or trailers say so.
    fn note(&mut self, headers: &HeaderMap) -> bool {
        let status = headers.get(STATUS);
        if let Some(status) = status {
            self.code = Code::from_bytes(status.as_bytes());
        }
        status.is_some()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.access.record(AccessLine {
            remote: &self.remote,
            method: METHOD,
            uri: &self.method,
            protocol: PROTOCOL,
            status: self.code as u16,
            elapsed: self.started.elapsed(),
            stages: self.stages,
            request_id: self.identity.id(),
            trace_id: self.identity.trace_id(),
        });
        if let Some(span) = self.identity.span() {
            span.answered(self.code as u16, self.stages);
        }
    }
}

/// An answer, and where its time went if a worker has given it.
pub(super) fn timed<T>(message: T, stages: Option<Stages>) -> tonic::Response<T> {
    let mut response = tonic::Response::new(message);
    if let Some(stages) = stages {
        response.extensions_mut().insert(stages);
    }
    response
}

/// The body of an answer.
pub(super) struct Answer {
    /// `None` once it has ended.
    body: Option<Body>,
    deadline: Option<Deadline>,
    /// Set when the answer first had to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    account: Account,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let end = match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.account.note(trailers);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => {
                self.body = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {
                let Some(deadline) = self.deadline else {
                    return Poll::Pending;
                };
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.at)));
                ready!(timer.as_mut().poll(context));
                deadline.passed()
            }
        };
        // Whatever produces the answer learns from this that nobody wants more.
        self.body = None;
        Poll::Ready(Some(Ok(self.last_words(&end))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::new, Body::size_hint)
    }
}

impl Answer {
    /// The trailers of a call that ends with an error.
    fn last_words(&mut self, status: &Status) -> Frame<Bytes> {
        self.account.code = status.code();
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // A description that no header can carry; the code always fits.
            trailers.insert(STATUS, (status.code() as u16).into());
        }
        Frame::trailers(trailers)
    }
}
