//! A client in this process: it sends a scenario's requests and checks every answer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::scenario::Scenario;

/// Longest wait for one answer, a server under valgrind included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keep-alive connections to one server.
pub(crate) struct Client {
    streams: Vec<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    /// Opens as many connections as the scenario wants.
    pub(crate) fn connect(port: u16, scenario: &Scenario) -> Self {
        let open = |_| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket");
            stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
            stream
        };
        Self {
            streams: (0..scenario.connections).map(open).collect(),
            answer: vec![0; 16 * 1024],
        }
    }

    /// Sends `requests` requests, rounded up to the number of connections; returns how many.
    pub(crate) fn send(&mut self, scenario: &Scenario, requests: u32) -> u32 {
        let rounds = requests.div_ceil(self.streams.len() as u32);
        for _ in 0..rounds {
            for stream in &mut self.streams {
                let mut request = &scenario.request[..];
                if scenario.is_dearer {
                    let (head, body) = request.split_at(request.len() - 1024);
                    stream.write_all(head).expect("it is read");
                    pause();
                    request = body;
                }
                stream.write_all(request).expect("it is read");
            }
            for stream in &mut self.streams {
                read_answer(stream, &mut self.answer, scenario.name);
            }
        }
        rounds * self.streams.len() as u32
    }
}

/// Time enough for the server to read what it was sent and to sleep again.
#[expect(
    clippy::disallowed_methods,
    reason = "a client that is slow on purpose"
)]
fn pause() {
    std::thread::sleep(Duration::from_micros(300));
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], what: &str) {
    let mut length = 0;
    loop {
        let count = stream.read(&mut buffer[length..]).expect("an answer");
        assert_ne!(count, 0, "{what}: the server closed the connection");
        length += count;
        let text = std::str::from_utf8(&buffer[..length]).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{what}: {text}");
        let (_, rest) = head.split_once("content-length: ").expect("a length");
        let digits = rest.split("\r\n").next().unwrap_or_default();
        if body.len() == digits.parse::<usize>().expect("a number") {
            return;
        }
    }
}
