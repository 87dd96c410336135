//! A reply in parts: every part goes out as soon as the handler has sent it.
//!
//! Its parts are chunks for HTTP/1.1, and bytes until the connection is closed for HTTP/1.0. A
//! client that asks for server-sent events gets an event per part. A stream that fails after its
//! first part cannot be answered with an error any more: events say so in an event of their own,
//! everything else breaks the connection off, so that no client takes half an answer for a whole one.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::events::{self, Events};
use super::super::response::Response;
use super::{Connection, End, Exchange, JOINED_REPLY};
use crate::error::Error;
use crate::ingress::Reset;
use crate::service::ReplyStream;

/// Bytes that are written before the client is said to have taken something.
const STEP: usize = 64 * 1024;

/// How the parts of one stream look on the wire.
#[derive(Debug)]
struct Form {
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
enum Ending {
    /// As it should.
    Complete,
    /// In the middle; the client must not take it for complete.
    Broken,
}

impl Form {
    fn write_part(&mut self, out: &mut Vec<u8>, part: &[u8]) {
        if let Some(events) = &mut self.events {
            self.event.clear();
            events.write_part(&mut self.event, part);
            frame(out, &self.event, self.is_chunked);
        } else {
            frame(out, part, self.is_chunked);
        }
    }

    fn write_end(&mut self, out: &mut Vec<u8>) -> Ending {
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

    fn write_error(&mut self, out: &mut Vec<u8>, error: &Error) -> Ending {
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

impl<S: AsyncRead + AsyncWrite + Reset + Unpin + Send> Connection<S> {
    /// Sends a reply in parts and logs it at its first one, as the original does.
    pub(super) async fn send_stream(
        &mut self,
        mut stream: ReplyStream,
        exchange: &Exchange,
        has_head: bool,
    ) -> Result<(), End> {
        let head = self.view(has_head);
        let is_chunked = head.protocol() != "HTTP/1.0";
        let is_head_request = head.method() == "HEAD";
        let has_own_events = stream.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && events::is_type(value)
        });
        let makes_events = !has_own_events && events::are_wanted(&head);
        let mut response = Response::stream(&mut stream, makes_events);
        response.set_timing(self.timing(exchange));
        if !response.body().is_empty() {
            // The handler's status cannot be sent, which has become an error.
            return self.send(&response, exchange, has_head, false).await;
        }
        self.log(
            (head.method(), head.target(), head.protocol()),
            response.status(),
            exchange,
        );
        let closes = response.status() >= 400 || !is_chunked || *self.shutdown.borrow();
        let id = Some(exchange.id());
        response.write_stream_head(&mut self.out, id, &self.door.cors, is_chunked, closes);
        if !is_head_request && !response.is_bodiless() {
            let mut form = Form {
                is_chunked,
                events: makes_events.then(Events::default),
                has_own_events,
                event: Vec::new(),
            };
            let window = self.door.surface.services.config.stream_stall_timeout;
            let usual = self.wire.set_progress(window);
            let ending = self.write_parts(&mut stream, &mut form, exchange).await;
            self.wire.set_progress(usual);
            if ending? == Ending::Broken {
                if !is_chunked {
                    // Nothing else tells this from the end of the answer.
                    self.wire.abort();
                }
                return Err(End::Gone);
            }
        }
        if closes {
            self.flush().await?;
            return Err(End::Said);
        }
        Ok(())
    }

    async fn write_parts(
        &mut self,
        stream: &mut ReplyStream,
        form: &mut Form,
        exchange: &Exchange,
    ) -> Result<Ending, End> {
        loop {
            let ready = poll_fn(|context| match stream.poll_next(context) {
                Poll::Ready(part) => Poll::Ready(Some(part)),
                Poll::Pending => Poll::Ready(None),
            });
            let part = if let Some(part) = ready.await {
                part
            } else {
                self.flush_to(stream).await?;
                self.await_part(stream).await?
            };
            match part {
                Some(Ok(part)) => form.write_part(&mut self.out, &part),
                Some(Err(error)) => {
                    let id = exchange.id();
                    tracing::warn!(id, %error, "a stream has failed after its first part");
                    let ending = form.write_error(&mut self.out, &error);
                    self.flush_to(stream).await?;
                    return Ok(ending);
                }
                None => return Ok(form.write_end(&mut self.out)),
            }
            // What is there already travels together.
            if self.out.len() >= JOINED_REPLY {
                self.flush_to(stream).await?;
            }
        }
    }

    /// Waits for a part. A client that leaves meanwhile ends its stream; one that has only closed
    /// its half shows by taking the next part that it is still there.
    async fn await_part(
        &mut self,
        stream: &mut ReplyStream,
    ) -> Result<Option<Result<Bytes, Error>>, End> {
        let wire = &mut self.wire;
        let mut has_ended = false;
        poll_fn(|context| {
            if let Poll::Ready(part) = stream.poll_next(context) {
                return Poll::Ready(Ok(part));
            }
            wire.poll_gone(context, &mut has_ended)
                .map(|()| Err(End::Gone))
        })
        .await
    }

    /// Writes what is there, and tells the stream that its client takes it.
    async fn flush_to(&mut self, stream: &ReplyStream) -> Result<(), End> {
        for step in self.out.chunks(STEP) {
            self.wire.write_all(step, &[]).await?;
            stream.note_progress();
        }
        self.out.clear();
        self.out.shrink_to(super::KEPT_MEMORY);
        Ok(())
    }
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
