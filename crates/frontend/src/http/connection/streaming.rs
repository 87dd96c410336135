//! A reply in parts: every part goes out as soon as the handler has sent it.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::exchange::{Exchange, JOINED_REPLY};
use super::super::parts::{Ending, Form, STEP};
use super::{Connection, End};
use crate::error::Error;
use crate::ingress::Reset;
use crate::service::ReplyStream;

impl<S: AsyncRead + AsyncWrite + Reset + Unpin + Send> Connection<S> {
    /// Sends a reply in parts and logs it at its first one, as the original does.
    pub(super) async fn send_stream(
        &mut self,
        mut stream: ReplyStream,
        exchange: &mut Exchange,
        has_head: bool,
    ) -> Result<(), End> {
        let head = self.view(has_head);
        let is_chunked = head.protocol() != "HTTP/1.0";
        let is_head_request = head.method() == "HEAD";
        let mut form = Form::new(&stream, &head, is_chunked);
        let response = self.door.stream_head(exchange, &mut stream, &form);
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
