//! How long and how much a connection may keep the server waiting.

use std::time::{Duration, Instant};

use crate::config::Patience;

/// Patience with clients. The original has none of these limits, so the defaults are generous: only
/// clients that are gone, or that mean harm, meet them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time from the first byte of a request head to its last.
    pub head: Duration,
    /// Longest pause between two requests of a connection.
    pub idle: Duration,
    /// Window in which a body or a reply must move by [`Limits::progress_bytes`].
    pub progress: Duration,
    /// Bytes that must move per window, unless fewer are left.
    pub progress_bytes: usize,
    /// Longest wait for a client to take note that its connection is over.
    pub linger: Duration,
    /// How long a request is kept whose client has closed its half of the connection: most such
    /// clients are gone, some only have nothing more to say.
    pub half_close: Duration,
    /// Longest TLS handshake.
    pub handshake: Duration,
}

impl Limits {
    /// The limits that a configuration has.
    pub fn new(patience: &Patience) -> Self {
        Self {
            head: patience.head,
            idle: patience.idle,
            progress: patience.progress,
            progress_bytes: 4096,
            linger: Duration::from_secs(2),
            half_close: Duration::from_secs(1),
            handshake: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(&Patience::default())
    }
}

/// Watches that bytes move fast enough.
#[derive(Debug)]
pub(super) struct Pace {
    window: Duration,
    least: usize,
    moved: usize,
    deadline: Instant,
}

impl Pace {
    /// Starts the first window now.
    pub(super) fn start(limits: &Limits) -> Self {
        Self {
            window: limits.progress,
            least: limits.progress_bytes,
            moved: 0,
            deadline: Instant::now() + limits.progress,
        }
    }

    /// Begins a new window: there was nothing to move until now.
    pub(super) fn restart(&mut self) {
        self.moved = 0;
        self.deadline = Instant::now() + self.window;
    }

    /// Notes bytes that moved; enough of them open a new window.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= self.least {
            self.moved = 0;
            self.deadline = Instant::now() + self.window;
        }
    }

    /// When the current window ends.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}
