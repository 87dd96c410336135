//! How a reply in parts looks on the wire.
//!
//! Its parts are chunks for HTTP/1.1, bytes until the connection is closed for HTTP/1.0, and DATA
//! frames for HTTP/2. A client that asks for server-sent events gets an event per part. A stream
//! that fails after its first part cannot be answered with an error any more: events say so in an
//! event of their own, everything else breaks off the connection (of HTTP/2: the stream), so that
//! no client takes half an answer for a whole one.

use super::events::{self, Events};
use super::head::HeadView;
use crate::error::Error;
use crate::service::ReplyStream;

/// Bytes that are written before the client is said to have taken something.
pub(super) const STEP: usize = 64 * 1024;

/// How the parts of one stream look on the wire.
#[derive(Debug)]
pub(super) struct Form {
    is_chunked: bool,
    /// Turns parts into events, if the client has asked for them.
    events: Option<Events>,
    /// Whether the handler writes events by itself.
    has_own_events: bool,
    /// An event before it becomes a chunk.
    event: Vec<u8>,
}

/// How a stream ended, once its parts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// As it should.
    Complete,
    /// In the middle; the client must not take it for complete.
    Broken,
}

impl Form {
    /// The form of a stream whose head has not been made yet, for the client that asked so.
    pub(super) fn new(stream: &ReplyStream, head: &HeadView<'_>, is_chunked: bool) -> Self {
        let has_own_events = stream.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && events::is_type(value)
        });
        let makes_events = !has_own_events && events::are_wanted(head);
        Self {
            is_chunked,
            events: makes_events.then(Events::default),
            has_own_events,
            event: Vec::new(),
        }
    }

    /// Whether parts become events.
    pub(super) fn makes_events(&self) -> bool {
        self.events.is_some()
    }

    /// Whether parts go out as they are.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_chunked && self.events.is_none()
    }

    /// Writes one part.
    pub(super) fn write_part(&mut self, out: &mut Vec<u8>, part: &[u8]) {
        if let Some(events) = &mut self.events {
            self.event.clear();
            events.write_part(&mut self.event, part);
            frame(out, &self.event, self.is_chunked);
        } else {
            frame(out, part, self.is_chunked);
        }
    }

    /// Writes what tells that nothing follows.
    pub(super) fn write_end(&mut self, out: &mut Vec<u8>) -> Ending {
        if let Some(events) = &mut self.events {
            self.event.clear();
            events.write_end(&mut self.event);
            frame(out, &self.event, self.is_chunked);
        }
        if self.is_chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ending::Complete
    }

    /// Writes why nothing follows, where the form has a way to say it.
    pub(super) fn write_error(&mut self, out: &mut Vec<u8>, error: &Error) -> Ending {
        if self.events.is_none() && !self.has_own_events {
            return Ending::Broken;
        }
        self.event.clear();
        if self.has_own_events {
            // The handler may have stopped in the middle of an event.
            self.event.extend_from_slice(b"\n\n");
        }
        events::write_error(&mut self.event, error);
        frame(out, &self.event, self.is_chunked);
        if self.has_own_events {
            // Its clients may know nothing of our event.
            return Ending::Broken;
        }
        if self.is_chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ending::Complete
    }
}

/// Writes bytes as one chunk, or as they are. No bytes are no chunk: that would be the last one.
fn frame(out: &mut Vec<u8>, bytes: &[u8], is_chunked: bool) {
    if bytes.is_empty() {
        return;
    }
    if is_chunked {
        push_hex(out, bytes.len());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(bytes);
    if is_chunked {
        out.extend_from_slice(b"\r\n");
    }
}

fn push_hex(out: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|place| {
        let digit = (number >> (4 * place)) & 0xf;
        b"0123456789abcdef"[digit]
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, bytes, true);
        out
    }

    #[test]
    fn a_part_is_one_chunk_and_an_empty_one_none() {
        assert_eq!(chunk(b"part0 "), b"6\r\npart0 \r\n");
        assert_eq!(chunk(b""), b"");
        assert!(chunk(&[0; 0x1a2b]).starts_with(b"1a2b\r\n"));
        assert!(chunk(&[0; 0x10]).starts_with(b"10\r\n"));
    }

    #[test]
    fn each_form_reports_errors_in_its_own_way() {
        let error = Error::worker_died(500);
        for (makes_events, has_own_events, ending, mark) in [
            (false, false, Ending::Broken, None),
            (true, false, Ending::Complete, Some("\r\nevent: error\n")),
            (false, true, Ending::Broken, Some("\r\n\n\nevent: error\n")),
        ] {
            let mut form = Form {
                is_chunked: true,
                events: makes_events.then(Events::default),
                has_own_events,
                event: Vec::new(),
            };
            let mut out = Vec::new();
            assert_eq!(form.write_error(&mut out, &error), ending);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.ends_with("0\r\n\r\n"), ending == Ending::Complete);
            assert_eq!(text.is_empty(), mark.is_none());
            assert!(mark.is_none_or(|mark| text.contains(mark)), "{text}");
        }
    }
}
