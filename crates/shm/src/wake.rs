//! Wake-ups: a futex towards the worker, an eventfd towards the server, and their in-process twins.
//!
//! Neither is used unless the other side has said that it sleeps. The handshake is Dekker's: the
//! waker publishes, then looks at the sleeping flag; the sleeper raises its flag, then looks for what
//! was published; a sequentially consistent fence stands between the two steps on both sides, so
//! that at least one of them sees the other.

use std::time::Duration;

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering, lock};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The bell was rung, or the kernel woke us for no reason: look again.
    Woken,
    /// The time was up.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Wakes the worker: waiters wait for a change of a shared word.
#[derive(Debug)]
pub(crate) enum Bell {
    /// The word is a futex; works between processes.
    #[cfg(not(loom))]
    Futex,
    /// Waiters sit on a condition variable; works inside one process, also in a loom model.
    Local {
        /// Held while the word is compared and while waiters are woken.
        gate: Mutex<()>,
        /// Signalled after the word has changed.
        changed: Condvar,
    },
}

impl Bell {
    pub(crate) fn local() -> Self {
        Self::Local {
            gate: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// Changes the word and wakes whoever waits for that.
    pub(crate) fn ring(&self, word: &AtomicU32) {
        // Release: what was published before is seen by who sees the ring.
        word.fetch_add(1, Ordering::AcqRel);
        match self {
            #[cfg(not(loom))]
            Self::Futex => {
                // It cannot fail for a mapped, aligned word; and if it did, there is nobody to tell.
                let everyone = i32::MAX.unsigned_abs();
                let flags = rustix::thread::futex::Flags::empty();
                let _ = rustix::thread::futex::wake(word, flags, everyone);
            }
            Self::Local { gate, changed } => {
                drop(lock(gate));
                changed.notify_all();
            }
        }
    }

    /// Waits until the word differs from `seen`, a signal arrives or the time is up.
    pub(crate) fn wait(&self, word: &AtomicU32, seen: u32, timeout: Option<Duration>) -> Wait {
        match self {
            #[cfg(not(loom))]
            Self::Futex => futex_wait(word, seen, timeout),
            Self::Local { gate, changed } => {
                let guard = lock(gate);
                if word.load(Ordering::Acquire) != seen {
                    return Wait::Woken;
                }
                wait_for(changed, guard, timeout)
            }
        }
    }
}

fn wait_for(
    changed: &Condvar,
    guard: crate::sync::MutexGuard<'_, ()>,
    timeout: Option<Duration>,
) -> Wait {
    match timeout {
        None => {
            drop(changed.wait(guard));
            Wait::Woken
        }
        Some(timeout) => match changed.wait_timeout(guard, timeout) {
            Ok((_, outcome)) if outcome.timed_out() => Wait::TimedOut,
            _ => Wait::Woken,
        },
    }
}

#[cfg(not(loom))]
fn futex_wait(word: &AtomicU32, seen: u32, timeout: Option<Duration>) -> Wait {
    use rustix::{io::Errno, thread::futex};

    let timeout = timeout.map(timespec);
    match futex::wait(word, futex::Flags::empty(), seen, timeout.as_ref()) {
        Err(Errno::INTR) => Wait::Interrupted,
        Err(Errno::TIMEDOUT) => Wait::TimedOut,
        _ => Wait::Woken,
    }
}

#[cfg(not(loom))]
fn timespec(duration: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Wakes the server: an eventfd that an event loop can watch.
#[cfg(not(any(loom, miri)))]
#[derive(Debug)]
pub(crate) struct Event(std::os::fd::OwnedFd);

#[cfg(not(any(loom, miri)))]
impl Event {
    pub(crate) fn new() -> std::io::Result<Self> {
        use rustix::event::EventfdFlags;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(rustix::event::eventfd(0, flags)?))
    }

    pub(crate) fn from_fd(fd: std::os::fd::OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    pub(crate) fn signal(&self) {
        // EAGAIN means that the counter is at its limit, so the server is being woken already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Forgets earlier signals; never blocks, even if the worker has made the file blocking.
    pub(crate) fn drain(&self) {
        use rustix::io::{Errno, ReadWriteFlags};
        let mut count = [0_u8; 8];
        let buffer = std::io::IoSliceMut::new(&mut count);
        let current_position = u64::MAX;
        let outcome = rustix::io::preadv2(
            &self.0,
            &mut [buffer],
            current_position,
            ReadWriteFlags::NOWAIT,
        );
        if let Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) = outcome {
            let _ = rustix::io::read(&self.0, &mut count);
        }
    }

    /// Blocks until signalled.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Wait {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut polled, timeout.map(timespec).as_ref()) {
            Ok(0) => Wait::TimedOut,
            Err(rustix::io::Errno::INTR) => Wait::Interrupted,
            _ => Wait::Woken,
        }
    }
}

/// The eventfd's stand-in where no system call can be made.
#[cfg(any(loom, miri))]
#[derive(Debug)]
pub(crate) struct Event {
    is_signalled: Mutex<bool>,
    changed: Condvar,
}

#[cfg(any(loom, miri))]
impl Event {
    #[expect(clippy::unnecessary_wraps, reason = "same shape as the real one")]
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            is_signalled: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn signal(&self) {
        *lock(&self.is_signalled) = true;
        self.changed.notify_all();
    }

    pub(crate) fn drain(&self) {
        *lock(&self.is_signalled) = false;
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Wait {
        let mut is_signalled = lock(&self.is_signalled);
        while !*is_signalled {
            is_signalled = match timeout {
                None => self
                    .changed
                    .wait(is_signalled)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(timeout) => match self.changed.wait_timeout(is_signalled, timeout) {
                    Ok((_, outcome)) if outcome.timed_out() => return Wait::TimedOut,
                    Ok((guard, _)) => guard,
                    Err(poisoned) => poisoned.into_inner().0,
                },
            };
        }
        Wait::Woken
    }
}

/// The three wake-ups of one link.
#[derive(Debug)]
pub(crate) struct Wakes {
    pub(crate) submission: Bell,
    pub(crate) space: Bell,
    pub(crate) completion: Event,
}
