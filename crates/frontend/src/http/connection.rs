//! One connection: requests in, answers out, in order.
//!
//! Parsing is in `head.rs` and `chunked.rs`, bytes and deadlines in `wire.rs`, reading requests in
//! `intake.rs`, rules in the services; this file is the order of events. `docs/adr/0001-http-connection-loop.md` says why
//! there is a loop of our own.

mod intake;
mod streaming;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::intake::{Failure, Place};
use super::answer::Answer;
use super::authorization;
use super::exchange::{self, Door, Exchange, JOINED_REPLY, Rejection};
use super::head::{Expect, Head, HeadView};
use super::response::Response;
use super::routes::Payload;
use super::wire::{DISCARD_LIMIT, Wire, WireError};
use crate::error::Error;
use crate::ingress::Reset;
use crate::service::{Begun, Client, PendingReply};

/// Memory for bodies and replies that is kept between requests.
const KEPT_MEMORY: usize = 64 * 1024;
/// How HTTP/2 begins, as far as it looks like the head of a request (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// What the access log shows for a request that could not be parsed.
pub(super) const BAD_REQUEST: (&str, &str, &str) = ("GET", "/bad-request", "HTTP/1.0");

/// A connection whose client begins to speak HTTP/2 (RFC 9113 §3.3).
pub(super) struct Prelude<S> {
    /// The connection.
    pub(super) stream: S,
    /// What has been read of it: all from its first byte on.
    pub(super) read: Vec<u8>,
}

/// Serves one connection until it ends, or until its first words turn out to be HTTP/2.
pub(super) async fn serve<S>(
    stream: S,
    door: Arc<Door>,
    remote: Arc<str>,
    shutdown: watch::Receiver<bool>,
) -> Option<Prelude<S>>
where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send,
{
    let mut stopping = shutdown.clone();
    let surface = &door.surface;
    let connection = Connection {
        wire: Wire::new(stream, door.limits),
        head: Head::default(),
        kept_head: Vec::new(),
        client: surface
            .connector
            .inference
            .then(|| surface.services.inference.connect()),
        body: Vec::new(),
        out: Vec::new(),
        door,
        remote,
        shutdown,
        stop: Box::pin(async move {
            // A sender that is gone means the same as a stop.
            let _ = stopping.wait_for(|stops| *stops).await;
        }),
    };
    connection.run().await
}

struct Connection<S> {
    wire: Wire<S>,
    head: Head,
    /// The bytes of the head, when the buffer had to move on for the body.
    kept_head: Vec<u8>,
    /// Its place among those who may send requests for models.
    client: Option<Client>,
    /// A body in the server's memory.
    body: Vec<u8>,
    /// Answers that are not written yet.
    out: Vec<u8>,
    door: Arc<Door>,
    remote: Arc<str>,
    shutdown: watch::Receiver<bool>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client is gone: there is nobody to talk to.
    Gone,
    /// Everything has been said.
    Said,
    /// The client speaks HTTP/2.
    Http2,
}

impl From<WireError> for End {
    fn from(_: WireError) -> Self {
        Self::Gone
    }
}

impl<S: AsyncRead + AsyncWrite + Reset + Unpin + Send> Connection<S> {
    async fn run(mut self) -> Option<Prelude<S>> {
        let mut is_first = true;
        loop {
            let mut outcome = self.exchange().await;
            if outcome == Err(End::Http2) && !is_first {
                outcome = self.fail(Failure::Malformed, &Exchange::new(), None).await;
            }
            match outcome {
                Ok(()) => is_first = false,
                Err(End::Gone) => return None,
                Err(End::Said) => {
                    self.wire.close().await;
                    return None;
                }
                Err(End::Http2) => return Some(self.wire.into_prelude()),
            }
        }
    }

    /// Reads one request and answers it.
    async fn exchange(&mut self) -> Result<(), End> {
        let parsed = match self.read_head().await {
            Ok(length) => self
                .head
                .parse(&self.wire.buffer.data()[..length])
                .map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        let mut exchange = Exchange::new();
        if let Err(failure) = parsed {
            // To HTTP/1 the preface is a request of an unknown version: telling it apart here
            // costs other requests nothing.
            if self.wire.buffer.data().starts_with(PREFACE) {
                return Err(End::Http2);
            }
            return self.fail(failure, &exchange, None).await;
        }
        let head = self.view(true);
        self.door.identify(&mut exchange, &self.remote, &head);
        let length = match self.door.announced(&self.head) {
            Ok(length) => length,
            Err(Rejection::Size(Some(length))) => return self.reject_length(length).await,
            Err(rejection) => return self.reject(rejection).await,
        };
        let admitted = authorization::check(&self.door.surface, &head);
        let mut place = match admitted.and_then(|()| self.place(length)) {
            Ok(place) => place,
            Err(error) => {
                // The body is not read: whoever sends it learns that from the end of the
                // connection.
                let response = Response::error(&error);
                return self.send(&response, &exchange, true, true).await;
            }
        };
        if self.head.expect == Expect::Continue {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.flush().await?;
        }
        if let Err(failure) = self.read_body(&mut place, length).await {
            return self.fail(failure, &exchange, Some(place.has_head())).await;
        }
        let has_head = place.has_head();
        let used = match place {
            Place::Buffer(length) => self.head.len + length,
            _ => 0,
        };
        let response = match self.answer(place, &exchange) {
            Ok(Answer::Now(response)) => Some(response),
            Ok(Answer::Later(work)) => {
                self.flush().await?;
                Some(work.await)
            }
            Ok(Answer::Reply(pending)) => {
                self.flush().await?;
                match self.await_reply(pending).await? {
                    Ok(Begun::Whole(reply)) => Some(self.door.reply(&mut exchange, reply)),
                    Ok(Begun::Stream(stream)) => {
                        self.send_stream(*stream, &mut exchange, has_head).await?;
                        None
                    }
                    Err(error) => Some(Response::error(&error)),
                }
            }
            Ok(Answer::Tensors(pending, asked)) => {
                self.flush().await?;
                let begun = self.await_reply(pending).await?;
                Some(self.door.tensors(&mut exchange, &asked, begun).await)
            }
            Err(error) => Some(Response::error(&error)),
        };
        if let Some(response) = response {
            self.send(&response, &exchange, has_head, false).await?;
        }
        self.wire.buffer.consume(used);
        if self.body.capacity() > KEPT_MEMORY {
            self.body = Vec::new();
        }
        // More of the client's requests are here already: their answers travel together.
        if self.wire.buffer.data().is_empty() || self.out.len() >= JOINED_REPLY {
            self.flush().await?;
        }
        Ok(())
    }

    /// The current head with its bytes.
    fn view(&self, is_in_buffer: bool) -> HeadView<'_> {
        self.head.view(if is_in_buffer {
            self.wire.buffer.data()
        } else {
            &self.kept_head
        })
    }

    /// Hands the request to its route.
    fn answer(&self, place: Place, exchange: &Exchange) -> Result<Answer, Error> {
        let head = self.view(place.has_head());
        let payload = match place {
            Place::Buffer(length) => {
                let start = self.head.len;
                Payload::Bytes(&self.wire.buffer.data()[start..start + length])
            }
            Place::Heap => Payload::Bytes(&self.body),
            Place::Arena(model, block) => Payload::Arena { model, block },
            Place::Nowhere => Payload::Bytes(&[]),
        };
        let client = self.client.as_ref();
        self.door.answer(head, payload, exchange, client)
    }

    /// Waits for a model. A client that leaves meanwhile cancels its request.
    async fn await_reply(
        &mut self,
        mut pending: PendingReply,
    ) -> Result<Result<Begun, Error>, End> {
        let wire = &mut self.wire;
        let mut reply = pin!(pending.begin());
        let mut has_ended = false;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = reply.as_mut().poll(context) {
                return Poll::Ready(Ok(outcome));
            }
            wire.poll_gone(context, &mut has_ended)
                .map(|()| Err(End::Gone))
        })
        .await
    }

    /// Queues a response behind earlier ones and logs it; a large one is written at once.
    async fn send(
        &mut self,
        response: &Response,
        exchange: &Exchange,
        has_head: bool,
        must_close: bool,
    ) -> Result<(), End> {
        let head = self.view(has_head);
        let is_head_request = head.method() == "HEAD";
        self.log(
            (head.method(), head.target(), head.protocol()),
            response.status(),
            exchange,
        );
        let body = if is_head_request || response.is_bodiless() {
            &[][..]
        } else {
            &response.body()[..]
        };
        self.render(response, body, exchange, must_close).await
    }

    async fn render(
        &mut self,
        response: &Response,
        body: &[u8],
        exchange: &Exchange,
        must_close: bool,
    ) -> Result<(), End> {
        // The original says keep-alive below 400 and closes from there on, whatever was asked for.
        let closes = must_close || response.status() >= 400 || *self.shutdown.borrow();
        let id = Some(exchange.id());
        response.write_head(&mut self.out, id, &self.door.cors, closes);
        if body.len() <= JOINED_REPLY {
            self.out.extend_from_slice(body);
        } else {
            self.wire.write_all(&self.out, body).await?;
            self.out.clear();
        }
        if closes {
            self.flush().await?;
            return Err(End::Said);
        }
        Ok(())
    }

    /// Ends a connection on which no request could be read, with an answer where one helps.
    async fn fail(
        &mut self,
        failure: Failure,
        exchange: &Exchange,
        has_head: Option<bool>,
    ) -> Result<(), End> {
        let error = match failure {
            Failure::End(end) => return Err(end),
            Failure::TooLarge => return self.reject(Rejection::Size(None)).await,
            Failure::Malformed => exchange::malformed(),
            Failure::TooSlow => exchange::too_slow(),
        };
        let response = Response::error(&error);
        if let Some(has_head) = has_head {
            return self.send(&response, exchange, has_head, true).await;
        }
        self.log(BAD_REQUEST, response.status(), exchange);
        let body = response.body();
        self.render(&response, body, exchange, true).await
    }

    /// Refuses a request by its declared length. The connection stays usable when the client has
    /// sent, or will send, the body anyway and means to go on.
    async fn reject_length(&mut self, length: u64) -> Result<(), End> {
        if self.head.expect == Expect::Continue
            || self.head.wants_close
            || length > DISCARD_LIMIT
            || *self.shutdown.borrow()
        {
            return self.reject(Rejection::Size(Some(length))).await;
        }
        self.out.extend_from_slice(
            b"HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n",
        );
        self.flush().await?;
        self.wire.buffer.consume(self.head.len);
        self.wire.discard(length).await?;
        Ok(())
    }

    /// Refuses a request in the bare form of the original, without log line, and closes.
    async fn reject(&mut self, rejection: Rejection) -> Result<(), End> {
        let line = match rejection {
            Rejection::Size(_) => "HTTP/1.1 413 Request Entity Too Large",
            Rejection::Expectation => "HTTP/1.1 417 Expectation Failed",
        };
        self.out.extend_from_slice(line.as_bytes());
        self.out
            .extend_from_slice(b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        self.flush().await?;
        Err(End::Said)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if !self.out.is_empty() {
            self.wire.write_all(&self.out, &[]).await?;
            self.out.clear();
            self.out.shrink_to(KEPT_MEMORY);
        }
        Ok(())
    }

    fn log(&self, line: (&str, &str, &str), status: u16, exchange: &Exchange) {
        self.door.log(&self.remote, line, status, exchange);
    }
}
