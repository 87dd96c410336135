//! The open loop: requests are sent when they are due, whether or not the server keeps up.
//!
//! Latencies count from the moment when a request was due. When all connections are busy, requests
//! wait in line with their due times, so a server's pause lengthens the latency of every request
//! that fell into it: the figures are free of coordinated omission.
//!
//! # Source
//! Gil Tene, "How NOT to Measure Latency", <https://www.infoq.com/presentations/latency-response-time/>.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::answer::Progress;
use crate::connection::{Connections, Load};
use crate::schedule::Schedule;
use crate::tally::Tally;

/// A request that is due, or under way.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    /// No connection was free when it was due.
    waited: bool,
}

/// The state of one thread.
struct Loop<'a> {
    load: &'a Load<'a>,
    connections: Connections,
    /// Which request each connection carries.
    carried: Vec<Option<Due>>,
    /// Connections without a request, the last used one on top.
    idle: Vec<usize>,
    waiting: VecDeque<Due>,
    tally: Tally,
}

/// Sends requests on at most `count` connections as `schedule` says, until the end; then waits up
/// to `drain` for the answers that are still missing.
///
/// # Errors
/// The server cannot be reached.
pub(crate) fn run(
    load: &Load<'_>,
    count: usize,
    mut schedule: Schedule,
    drain: Duration,
) -> io::Result<Tally> {
    // Wake up when asked to: by default the kernel may be 50 us late. Where it is refused, the
    // reported lag tells.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut this = Loop {
        load,
        connections: Connections::open(load, count)?,
        carried: vec![None; count],
        idle: (0..count).rev().collect(),
        waiting: VecDeque::new(),
        tally: Tally::default(),
    };
    let mut ready = Vec::with_capacity(count);
    loop {
        let now = Instant::now();
        while schedule.next() <= now && schedule.next() < load.end {
            let waited = this.waiting.len() >= this.idle.len();
            this.waiting.push_back(Due {
                at: schedule.next(),
                waited,
            });
            schedule.advance();
        }
        this.send_waiting()?;
        let next = schedule.next();
        let until = if next < load.end && this.idle.is_empty() {
            // Nothing can be sent before an answer comes: do not take the server's CPU to count.
            load.end
        } else if next < load.end {
            next
        } else if this.is_done() {
            return Ok(this.tally);
        } else {
            load.end + drain
        };
        if now >= load.end + drain {
            return Ok(this.give_up());
        }
        let longest = until.saturating_duration_since(Instant::now());
        this.connections.wait(longest, &mut ready)?;
        for &index in &ready {
            this.serve(index)?;
        }
    }
}

impl Loop<'_> {
    fn send_waiting(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty()
            && let Some(index) = self.idle.pop()
            && let Some(due) = self.waiting.pop_front()
        {
            let now = Instant::now();
            self.carried[index] = Some(due);
            if self.load.counts(due.at) {
                self.tally.lags.record(now - due.at);
                self.tally.waited += u64::from(due.waited);
            }
            if self.connections.open[index]
                .begin(self.load.request, now)
                .is_err()
            {
                self.end(index)?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) -> io::Result<()> {
        let Some(due) = self.carried[index] else {
            // Nothing is under way: either the socket became writable, or the server closed it.
            if self.connections.is_closed(index) {
                self.connections.reopen(self.load, index)?;
            }
            return Ok(());
        };
        let counted = self.load.counts(due.at);
        let wrong = self.tally.wrong;
        let progress = self.connections.advance(self.load, index, &mut self.tally);
        if !counted {
            self.tally.wrong = wrong;
        }
        let closes = match progress {
            Ok(Progress::Incomplete) => return Ok(()),
            Ok(Progress::Right { closes }) => {
                let now = Instant::now();
                if counted {
                    self.tally.right(now - due.at, now);
                    let sent_at = self.connections.open[index].sent_at;
                    self.tally.service.record(now - sent_at);
                }
                closes
            }
            Ok(Progress::Wrong { closes }) => closes,
            Err(_ended) => return self.end(index),
        };
        if closes {
            self.connections.reopen(self.load, index)?;
        }
        self.free(index);
        Ok(())
    }

    /// A connection ended with a request under way.
    fn end(&mut self, index: usize) -> io::Result<()> {
        self.tally.broken += 1;
        self.connections.reopen(self.load, index)?;
        self.free(index);
        Ok(())
    }

    fn free(&mut self, index: usize) {
        self.carried[index] = None;
        self.idle.push(index);
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.idle.len() == self.carried.len()
    }

    /// Counts what was never answered.
    fn give_up(mut self) -> Tally {
        let under_way = self.carried.len() - self.idle.len();
        self.tally.broken += (under_way + self.waiting.len()) as u64;
        self.tally
    }
}
