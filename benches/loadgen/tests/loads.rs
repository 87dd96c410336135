//! The load generator against a small real server that counts what it gets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const REQUEST_BODY: &[u8] = b"hello";

/// How the server behaves.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// Every so manieth answer has another body.
    wrong_every: Option<u64>,
    /// Every so manieth answer ends with the connection.
    close_every: Option<u64>,
    /// When, after the first request, everything stops for how long.
    pause: Option<(Duration, Duration)>,
}

/// A server of the loopback interface with one thread per connection.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Server {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let origin = Arc::new(std::sync::OnceLock::new());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                let origin = Arc::clone(&origin);
                thread::spawn(move || answer_all(stream, manner, &counter, &origin));
            }
        });
        Self { address, requests }
    }

    fn load(&self, words: &[&str]) -> Value {
        let body = std::env::temp_dir().join(format!("loadgen-{}.body", self.address.port()));
        std::fs::write(&body, REQUEST_BODY).expect("a body file");
        let done = Command::new(env!("CARGO_BIN_EXE_tserve-loadgen"))
            .args(["--address", &self.address.to_string(), "--path", "/x"])
            .args(["--header", "X-Load: yes", "--content-type", "text/plain"])
            .arg("--body")
            .arg(&body)
            .args(words)
            .output()
            .expect("the load generator runs");
        std::fs::remove_file(&body).expect("the body file");
        let message = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{message}");
        serde_json::from_slice(&done.stdout).expect("a report in JSON")
    }
}

fn answer_all(
    mut stream: TcpStream,
    manner: Manner,
    counter: &AtomicU64,
    origin: &std::sync::OnceLock<Instant>,
) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        while let Some(end) = request_end(&received) {
            let text = String::from_utf8_lossy(&received[..end]).into_owned();
            assert!(text.starts_with("POST /x HTTP/1.1\r\n"), "{text}");
            assert!(text.contains("\r\nX-Load: yes\r\n"), "{text}");
            assert!(text.contains("\r\nContent-Type: text/plain\r\n"), "{text}");
            received.drain(..end);
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let origin = *origin.get_or_init(Instant::now);
            if let Some((at, length)) = manner.pause {
                wait_out_the_pause(origin + at, origin + at + length);
            }
            let is = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
            let body = if is(manner.wrong_every) { "no" } else { "ok" };
            let close = if is(manner.close_every) {
                "Connection: close\r\n"
            } else {
                ""
            };
            let answer = format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 2\r\n\r\n{body}");
            if stream.write_all(answer.as_bytes()).is_err() || !close.is_empty() {
                return;
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own that is to stand still"
)]
fn wait_out_the_pause(from: Instant, to: Instant) {
    let now = Instant::now();
    if now >= from && now < to {
        thread::sleep(to - now);
    }
}

/// Where the first request ends, once it is complete.
fn request_end(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let end = head + REQUEST_BODY.len();
    (received.len() >= end && &received[head..end] == REQUEST_BODY).then_some(end)
}

fn number(report: &Value, key: &str) -> f64 {
    let value = report[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {report}"))
}

/// Half a second of load over four connections.
const FOUR_CONNECTIONS: [&str; 8] = [
    "--expect",
    "ok",
    "--seconds",
    "0.5",
    "--warm-up",
    "0",
    "--connections",
    "4",
];

#[test]
fn a_closed_loop_counts_every_request_once() {
    let server = Server::start(Manner::default());
    let report = server.load(&["--expect", "ok", "--seconds", "0.5", "--warm-up", "0"]);
    let sent = server.requests.load(Ordering::SeqCst);
    let counted = number(&report, "requests");
    assert_eq!(report["loop"], "closed");
    assert_eq!(
        (report["wrong"].as_u64(), report["broken"].as_u64()),
        (Some(0), Some(0))
    );
    assert!(counted > 100.0, "{report}");
    // What was under way at the end is not counted.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let lost = sent as f64 - counted;
    assert!((0.0..=64.0).contains(&lost), "{sent} sent, {report}");
    assert!(number(&report, "own_cpu_us") > 0.0);
}

#[test]
fn wrong_answers_are_found_and_shown() {
    let server = Server::start(Manner {
        wrong_every: Some(10),
        ..Manner::default()
    });
    let report = server.load(&FOUR_CONNECTIONS);
    let share = number(&report, "wrong") / (number(&report, "requests") + number(&report, "wrong"));
    assert!((share - 0.1).abs() < 0.01, "{report}");
    let shown = report["first_wrong"].as_str().expect("an example");
    assert!(shown.ends_with("\r\n\r\nno"), "{shown}");
}

#[test]
fn connections_that_the_server_closes_in_order_are_no_errors() {
    let server = Server::start(Manner {
        close_every: Some(10),
        ..Manner::default()
    });
    for rate in [&["--rate", "500"][..], &[]] {
        let report = server.load(&[&FOUR_CONNECTIONS[..], rate].concat());
        assert_eq!(
            (report["wrong"].as_u64(), report["broken"].as_u64()),
            (Some(0), Some(0))
        );
        assert!(number(&report, "requests") > 100.0, "{report}");
    }
}

#[test]
fn an_open_loop_keeps_the_rate_and_answers_everything() {
    for arrivals in ["uniform", "poisson"] {
        let server = Server::start(Manner::default());
        let words = [
            "--expect",
            "ok",
            "--seconds",
            "1",
            "--warm-up",
            "0.2",
            "--rate",
            "400",
        ];
        let report = server.load(&[&words[..], &["--arrivals", arrivals]].concat());
        assert_eq!(report["loop"], "open");
        assert_eq!(
            (report["wrong"].as_u64(), report["broken"].as_u64()),
            (Some(0), Some(0))
        );
        let spread = if arrivals == "uniform" { 3.0 } else { 120.0 };
        assert!(
            (number(&report, "requests") - 400.0).abs() < spread,
            "{report}"
        );
        assert!(number(&report, "p50_us") >= number(&report, "service_p50_us"));
    }
}

#[test]
fn a_pause_shows_in_the_open_loop_and_hides_in_the_closed_one() {
    let manner = Manner {
        pause: Some((Duration::from_millis(300), Duration::from_millis(200))),
        ..Manner::default()
    };
    let common = [
        "--expect",
        "ok",
        "--seconds",
        "1",
        "--warm-up",
        "0",
        "--connections",
        "2",
    ];
    let open = Server::start(manner).load(&[&common[..], &["--rate", "500"]].concat());
    let closed = Server::start(manner).load(&common);
    // Two requests of the closed loop meet the pause, and a fifth of those of the open one.
    assert!(number(&open, "p99_us") > 150_000.0, "{open}");
    assert!(number(&open, "waited") > 50.0, "{open}");
    assert!(number(&closed, "p99_us") < 100_000.0, "{closed}");
    assert!(number(&closed, "max_us") > 150_000.0, "{closed}");
}
