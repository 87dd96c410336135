//! One request of an HTTP/2 connection: the order of events, as `connection.rs` is for HTTP/1.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;

use super::super::answer::Answer;
use super::super::authorization;
use super::super::connection::BAD_REQUEST;
use super::super::exchange::{self, Door, Exchange, Rejection, SMALL_BODY};
use super::super::head::{Expect, Head, HeadView};
use super::super::parts::{Ending, Form};
use super::super::response::Response;
use super::answer::{self, Outlet};
use super::intake::{self, Failure, Place};
use crate::error::Error;
use crate::service::{Begun, PendingReply, ReplyStream};

/// The client has given its request up, or is gone altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Answers one request.
pub(super) async fn answer(
    door: Arc<Door>,
    remote: Arc<str>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Result<(), Gone> {
    let exchange = Exchange::new();
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    let parsed = Head::of_http2(&parts, !body.is_end_stream(), &mut bytes);
    drop(parts);
    let mut call = Call {
        door: &door,
        remote: &remote,
        exchange,
        respond,
    };
    let Ok(head) = parsed else {
        return call
            .send(&Response::error(&exchange::malformed()), None)
            .await;
    };
    door.identify(&mut call.exchange, &remote, &head.view(&bytes));
    let length = match door.announced(&head) {
        Ok(length) => length,
        Err(rejection) => return call.reject(rejection),
    };
    let expect = head.expect;
    let head = head.view(&bytes);
    let admitted = authorization::check(&door.surface, &head).and_then(|()| match length {
        Some(length) if length > SMALL_BODY => door.destination(&head, length).map(Place::from),
        _ => Ok(Place::Heap(Vec::new())),
    });
    let mut place = match admitted {
        Ok(place) => place,
        // The body is not read: the client learns from the end of the stream that nobody does.
        Err(error) => return call.send(&Response::error(&error), Some(head)).await,
    };
    if expect == Expect::Continue {
        let go_on = call.respond.send_informational(answer::bare(100));
        go_on.map_err(|_| Gone)?;
    }
    let largest = door.max_request_size;
    let error = match intake::read(&mut body, &mut place, largest, &door.limits).await {
        Ok(()) => None,
        Err(Failure::Gone) => return Err(Gone),
        Err(Failure::TooLarge) => return call.reject(Rejection::Size(None)),
        Err(Failure::Malformed) => Some(exchange::malformed()),
        Err(Failure::TooSlow) => Some(exchange::too_slow()),
    };
    if let Some(error) = error {
        return call.send(&Response::error(&error), Some(head)).await;
    }
    let mut read = Vec::new();
    // It is not known who else may send something: one connection carries many requests.
    let answer = door.answer(head, place.payload(&mut read), &call.exchange, None);
    drop(read);
    let response = match answer {
        Ok(Answer::Now(response)) => response,
        Ok(Answer::Later(work)) => work.await,
        Ok(Answer::Reply(pending)) => match call.await_reply(pending).await? {
            Ok(Begun::Whole(reply)) => door.reply(&mut call.exchange, reply),
            Ok(Begun::Stream(stream)) => return call.send_stream(*stream, head).await,
            Err(error) => Response::error(&error),
        },
        Ok(Answer::Tensors(pending, asked)) => {
            let begun = call.await_reply(pending).await?;
            door.tensors(&mut call.exchange, &asked, begun).await
        }
        Err(error) => Response::error(&error),
    };
    call.send(&response, Some(head)).await
}

struct Call<'a> {
    door: &'a Door,
    remote: &'a str,
    exchange: Exchange,
    respond: SendResponse<Bytes>,
}

impl Call<'_> {
    /// Waits for a model. A client that gives up meanwhile cancels its request.
    async fn await_reply(
        &mut self,
        mut pending: PendingReply,
    ) -> Result<Result<Begun, Error>, Gone> {
        let respond = &mut self.respond;
        let mut reply = pin!(pending.begin());
        poll_fn(|context| {
            if let Poll::Ready(outcome) = reply.as_mut().poll(context) {
                return Poll::Ready(Ok(outcome));
            }
            respond.poll_reset(context).map(|_| Err(Gone))
        })
        .await
    }

    /// Sends a whole answer and logs it; without a head of the request for one that had none.
    async fn send(
        &mut self,
        response: &Response,
        request: Option<HeadView<'_>>,
    ) -> Result<(), Gone> {
        self.log(response.status(), request);
        let is_head_request = request.is_some_and(|head| head.method() == "HEAD");
        let head = answer::head(response, self.exchange.id(), self.door, false);
        let body = response.body();
        if is_head_request || response.is_bodiless() || body.is_empty() {
            return answer::send_head(&mut self.respond, head);
        }
        let limits = &self.door.limits;
        let outlet = Outlet::open(&mut self.respond, head, limits, limits.progress)?;
        outlet.send_whole(body.clone()).await
    }

    /// Sends a reply in parts and logs it at its first one, as for HTTP/1.
    async fn send_stream(
        &mut self,
        mut stream: ReplyStream,
        request: HeadView<'_>,
    ) -> Result<(), Gone> {
        let mut form = Form::new(&stream, &request, false);
        let response = self
            .door
            .stream_head(&mut self.exchange, &mut stream, &form);
        if !response.body().is_empty() {
            // The handler's status cannot be sent, which has become an error.
            return self.send(&response, Some(request)).await;
        }
        self.log(response.status(), Some(request));
        let head = answer::head(&response, self.exchange.id(), self.door, true);
        if request.method() == "HEAD" || response.is_bodiless() {
            return answer::send_head(&mut self.respond, head);
        }
        let window = self.door.surface.services.config.stream_stall_timeout;
        let mut outlet = Outlet::open(&mut self.respond, head, &self.door.limits, window)?;
        match self.send_parts(&mut outlet, &mut stream, &mut form).await? {
            Ending::Complete => outlet.finish(),
            Ending::Broken => Ok(()),
        }
    }

    async fn send_parts(
        &self,
        outlet: &mut Outlet,
        stream: &mut ReplyStream,
        form: &mut Form,
    ) -> Result<Ending, Gone> {
        loop {
            let mut data = Vec::new();
            let ending = match await_part(outlet, stream).await? {
                Some(Ok(part)) if form.is_plain() => {
                    outlet.send_part(part, || stream.note_progress()).await?;
                    continue;
                }
                Some(Ok(part)) => {
                    form.write_part(&mut data, &part);
                    None
                }
                Some(Err(error)) => {
                    let id = self.exchange.id();
                    tracing::warn!(id, %error, "a stream has failed after its first part");
                    Some(form.write_error(&mut data, &error))
                }
                None => Some(form.write_end(&mut data)),
            };
            outlet
                .send_part(data.into(), || stream.note_progress())
                .await?;
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    /// Refuses a request in the bare form of the original.
    fn reject(&mut self, rejection: Rejection) -> Result<(), Gone> {
        answer::send_head(&mut self.respond, answer::bare(rejection.status()))
    }

    fn log(&self, status: u16, request: Option<HeadView<'_>>) {
        let line = request.map_or(BAD_REQUEST, |head| {
            (head.method(), head.target(), head.protocol())
        });
        self.door.log(self.remote, line, status, &self.exchange);
    }
}

/// Waits for a part. A client that gives up meanwhile ends its stream.
async fn await_part(
    outlet: &mut Outlet,
    stream: &mut ReplyStream,
) -> Result<Option<Result<Bytes, Error>>, Gone> {
    poll_fn(|context| {
        if let Poll::Ready(part) = stream.poll_next(context) {
            return Poll::Ready(Ok(part));
        }
        outlet.poll_gone(context).map(|()| Err(Gone))
    })
    .await
}
