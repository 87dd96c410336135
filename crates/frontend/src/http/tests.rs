//! The listeners over real sockets, without models: framing, limits, deadlines, ending.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::{Address, Config};
use crate::model::runtime_dir::RuntimeDir;
use crate::service::{Services, TokenService};
use crate::telemetry::Telemetry;
use crate::worker::WorkerEnvironment;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: t\r\n\r\n";

struct Server {
    port: u16,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(limits: Limits) -> Self {
        Self::start_at(limits, None)
    }

    fn start_at(limits: Limits, socket: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let any_port = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
            tls: false,
        };
        let config = Arc::new(Config {
            inference_address: socket.map_or(any_port.clone(), Address::Unix),
            management_address: any_port,
            metrics_address: None,
            max_request_size: 100_000,
            temp_dir: folder.path().to_owned(),
            ..Config::default()
        });
        let runtime_dir = RuntimeDir::create(folder.path()).unwrap();
        let environment =
            WorkerEnvironment::new(&config, PathBuf::from("python3"), runtime_dir.boot());
        let services = Services::new(
            Arc::clone(&config),
            Telemetry::disabled(),
            runtime_dir,
            environment,
            TokenService::off(),
        );
        let listeners = bind(&config).unwrap().with_limits(limits);
        let port = listeners
            .addresses()
            .inference
            .map_or(0, |address| address.port());
        let (stop, stopping) = watch::channel(false);
        Self {
            port,
            stop,
            serving: tokio::spawn(listeners.serve(services, stopping)),
            _folder: folder,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends all pieces and reads until the server closes.
    async fn exchange(&self, pieces: &[&[u8]]) -> String {
        let mut stream = self.connect().await;
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        read_to_end(&mut stream).await
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(answer).unwrap()
}

/// Sends a request and reads one answer of known length.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_one(stream).await
}

async fn read_one(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut body))
        .await
        .unwrap()
        .unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn request_id(answer: &str) -> &str {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    line.unwrap_or_default()
}

/// An answer without the one line that is never the same.
fn without_id(answer: &str) -> String {
    answer.replace(request_id(answer), "")
}

fn hurried() -> Limits {
    Limits {
        head: Duration::from_millis(100),
        idle: Duration::from_millis(200),
        progress: Duration::from_millis(100),
        linger: Duration::from_millis(50),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_connection_is_kept_whatever_the_client_says_until_an_error() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    let first = ask(
        &mut stream,
        b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        first.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"),
        "{first}"
    );
    assert!(first.ends_with("connection: keep-alive\r\n\r\n{\n  \"status\": \"Healthy\"\n}\n"));
    let second = ask(&mut stream, b"GET /ping HTTP/1.0\r\n\r\n").await;
    assert_eq!(without_id(&first), without_id(&second));
    assert_ne!(request_id(&first), request_id(&second));
    let last = ask(&mut stream, b"GET /nothing HTTP/1.1\r\n\r\n").await;
    assert!(last.starts_with("HTTP/1.1 404 Not Found\r\n") && last.contains("connection: close"));
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Limits::default());
    let requests = b"GET /ping HTTP/1.1\r\n\r\nHEAD /ping HTTP/1.1\r\n\r\n\
        POST /ping HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
        POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        OPTIONS / HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n";
    let answers = server.exchange(&[requests]).await;
    let starts: Vec<_> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|one| &one[..3])
        .collect();
    assert_eq!(starts, ["200", "200", "200", "200", "200", "404"]);
    assert_eq!(
        answers.matches("\"Healthy\"").count(),
        3,
        "HEAD has no body"
    );
    let mut ids: Vec<_> = answers
        .split("x-request-id: ")
        .skip(1)
        .map(|one| &one[..36])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn malformed_messages_are_answered_and_end_the_connection() {
    let server = Server::start(hurried());
    let long_line = [b"GET /", &[b'a'; 5000][..], b" HTTP/1.1\r\n\r\n"].concat();
    for message in [
        &b"NONSENSE\r\n\r\n"[..],
        &long_line,
        b"POST /ping HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /ping HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let answer = server.exchange(&[message]).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\"message\": \"Invalid HTTP message.\""),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_stops_in_the_middle_is_answered() {
    let server = Server::start(Limits::default());
    for start in [
        &b"GET /pi"[..],
        b"POST /ping HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(start).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 400 "));
    }
    server.stop().await;
}

#[tokio::test]
async fn expectations_are_met_or_refused() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    let interim = ask(
        &mut stream,
        b"POST /ping HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    )
    .await;
    assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(
        ask(&mut stream, b"abc")
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
    let refused = ask(
        &mut stream,
        b"POST /ping HTTP/1.1\r\nExpect: tea\r\nContent-Length: 3\r\n\r\n",
    )
    .await;
    assert_eq!(
        refused,
        "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(read_to_end(&mut stream).await, "");
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    let head = |length: usize| format!("POST /ping HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let largest = [head(100_000).as_bytes(), &vec![b'x'; 100_000]].concat();
    assert!(
        ask(&mut stream, &largest)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
    let refused = ask(&mut stream, head(100_001).as_bytes()).await;
    assert_eq!(
        refused,
        "HTTP/1.1 413 Request Entity Too Large\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(&vec![b'x'; 100_001]).await.unwrap();
    assert!(
        ask(&mut stream, PING).await.starts_with("HTTP/1.1 200 OK"),
        "it goes on"
    );
    let refused = server
        .exchange(&[
            b"POST /ping HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100001\r\n\r\n",
        ])
        .await;
    assert!(refused.starts_with("HTTP/1.1 413 ") && refused.contains("connection: close"));
    let chunk = [&b"186a1\r\n"[..], &vec![b'x'; 100_001], b"\r\n0\r\n\r\n"].concat();
    let refused = server
        .exchange(&[
            b"POST /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &chunk,
        ])
        .await;
    assert!(refused.starts_with("HTTP/1.1 413 ") && refused.contains("connection: close"));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_survives_the_body_that_nobody_reads() {
    let server = Server::start(Limits::default());
    let head = b"POST /predictions/nobody HTTP/1.1\r\nContent-Length: 90000\r\n\r\n";
    let answer = server.exchange(&[head, &vec![b'x'; 90_000]]).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer}");
    assert!(answer.contains("Model not found: nobody"));
    server.stop().await;
}

#[tokio::test]
async fn slow_clients_are_told_and_idle_ones_dropped() {
    let server = Server::start(hurried());
    for start in [
        &b"GET /pi"[..],
        b"POST /ping HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
        b"POST /ping HTTP/1.1\r\nContent-Length: 90000\r\n\r\nabc",
        b"POST /models/a/invoke HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
    ] {
        let answer = server.exchange(&[start]).await;
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{answer}"
        );
        assert!(answer.contains("RequestTimeoutException"));
    }
    let answer = server.exchange(&[PING]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_lets_running_ones_finish() {
    let server = Server::start(Limits::default());
    let mut idle = server.connect().await;
    ask(&mut idle, PING).await;
    let mut busy = server.connect().await;
    busy.write_all(b"POST /ping HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
        .await
        .unwrap();
    // The server has seen the head when it answers somebody who came later.
    ask(&mut server.connect().await, PING).await;
    server.stop.send_replace(true);
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.serving.is_finished());
    busy.write_all(b"bc").await.unwrap();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"));
    drop(busy);
    server.stop().await;
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inference");
    let server = Server::start_at(Limits::default(), Some(path.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut stream, PING).await.starts_with("HTTP/1.1 200 OK"));
    server.stop().await;
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn requests_in_any_pieces_get_the_same_answers(
        cuts in prop::collection::vec(0usize..400, 0..6),
    ) {
        let chunked = b"HEAD /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let last = b"POST /invocations?model_name=m HTTP/1.1\r\nContent-Length: 1\r\n\r\na";
        let wire = [PING, PING, &chunked[..], &last[..]].concat();
        let mut cuts: Vec<_> = cuts.into_iter().filter(|&cut| cut < wire.len()).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut start = 0;
        for cut in cuts.into_iter().chain([wire.len()]) {
            pieces.push(&wire[start..cut]);
            start = cut;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (whole, split) = runtime.block_on(async {
            let server = Server::start(Limits { linger: Duration::from_millis(5), ..Limits::default() });
            let whole = server.exchange(&[&wire]).await;
            let split = server.exchange(&pieces).await;
            server.stop().await;
            (whole, split)
        });
        let anonymous = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("x-request-id"));
            lines.collect::<Vec<_>>().join("\n")
        };
        prop_assert_eq!(anonymous(&whole), anonymous(&split));
        prop_assert_eq!(whole.matches("HTTP/1.1 ").count(), 4);
    }
}
