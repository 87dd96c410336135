//! The span of one request, and those of its stages.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::Spans;
use super::trace::{self, Trace};
use crate::telemetry::Stages;

/// Codes of gRPC that mean that the server failed, as the conventions have it: unknown, deadline
/// exceeded, unimplemented, internal, unavailable, data loss.
const FAILURES: [u16; 6] = [2, 4, 12, 13, 14, 15];

/// The client's request, as far as its span tells of it.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Asked<'a> {
    pub method: &'a str,
    /// Path and query for REST, service and method for gRPC.
    pub uri: &'a str,
    pub protocol: &'a str,
    pub remote: &'a str,
    /// Empty where requests have none.
    pub request_id: &'a str,
    pub traceparent: Option<&'a str>,
    pub tracestate: Option<&'a str>,
}

/// A request that is being answered. Its span ends when this is dropped, which is after the last byte
/// of the answer.
#[derive(Debug)]
pub struct RequestSpan {
    span: Span,
    trace: Trace,
    is_grpc: bool,
    tracer: SdkTracer,
    began: (SystemTime, Instant),
    /// The status that the client got, and where the time went if a worker answered.
    answer: OnceLock<(u16, Option<Stages>)>,
}

/// What becomes of a request's span.
#[derive(Debug)]
pub enum Sampled {
    /// It is made.
    Yes(Box<RequestSpan>),
    /// It is not, but whoever works for the request learns its place in the trace all the same.
    No(Trace),
}

impl Spans {
    /// Begins the span of a request, unless the sampler leaves it out. Headers of context that are
    /// not as the W3C has them count as none, and a new trace begins.
    pub fn begin(&self, asked: &Asked<'_>) -> Sampled {
        let context = trace::context(asked.traceparent, asked.tracestate);
        let is_grpc = asked.method == "gRPC";
        let builder = SpanBuilder::from_name("request").with_kind(SpanKind::Server);
        let mut span = self.tracer.build_with_context(builder, &context);
        let trace = Trace::of(span.span_context());
        if !span.is_recording() {
            return Sampled::No(trace);
        }
        describe(&mut span, asked, is_grpc);
        Sampled::Yes(Box::new(RequestSpan {
            trace,
            span,
            is_grpc,
            tracer: self.tracer.clone(),
            began: (SystemTime::now(), Instant::now()),
            answer: OnceLock::new(),
        }))
    }
}

/// What is known of a request before it is answered.
fn describe(span: &mut Span, asked: &Asked<'_>, is_grpc: bool) {
    let path = asked.uri.split('?').next().unwrap_or_default();
    let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
    let version = match asked.protocol {
        "HTTP/2.0" => "2",
        other => other.rsplit('/').next().unwrap_or_default(),
    };
    span.set_attributes([
        text("client.address", asked.remote),
        text("network.protocol.version", version),
        text("tserve.request_id", asked.request_id),
    ]);
    if is_grpc {
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        span.update_name(path.to_owned());
        span.set_attributes([
            text("rpc.system", "grpc"),
            text("rpc.service", service),
            text("rpc.method", method),
        ]);
        return;
    }
    // The first part says what is done; what follows are names of which there may be many.
    let first = path.trim_start_matches('/').split('/').next();
    span.update_name(format!("{} /{}", asked.method, first.unwrap_or_default()));
    span.set_attributes([
        text("http.request.method", asked.method),
        text("url.path", path),
    ]);
}

impl RequestSpan {
    /// The place in a trace of whoever works for this request.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Notes how the request was answered, and where its time went.
    pub fn answered(&self, status: u16, stages: Option<Stages>) {
        // Only the first answer is one.
        self.answer.set((status, stages)).ok();
    }

    /// Makes the spans of the stages, which follow one another. How the worker's part is shared out
    /// between the ways there and back is not known; the handler is put in the middle.
    fn add_stages(&self, stages: &Stages) {
        let whole = self.span.span_context().clone();
        let closed = stages.admitted + Duration::from_nanos(stages.batch_wait_ns);
        let given = closed + Duration::from_nanos(stages.queue_ns);
        let replied = stages.replied();
        self.add("receive", &whole, self.began.1, stages.admitted);
        self.add("batch_wait", &whole, stages.admitted, closed);
        self.add("queue", &whole, closed, given);
        self.add("answer", &whole, replied, Instant::now());
        let mut worker = self.begin("worker", &whole, given);
        worker.set_attributes([
            KeyValue::new("tserve.worker", stages.worker.to_string()),
            KeyValue::new("tserve.batch_size", i64::from(stages.batch_size)),
        ]);
        let called = given + Duration::from_nanos(stages.transport_ns / 2);
        let mut handler = self.begin("handler", worker.span_context(), called);
        let mut at = called;
        for (name, step) in Stages::STEPS.into_iter().zip(stages.steps_ns) {
            if step > 0 {
                let end = at + Duration::from_nanos(step);
                self.add(name, handler.span_context(), at, end);
                at = end;
            }
        }
        let returned = called + Duration::from_nanos(stages.handler_ns);
        handler.end_with_timestamp(self.time_of(returned));
        worker.end_with_timestamp(self.time_of(replied));
    }

    fn add(&self, name: &'static str, parent: &SpanContext, from: Instant, to: Instant) {
        let mut span = self.begin(name, parent, from);
        span.end_with_timestamp(self.time_of(to));
    }

    fn begin(&self, name: &'static str, parent: &SpanContext, at: Instant) -> Span {
        let builder = SpanBuilder::from_name(name).with_start_time(self.time_of(at));
        let parent = Context::new().with_remote_span_context(parent.clone());
        self.tracer.build_with_context(builder, &parent)
    }

    fn time_of(&self, at: Instant) -> SystemTime {
        self.began.0 + at.saturating_duration_since(self.began.1)
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        match self.answer.get() {
            Some((status, stages)) => {
                if let Some(stages) = stages {
                    self.add_stages(stages);
                }
                let (key, is_failure) = if self.is_grpc {
                    ("rpc.grpc.status_code", FAILURES.contains(status))
                } else {
                    ("http.response.status_code", *status >= 500)
                };
                self.span
                    .set_attribute(KeyValue::new(key, i64::from(*status)));
                if is_failure {
                    self.span.set_status(Status::error(""));
                }
            }
            None => self.span.set_status(Status::error("the client left")),
        }
        self.span.end_with_timestamp(self.time_of(Instant::now()));
    }
}
