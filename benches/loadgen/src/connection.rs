//! Keep-alive connections: non-blocking sockets behind one epoll instance per thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::answer::{Progress, judge};
use crate::tally::Tally;

/// How long to wait for an answer before the connection is given up.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// What to send, where, and during which time requests count.
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

impl Load<'_> {
    /// Whether a moment lies in the measured time.
    pub(crate) fn counts(&self, moment: Instant) -> bool {
        moment >= self.start && moment < self.end
    }
}

/// One connection and how far its request is.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    sent_bytes: usize,
    pub(crate) sent_at: Instant,
    /// The parts of an answer that did not come in one piece.
    received: Vec<u8>,
}

/// One thread's connections.
pub(crate) struct Connections {
    poll: OwnedFd,
    pub(crate) open: Vec<Connection>,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
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
            received: Vec::new(),
        })
    }

    /// Starts the next request.
    pub(crate) fn begin(&mut self, request: &[u8], now: Instant) -> io::Result<()> {
        self.received.clear();
        self.sent_bytes = 0;
        self.sent_at = now;
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
    fn receive(
        &mut self,
        buffer: &mut [u8],
        expected: Option<&[u8]>,
        tally: &mut Tally,
    ) -> io::Result<Progress> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Incomplete);
                }
                Err(error) => return Err(error),
            };
            // A short read means that nothing is left; what comes later is a new event.
            let is_all = length < buffer.len();
            let mut answer = &buffer[..length];
            if !self.received.is_empty() || !is_all {
                self.received.extend_from_slice(answer);
                answer = &self.received;
            }
            let progress = judge(answer, expected)?;
            match progress {
                Progress::Wrong { .. } => tally.wrong(answer),
                Progress::Incomplete if self.received.is_empty() => {
                    self.received.extend_from_slice(&buffer[..length]);
                }
                _ => {}
            }
            if is_all || progress != Progress::Incomplete {
                return Ok(progress);
            }
        }
    }
}

impl Connections {
    /// Opens as many as asked for.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) fn open(load: &Load<'_>, count: usize) -> io::Result<Self> {
        let mut this = Self {
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            open: Vec::with_capacity(count),
            events: Vec::with_capacity(count.max(1)),
            buffer: vec![0; 64 * 1024],
        };
        for index in 0..count {
            let connection = this.connect(load.address, index)?;
            this.open.push(connection);
        }
        Ok(this)
    }

    fn connect(&self, address: SocketAddr, index: usize) -> io::Result<Connection> {
        let connection = Connection::open(address)?;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(
            &self.poll,
            &connection.stream,
            epoll::EventData::new_u64(index as u64),
            interest,
        )?;
        Ok(connection)
    }

    /// Replaces a connection that ended.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub(crate) fn reopen(&mut self, load: &Load<'_>, index: usize) -> io::Result<()> {
        self.open[index] = self.connect(load.address, index)?;
        Ok(())
    }

    /// Whether the server has closed a connection that carries no request.
    pub(crate) fn is_closed(&self, index: usize) -> bool {
        let mut byte = [0];
        match self.open[index].stream.peek(&mut byte) {
            Ok(length) => length == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Waits for something to happen; writes which connections it happened to into `ready`.
    pub(crate) fn wait(&mut self, longest: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        let timeout = Timespec::try_from(longest).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.poll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }

    /// Moves one connection as far as it goes without waiting. Wrong answers are counted here.
    ///
    /// # Errors
    /// The connection ended, or what came is no answer.
    pub(crate) fn advance(
        &mut self,
        load: &Load<'_>,
        index: usize,
        tally: &mut Tally,
    ) -> io::Result<Progress> {
        let connection = &mut self.open[index];
        connection.send(load.request)?;
        let progress = connection.receive(&mut self.buffer, load.expected, tally)?;
        tally.answers += u64::from(progress != Progress::Incomplete);
        Ok(progress)
    }
}
