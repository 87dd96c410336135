//! Who a request is: its id, and its place in a trace.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::Services;
use crate::telemetry::{Asked, RequestSpan, Sampled, Trace};

/// Longest id of a client's own.
const LONGEST_ID: usize = 128;

/// The id of a request, and its span where spans are made.
#[derive(Debug)]
pub struct Identity {
    made: [u8; Hyphenated::LENGTH],
    /// The client's own, where that counts.
    given: Option<Box<str>>,
    tracing: Tracing,
}

/// Its place in a trace.
#[derive(Debug)]
enum Tracing {
    /// What its headers say, if anything, and they reach the handler as they are.
    Unchanged,
    /// The client's, whose headers do not reach the handler as they are.
    Client(Trace),
    /// The server's, of a span that is not made.
    Unsampled(Trace),
    /// The server's, of a span that is made.
    Span(Box<RequestSpan>),
}

/// The request as far as its identity tells of it.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RequestLine<'a> {
    pub remote: &'a str,
    /// `gRPC` for calls.
    pub method: &'a str,
    /// Path and query for REST, service and method for gRPC.
    pub uri: &'a str,
    pub protocol: &'a str,
}

impl Identity {
    /// An identity of the server's own.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let mut made = [0; Hyphenated::LENGTH];
        Uuid::new_v4().hyphenated().encode_lower(&mut made);
        Self {
            made,
            given: None,
            tracing: Tracing::Unchanged,
        }
    }

    /// Takes what the client says of it in its headers, as far as that is wanted, and begins its
    /// span.
    pub fn read<'a>(
        &mut self,
        services: &Services,
        line: &RequestLine<'_>,
        header: impl Fn(&str) -> Option<&'a str>,
    ) {
        if services.config.use_client_request_id {
            self.given = header("x-request-id")
                .filter(|id| is_id(id))
                .map(Into::into);
        }
        if let Some(spans) = &services.telemetry.spans {
            let sampled = spans.begin(&Asked {
                method: line.method,
                uri: line.uri,
                protocol: line.protocol,
                remote: line.remote,
                request_id: self.id(),
                traceparent: header("traceparent"),
                tracestate: header("tracestate"),
            });
            self.tracing = match sampled {
                Sampled::Yes(span) => Tracing::Span(span),
                Sampled::No(trace) => Tracing::Unsampled(trace),
            };
        }
    }

    /// Keeps the client's place in a trace for the handler, which sees no headers of this protocol,
    /// unless it gets the span's.
    pub fn keep_trace<'a>(&mut self, header: impl Fn(&str) -> Option<&'a str>) {
        if matches!(self.tracing, Tracing::Unchanged)
            && let Some(parent) = header("traceparent")
            && let Some(trace) = Trace::read(parent, header("tracestate"))
        {
            self.tracing = Tracing::Client(trace);
        }
    }

    /// The id.
    pub fn id(&self) -> &str {
        match &self.given {
            Some(given) => given,
            None => std::str::from_utf8(&self.made).unwrap_or_default(),
        }
    }

    /// The span, if one is made.
    pub fn span(&self) -> Option<&RequestSpan> {
        match &self.tracing {
            Tracing::Span(span) => Some(span),
            _ => None,
        }
    }

    /// The id of its trace; empty where no spans are made.
    pub fn trace_id(&self) -> &str {
        match &self.tracing {
            Tracing::Unchanged | Tracing::Client(_) => "",
            Tracing::Unsampled(trace) => trace.id(),
            Tracing::Span(span) => span.trace().id(),
        }
    }

    /// Lets those who work for a request see its place in a trace: the server's where spans are made,
    /// instead of the client's.
    pub fn hand_on<'a>(&'a self, headers: &mut Vec<(&'a str, &'a str)>) {
        let trace = match &self.tracing {
            Tracing::Unchanged => return,
            Tracing::Client(trace) | Tracing::Unsampled(trace) => trace,
            Tracing::Span(span) => span.trace(),
        };
        let is_own = |name: &str| {
            name.eq_ignore_ascii_case("traceparent") || name.eq_ignore_ascii_case("tracestate")
        };
        headers.retain(|(name, _)| !is_own(name));
        headers.push(("traceparent", trace.parent()));
        if !trace.state().is_empty() {
            headers.push(("tracestate", trace.state()));
        }
    }
}

fn is_id(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_are_taken() {
        for id in ["a", "3f:b/c=@+._-", &"x".repeat(LONGEST_ID)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "a b", "a\"", "é", "a\n", &"x".repeat(LONGEST_ID + 1)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn a_kept_trace_takes_the_place_of_the_clients_headers() {
        const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let given = [("TraceParent", "x"), ("a", "b")];
        for (kept, left) in [
            (None, given),
            (Some("00-zz-1"), given),
            (Some(PARENT), [("a", "b"), ("traceparent", PARENT)]),
        ] {
            let mut identity = Identity::new();
            identity.keep_trace(|name| kept.filter(|_| name == "traceparent"));
            let mut headers = given.to_vec();
            identity.hand_on(&mut headers);
            assert_eq!(headers, left);
        }
    }
}
