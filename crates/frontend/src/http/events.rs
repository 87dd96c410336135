//! Server-sent events: one per part of a stream, for clients that ask for them.
//!
//! # Source
//!
//! WHATWG HTML, section 9.2 "Server-sent events".

use super::head::HeadView;
use super::response::{EVENT_STREAM, ErrorObject};
use crate::error::Error;

/// Whether a client names `text/event-stream` among the types it accepts. `*/*` is no wish for it.
pub(super) fn are_wanted(head: &HeadView<'_>) -> bool {
    head.headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .filter_map(|(_, value)| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','))
        .any(is_wish)
}

/// Whether one element of an `Accept` header asks for events.
fn is_wish(element: &str) -> bool {
    let mut pieces = element.split(';').map(str::trim);
    let is_named = pieces
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case(EVENT_STREAM));
    let is_refused = pieces.any(|parameter| {
        let weight = parameter
            .strip_prefix("q=")
            .or(parameter.strip_prefix("Q="));
        weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0_f32))
    });
    is_named && !is_refused
}

/// Whether a handler writes events by itself.
pub(super) fn is_type(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case(EVENT_STREAM)
}

/// Turns parts into events. Events are text: what is not UTF-8 is replaced, but a character may be
/// spread over several parts.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a character whose rest is in the next part.
    begun: Vec<u8>,
}

impl Events {
    /// Writes the event of one part; a part without a whole character has none.
    pub(super) fn write_part(&mut self, out: &mut Vec<u8>, part: &[u8]) {
        let joined;
        let bytes = if self.begun.is_empty() {
            part
        } else {
            self.begun.extend_from_slice(part);
            joined = std::mem::take(&mut self.begun);
            &joined
        };
        let whole = bytes.len() - unfinished(bytes);
        self.begun.extend_from_slice(&bytes[whole..]);
        if whole > 0 {
            write_event(out, None, &String::from_utf8_lossy(&bytes[..whole]));
        }
    }

    /// Writes the event that tells a complete stream from one that broke off.
    pub(super) fn write_end(&mut self, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            write_event(out, None, &String::from_utf8_lossy(&self.begun));
        }
        write_event(out, Some("end"), "");
    }
}

/// Writes an error; it is the last event of its stream.
pub(super) fn write_error(out: &mut Vec<u8>, error: &Error) {
    let object = serde_json::to_string(&ErrorObject::new(error)).unwrap_or_default();
    write_event(out, Some("error"), &object);
}

fn write_event(out: &mut Vec<u8>, name: Option<&str>, data: &str) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    let mut rest = data;
    loop {
        let end = rest.find(['\r', '\n']);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest.as_bytes()[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { break };
        let width = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + width..];
    }
    out.push(b'\n');
}

/// Bytes at the end that may become a character when more follow.
fn unfinished(bytes: &[u8]) -> usize {
    // A character has at most four bytes.
    let start = bytes.len().saturating_sub(3);
    let tail = &bytes[start..];
    let Some(lead) = tail
        .iter()
        .rposition(|byte| byte & 0b1100_0000 != 0b1000_0000)
    else {
        return 0;
    };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> String {
        let (mut events, mut out) = (Events::default(), Vec::new());
        for part in parts {
            events.write_part(&mut out, part);
        }
        events.write_end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_part_is_one_event_and_the_end_is_told() {
        assert_eq!(
            written(&[b"a", b"{\n  1\n}", b"", b"x\r\ny\rz\n"]),
            "data: a\n\ndata: {\ndata:   1\ndata: }\n\n\
             data: x\ndata: y\ndata: z\ndata: \n\nevent: end\ndata: \n\n"
        );
    }

    #[test]
    fn a_character_may_be_spread_over_parts() {
        let euro = "\u{20ac}".as_bytes();
        assert_eq!(
            written(&[&euro[..1], &euro[1..2], &euro[2..]]),
            "data: \u{20ac}\n\nevent: end\ndata: \n\n"
        );
        assert_eq!(
            written(&[b"a\xff", b"\xe2"]),
            "data: a\u{fffd}\n\ndata: \u{fffd}\n\nevent: end\ndata: \n\n"
        );
    }

    #[test]
    fn an_error_is_one_line_of_json() {
        let mut out = Vec::new();
        write_error(&mut out, &Error::worker_died(507));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: error\ndata: {\"code\":507,\"type\":\"InternalServerException\",\
             \"message\":\"Worker died.\"}\n\n"
        );
    }

    #[test]
    fn only_who_names_events_wants_them() {
        for (element, is_wanted) in [
            ("text/event-stream", true),
            (" Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream;q=0.5", true),
            ("text/event-stream;q=0", false),
            ("text/event-stream; q=0.000", false),
            ("*/*", false),
            ("text/*", false),
            ("", false),
        ] {
            assert_eq!(is_wish(element), is_wanted, "{element}");
        }
        assert!(is_type("text/event-stream; charset=utf-8"));
        assert!(!is_type("text/plain"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_lost_wherever_it_is_cut(text in "\\PC{0,40}", cuts in proptest::collection::vec(0_usize..160, 0..6)) {
            let bytes = text.as_bytes();
            let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            places.sort_unstable();
            let (mut events, mut out, mut start) = (Events::default(), Vec::new(), 0);
            for place in places.into_iter().chain([bytes.len()]) {
                events.write_part(&mut out, &bytes[start..place]);
                start = place;
            }
            let all = String::from_utf8(out).unwrap();
            let got: String = all
                .split("\n\n")
                .filter_map(|event| event.strip_prefix("data: "))
                .collect();
            proptest::prop_assert_eq!(got, text);
        }
    }
}
