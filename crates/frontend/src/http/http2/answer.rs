//! The way of an answer to its client, as fast as the client takes it.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout_at;

use super::super::exchange::Door;
use super::super::limits::{Limits, Pace};
use super::super::parts::STEP;
use super::super::response::Response;
use super::call::Gone;

/// Headers that belong to a connection of HTTP/1 (RFC 9113 §8.2.2).
const OF_HTTP1: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// The head of an answer, its length included if it is not to come in parts.
pub(super) fn head(
    response: &Response,
    id: &str,
    door: &Door,
    in_parts: bool,
) -> http::Response<()> {
    // Written and read back: whatever belongs into a head is written in one place for all
    // versions, and HTTP/1 has no slower way to write it.
    let mut text = Vec::with_capacity(512);
    if in_parts {
        response.write_stream_head(&mut text, Some(id), &door.cors, false, false);
    } else {
        response.write_head(&mut text, Some(id), &door.cors, false);
    }
    let mut head = bare(response.status());
    for line in text.split(|&byte| byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let value = line[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(value),
        ) && !OF_HTTP1.contains(&name.as_str())
        {
            head.headers_mut().append(name, value);
        }
    }
    head
}

/// A head that is nothing but a status.
pub(super) fn bare(status: u16) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    head
}

/// Sends an answer that is nothing but a head.
pub(super) fn send_head(
    respond: &mut SendResponse<Bytes>,
    head: http::Response<()>,
) -> Result<(), Gone> {
    respond.send_response(head, true).map_err(|_| Gone)?;
    Ok(())
}

/// The body of an answer on its way. One that is dropped unfinished ends, behind what has been sent
/// of it, with `RST_STREAM` (CANCEL), so that nobody takes it for complete.
pub(super) struct Outlet {
    stream: SendStream<Bytes>,
    pace: Pace,
}

impl Outlet {
    /// Sends the head; the body has to move as `limits` say, in windows of `progress`.
    pub(super) fn open(
        respond: &mut SendResponse<Bytes>,
        head: http::Response<()>,
        limits: &Limits,
        progress: Duration,
    ) -> Result<Self, Gone> {
        let limits = Limits {
            progress,
            ..*limits
        };
        Ok(Self {
            stream: respond.send_response(head, false).map_err(|_| Gone)?,
            pace: Pace::start(&limits),
        })
    }

    /// Sends a part as the client makes room for it, and tells `moved` of each step.
    pub(super) async fn send_part(
        &mut self,
        mut data: Bytes,
        mut moved: impl FnMut(),
    ) -> Result<(), Gone> {
        if !data.is_empty() {
            self.pace.restart();
        }
        while !data.is_empty() {
            let room = self.room(data.len().min(STEP)).await?;
            self.put(&mut data, room, false)?;
            moved();
        }
        Ok(())
    }

    /// Sends a whole body, which is not empty.
    pub(super) async fn send_whole(mut self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let room = self.room(data.len()).await?;
            self.put(&mut data, room, true)?;
        }
        Ok(())
    }

    /// Sends as much of `data` as there is `room` for.
    fn put(&mut self, data: &mut Bytes, room: usize, ends: bool) -> Result<(), Gone> {
        let piece = data.split_to(room.min(data.len()));
        self.pace.moved(piece.len());
        let is_last = ends && data.is_empty();
        self.stream.send_data(piece, is_last).map_err(|_| Gone)
    }

    /// Waits for some room.
    async fn room(&mut self, wanted: usize) -> Result<usize, Gone> {
        self.stream.reserve_capacity(wanted);
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Ok(room);
            }
            let more = poll_fn(|context| self.stream.poll_capacity(context));
            match timeout_at(self.pace.deadline().into(), more).await {
                Ok(Some(Ok(_))) => {}
                Ok(None | Some(Err(_))) => return Err(Gone),
                Err(_) => {
                    // A client that does not read: others of its connection may.
                    self.stream.send_reset(Reason::CANCEL);
                    return Err(Gone);
                }
            }
        }
    }

    /// Ends a body of parts.
    pub(super) fn finish(mut self) -> Result<(), Gone> {
        self.stream.send_data(Bytes::new(), true).map_err(|_| Gone)
    }

    /// Ready when the client wants no more of it.
    pub(super) fn poll_gone(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        self.stream.poll_reset(context).map(|_| ())
    }
}
