//! Who a request is: its id, and its place in a trace.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::head::HeadView;
use crate::service::Services;
use crate::telemetry::{Asked, RequestSpan};

/// Longest id of a client's own.
const LONGEST_ID: usize = 128;

/// The id of a request, and its span where spans are made.
#[derive(Debug)]
pub(super) struct Identity {
    made: [u8; Hyphenated::LENGTH],
    /// The client's own, where that counts.
    given: Option<Box<str>>,
    span: Option<Box<RequestSpan>>,
}

impl Identity {
    /// An identity of the server's own.
    pub(super) fn new() -> Self {
        let mut made = [0; Hyphenated::LENGTH];
        Uuid::new_v4().hyphenated().encode_lower(&mut made);
        Self {
            made,
            given: None,
            span: None,
        }
    }

    /// Takes what the client says of it, as far as that is wanted.
    pub(super) fn read(&mut self, services: &Services, remote: &str, head: &HeadView<'_>) {
        if services.config.use_client_request_id {
            self.given = header(head, "x-request-id")
                .filter(|id| is_id(id))
                .map(Into::into);
        }
        if let Some(spans) = &services.telemetry.spans {
            let span = spans.begin(&Asked {
                method: head.method(),
                uri: head.target(),
                protocol: head.protocol(),
                remote,
                request_id: self.id(),
                traceparent: header(head, "traceparent"),
                tracestate: header(head, "tracestate"),
            });
            self.span = Some(Box::new(span));
        }
    }

    /// The id.
    pub(super) fn id(&self) -> &str {
        match &self.given {
            Some(given) => given,
            None => std::str::from_utf8(&self.made).unwrap_or_default(),
        }
    }

    /// The span, where spans are made.
    pub(super) fn span(&self) -> Option<&RequestSpan> {
        self.span.as_deref()
    }

    /// The id of its trace; empty where there is none.
    pub(super) fn trace_id(&self) -> &str {
        self.span().map_or("", RequestSpan::trace_id)
    }
}

/// The first header of this name.
fn header<'a>(head: &HeadView<'a>, wanted: &str) -> Option<&'a str> {
    head.headers()
        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .and_then(|(_, value)| std::str::from_utf8(value).ok())
}

fn is_id(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(is_letter)
}

/// Lets those who work for a request see its place in the trace, instead of the client's.
pub(super) fn hand_on<'a>(span: Option<&'a RequestSpan>, headers: &mut Vec<(&'a str, &'a str)>) {
    let Some(span) = span else { return };
    let is_own = |name: &str| {
        name.eq_ignore_ascii_case("traceparent") || name.eq_ignore_ascii_case("tracestate")
    };
    headers.retain(|(name, _)| !is_own(name));
    headers.push(("traceparent", span.traceparent()));
    if !span.tracestate().is_empty() {
        headers.push(("tracestate", span.tracestate()));
    }
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
}
