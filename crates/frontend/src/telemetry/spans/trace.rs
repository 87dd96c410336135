//! Places in traces, as the W3C writes them.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Longest `tracestate` that is handed on, as the W3C asks for at least.
const LONGEST_STATE: usize = 512;

/// `00-<32 digits>-<16 digits>-<2 digits>`
const PARENT_LENGTH: usize = 55;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    parent: [u8; PARENT_LENGTH],
    state: String,
}

impl Trace {
    /// Reads headers of a client; `None` where they are not as the W3C has them.
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let context = context(Some(parent), state);
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| Self::of(span))
    }

    pub(super) fn of(context: &SpanContext) -> Self {
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut parent[3..35], &context.trace_id().to_bytes());
        write_hex(&mut parent[36..52], &context.span_id().to_bytes());
        write_hex(&mut parent[53..], &[context.trace_flags().to_u8()]);
        Self {
            parent,
            state: context.trace_state().header(),
        }
    }

    /// `00-<trace>-<span>-<flags>`, for whoever works for this request.
    pub fn parent(&self) -> &str {
        str::from_utf8(&self.parent).unwrap_or_default()
    }

    /// The client's `tracestate`; empty if it has none.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The id of the trace, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.parent().get(3..35).unwrap_or_default()
    }
}

/// Two digits for each byte.
fn write_hex(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 15].map(|it| DIGITS[usize::from(it)]);
    }
}

/// The context that headers of a client name; an empty one where they are not as the W3C has them.
pub(super) fn context(parent: Option<&str>, state: Option<&str>) -> Context {
    let nowhere = Context::new();
    if parent.is_none() {
        return nowhere;
    }
    let state = state.filter(|it| it.len() <= LONGEST_STATE);
    TraceContextPropagator::new().extract_with_context(&nowhere, &Headers { parent, state })
}

/// The two headers that carry a context.
struct Headers<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_is_malformed_is_no_trace_and_a_long_state_none() {
        let parent = format!("00-{ID}-00f067aa0ba902b7-01");
        let read = |state| Trace::read(&parent, state).unwrap();
        let trace = read(Some("a=1,b=2"));
        assert_eq!((trace.parent(), trace.state()), (&*parent, "a=1,b=2"));
        assert_eq!(trace.id(), ID);
        let long = format!("a={}", "x".repeat(LONGEST_STATE));
        assert_eq!(read(Some(&long)).state(), "");
        for bad in [
            "",
            "00-zz-1",
            &"a".repeat(5000),
            &parent.to_uppercase(),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::read(bad, None), None, "{bad}");
        }
    }
}
