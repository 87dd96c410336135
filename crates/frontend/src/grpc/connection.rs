//! One HTTP/2 connection: its settings, its age, its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::call::{self, Door};

/// Calls that may run at once on one connection; clients keep further ones back.
const MAX_STREAMS: u32 = 1000;
/// Bytes that a client may send ahead, per call and per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Bytes of answers that wait, per call, for a client that reads slowly.
const SEND_BUFFER: usize = 256 << 10;
/// Bytes of one request's metadata.
const MAX_METADATA: u32 = 16 << 10;
/// How often a silent client is asked whether it is still there, and how long it may take to say.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How old a connection may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    /// When the client is asked to open another one.
    pub(super) limit: Option<Duration>,
    /// What calls that run get then; `None` = as long as they take.
    pub(super) grace: Option<Duration>,
}

/// Serves one connection until it ends.
pub(super) async fn serve<S>(
    stream: S,
    remote: Arc<str>,
    age: Age,
    door: Arc<Door>,
    mut shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::clone(&remote);
    let service = service_fn(move |request| {
        let (door, remote) = (Arc::clone(&door), Arc::clone(&remote));
        async move { Ok::<_, Infallible>(call::answer(&door, remote, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_METADATA)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        // A sender that is gone means the same as a stop.
        _ = shutdown.wait_for(|stops| *stops) => None,
        () = lapse(age.limit) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        // The client is told to send nothing new here; what runs goes on.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended,
            () = lapse(age.grace) => Ok(()),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(remote = %peer, %error, "a gRPC connection ended badly");
    }
}

/// Returns when the time is over; never without a time.
async fn lapse(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
