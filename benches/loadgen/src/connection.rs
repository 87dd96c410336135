//! One thread's connections: non-blocking sockets behind one epoll instance.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::histogram::Histogram;

/// How long to wait for an answer before the connection is given up.
const STALL: Duration = Duration::from_secs(30);

/// What to send, where, and during which time answers count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    /// The whole request as it goes over the wire.
    pub(crate) request: &'a [u8],
    /// The body that every answer must have.
    pub(crate) expected: Option<&'a [u8]>,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Latencies of the right answers that ended between start and end.
    pub(crate) latencies: Histogram,
    /// Answers with another status than 200 or another body than expected.
    pub(crate) wrong: u64,
    /// Connections that ended or stalled before an answer was complete.
    pub(crate) broken: u64,
}

impl Tally {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.wrong += other.wrong;
        self.broken += other.broken;
    }
}

/// One connection and the request that is under way on it.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    sent_bytes: usize,
    sent_at: Instant,
    received: Vec<u8>,
}

/// What an answer turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Incomplete,
    Right { closes: bool },
    Wrong { closes: bool },
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            sent_bytes: 0,
            sent_at: Instant::now(),
            received: Vec::with_capacity(4096),
        })
    }

    /// Starts the next request.
    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        self.received.clear();
        self.sent_bytes = 0;
        self.sent_at = Instant::now();
        self.send(request)
    }

    /// Sends as much of the request as the socket takes.
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        while self.sent_bytes < request.len() {
            match self.stream.write(&request[self.sent_bytes..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.sent_bytes += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is, to the end: the socket's events come once per arrival only.
    fn receive(&mut self, expected: Option<&[u8]>) -> io::Result<Progress> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    // A short read means that nothing is left; what comes later is a new event.
                    if length < buffer.len() {
                        return judge(&self.received, expected);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return judge(&self.received, expected);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Parses what has been received of an answer. Answers without a length are not understood.
fn judge(received: &[u8], expected: Option<&[u8]>) -> io::Result<Progress> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(received).map_err(io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(Progress::Incomplete),
    };
    let mut length = None;
    let mut closes = false;
    for header in answer.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse::<usize>().ok());
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = length.ok_or_else(|| io::Error::other("an answer without content-length"))?;
    if received.len() < head + length {
        return Ok(Progress::Incomplete);
    }
    let right = answer.code == Some(200)
        && received.len() == head + length
        && expected.is_none_or(|body| body == &received[head..]);
    Ok(if right {
        Progress::Right { closes }
    } else {
        Progress::Wrong { closes }
    })
}

impl Load<'_> {
    /// Keeps `connections` requests under way until the end.
    ///
    /// # Errors
    /// The server cannot be reached; a connection that ends later is opened anew and counted.
    pub(crate) fn run(self, connections: usize) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut open = Vec::with_capacity(connections);
        for index in 0..connections {
            open.push(self.connect(&poll, index)?);
        }
        let mut events = Vec::with_capacity(connections.max(1));
        loop {
            let now = Instant::now();
            if now >= self.end {
                return Ok(tally);
            }
            let left = (self.end - now).min(Duration::from_millis(500));
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            events.clear();
            match epoll::wait(&poll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = event.data.u64() as usize;
                match self.serve(&mut open[index], &mut tally) {
                    Ok(true) => {}
                    Ok(false) => open[index] = self.connect(&poll, index)?,
                    Err(_ended) => {
                        tally.broken += 1;
                        open[index] = self.connect(&poll, index)?;
                    }
                }
            }
            for (index, connection) in open.iter_mut().enumerate() {
                // Only looked at when nothing happens, so that it costs nothing under load.
                if events.is_empty() && connection.sent_at.elapsed() > STALL {
                    tally.broken += 1;
                    *connection = self.connect(&poll, index)?;
                }
            }
        }
    }

    fn connect(&self, poll: &rustix::fd::OwnedFd, index: usize) -> io::Result<Connection> {
        let mut connection = Connection::open(self.address)?;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(
            poll,
            &connection.stream,
            epoll::EventData::new_u64(index as u64),
            interest,
        )?;
        connection.begin(self.request)?;
        Ok(connection)
    }

    /// Moves one connection as far as it goes without waiting; false when it has to be opened anew.
    fn serve(&self, connection: &mut Connection, tally: &mut Tally) -> io::Result<bool> {
        connection.send(self.request)?;
        let (closes, right) = match connection.receive(self.expected)? {
            Progress::Incomplete => return Ok(true),
            Progress::Right { closes } => (closes, true),
            Progress::Wrong { closes } => (closes, false),
        };
        let now = Instant::now();
        if now >= self.start && now < self.end {
            if right {
                tally.latencies.record(now - connection.sent_at);
            } else {
                tally.wrong += 1;
            }
        }
        if !closes {
            connection.begin(self.request)?;
        }
        Ok(!closes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: &[u8], expected: Option<&[u8]>) -> Progress {
        judge(answer, expected).expect("the answer parses")
    }

    #[test]
    fn answers_are_complete_with_their_last_byte() {
        let answer = b"HTTP/1.1 200 \r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok";
        for end in 0..answer.len() {
            assert_eq!(judged(&answer[..end], Some(b"ok")), Progress::Incomplete);
        }
        assert_eq!(
            judged(answer, Some(b"ok")),
            Progress::Right { closes: false }
        );
    }

    #[test]
    fn other_bodies_and_statuses_are_wrong() {
        let answer = b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(
            judged(answer, Some(b"ok")),
            Progress::Wrong { closes: false }
        );
        assert_eq!(judged(answer, None), Progress::Right { closes: false });
        let error = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(judged(error, None), Progress::Wrong { closes: true });
    }
}
