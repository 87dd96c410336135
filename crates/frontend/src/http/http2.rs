//! HTTP/2 on the REST listeners: one connection, its requests side by side.
//!
//! Framing, header compression and flow control are those of the `h2` crate, which gRPC runs on too.
//! What a request means is in `exchange.rs`, as for HTTP/1; this file is about when a connection
//! ends. `docs/adr/0009-http2.md` says how clients reach it and what they are kept from.

mod answer;
mod call;
mod intake;
mod prefixed;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection as Frames, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use self::call::Gone;
use self::prefixed::Prefixed;
use super::connection::Prelude;
use super::exchange::Door;

/// Requests that may run at once on one connection; clients keep further ones back.
const MAX_STREAMS: u32 = 256;
/// Bytes that a client may send ahead, per request and per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Bytes of answers that wait, per request, for a connection that takes no more.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of one request's headers, as RFC 9113 §6.5.2 counts them; more are answered with 431.
const MAX_HEADERS: u32 = 16 << 10;
/// How often a client is asked whether it is still there, and how long it may take to say.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// Requests that a client may give up in a row, and how soon it may give up one more.
const GIVEN_UP: u32 = 1000;
const GIVEN_UP_EVERY: Duration = Duration::from_millis(30);

/// Serves one connection until it ends.
pub(super) async fn serve<S>(
    prelude: Prelude<S>,
    door: Arc<Door>,
    remote: Arc<str>,
    shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS);
    let handshake = builder.handshake(Prefixed::new(prelude));
    let mut stopping = shutdown.clone();
    let begun = tokio::select! {
        begun = timeout(door.limits.head, handshake) => begun,
        _ = stopping.wait_for(|stops| *stops) => return,
    };
    let mut frames = match begun {
        Ok(Ok(frames)) => frames,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "HTTP/2 did not begin as it should");
            return;
        }
        Err(_) => return,
    };
    let silence = silence(frames.ping_pong());
    let mut connection = Connection {
        frames,
        calls: JoinSet::new(),
        patience: door.limits.idle,
        end: Instant::now() + door.limits.idle,
        is_leaving: false,
        mercy: Mercy::new(),
        door,
        remote,
    };
    connection.run(shutdown, silence).await;
    // Whoever waits for a model learns from the lost connection that nobody wants the answer;
    // operations go on to their end.
    let Connection {
        frames, mut calls, ..
    } = connection;
    drop(frames);
    while calls.join_next().await.is_some() {}
}

/// One request, as it comes.
type Call = (Request<RecvStream>, SendResponse<Bytes>);

struct Connection<S> {
    frames: Frames<S, Bytes>,
    /// Requests that are being answered.
    calls: JoinSet<Result<(), Gone>>,
    /// How long it may stay open without requests.
    patience: Duration,
    /// When it ends, if there are no requests until then.
    end: Instant,
    /// Whether the client has been told to send nothing new here.
    is_leaving: bool,
    mercy: Mercy,
    door: Arc<Door>,
    remote: Arc<str>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(
        &mut self,
        mut shutdown: watch::Receiver<bool>,
        silence: impl Future<Output = ()>,
    ) {
        let mut silence = pin!(silence);
        let mut timer = pin!(sleep_until(self.end));
        let door = Arc::clone(&self.door);
        loop {
            let is_full = self.calls.len() >= MAX_STREAMS as usize;
            let frames = &mut self.frames;
            tokio::select! {
                biased;
                Some(outcome) = self.calls.join_next() => {
                    self.note(matches!(outcome, Ok(Err(Gone))));
                    self.set_timer(timer.as_mut());
                }
                call = poll_fn(|context| poll_next(frames, is_full, context)) => match call {
                    Some(Ok((request, respond))) => {
                        let (door, remote) = (Arc::clone(&door), Arc::clone(&self.remote));
                        self.calls.spawn(call::answer(door, remote, request, respond));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(remote = %self.remote, %error, "an HTTP/2 connection ended badly");
                        return;
                    }
                    None => return,
                },
                // A sender that is gone means the same as a stop.
                _ = shutdown.wait_for(|stops| *stops), if !self.is_leaving => {
                    self.leave();
                    self.set_timer(timer.as_mut());
                }
                () = timer.as_mut(), if self.calls.is_empty() => {
                    if Instant::now() >= self.end {
                        if self.is_leaving {
                            return;
                        }
                        self.leave();
                    }
                    timer.as_mut().reset(self.end);
                }
                () = silence.as_mut() => {
                    tracing::debug!(remote = %self.remote, "an HTTP/2 client has fallen silent");
                    return;
                }
            }
        }
    }

    /// Tells the client to send nothing new here. What runs goes on.
    fn leave(&mut self) {
        self.is_leaving = true;
        self.frames.graceful_shutdown();
        // Long enough for the client to take note, and to read what is under way.
        self.patience = self.door.limits.linger;
        self.end = Instant::now() + self.patience;
    }

    /// Takes note that a request is over.
    fn note(&mut self, is_given_up: bool) {
        self.end = Instant::now() + self.patience;
        if is_given_up && !self.mercy.is_left() {
            tracing::warn!(
                remote = %self.remote,
                "a client that keeps giving up requests it has just sent is sent away"
            );
            self.leave();
            self.frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Moves the timer where it would fire too late. Where it fires too early it is set again.
    fn set_timer(&self, timer: Pin<&mut Sleep>) {
        if self.end < timer.deadline() {
            timer.reset(self.end);
        }
    }
}

/// The next request; `None` when the connection is over. While it `is_full` its frames are moved,
/// but nothing new is begun: the rest waits, and what is given up meanwhile counts for `h2`.
fn poll_next<S: AsyncRead + AsyncWrite + Unpin>(
    frames: &mut Frames<S, Bytes>,
    is_full: bool,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Call, h2::Error>>> {
    if is_full {
        let ended = frames.poll_closed(context);
        ended.map(|ended| ended.err().map(Err))
    } else {
        frames.poll_accept(context)
    }
}

/// Returns when the client does not answer any more.
async fn silence(pings: Option<PingPong>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(PING_INTERVAL).await;
        let pong = timeout(PING_PATIENCE, pings.ping(Ping::opaque())).await;
        if !matches!(pong, Ok(Ok(_))) {
            return;
        }
    }
}

/// How many more requests a client may give up. Beginning one costs it less than it costs the
/// server (CVE-2023-44487).
struct Mercy {
    left: u32,
    counted: Instant,
}

impl Mercy {
    fn new() -> Self {
        Self {
            left: GIVEN_UP,
            counted: Instant::now(),
        }
    }

    /// Counts one; whether that was not one too many.
    fn is_left(&mut self) -> bool {
        let earned = self.counted.elapsed().as_nanos() / GIVEN_UP_EVERY.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(GIVEN_UP);
            self.counted = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mercy_ends_and_is_earned_back() {
        let mut mercy = Mercy::new();
        let borne = (0..2 * GIVEN_UP).take_while(|_| mercy.is_left()).count();
        // A slow machine may earn some on the way.
        assert!((999..1500).contains(&borne), "{borne}");
        mercy.counted -= GIVEN_UP_EVERY * 10;
        let more = (0..GIVEN_UP).take_while(|_| mercy.is_left()).count();
        assert!((5..500).contains(&more), "{more}");
    }
}
