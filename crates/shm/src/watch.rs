//! Ending a worker whose server is gone.

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process},
};

/// How long an interpreter may take to end by itself after its server has closed the link.
pub const ORDERLY_EXIT: Duration = Duration::from_secs(2);

/// Starts a thread that ends this process when the server hangs up `control`.
///
/// The thread needs no interpreter, so it also ends a worker that hangs in native code. When
/// `is_closed` says that the server has closed the link in order, the process gets [`ORDERLY_EXIT`]
/// to end by itself and then exits at once with status 0. Otherwise the server has died, and the
/// worker's process group is killed, with whatever the handler has started; only the process itself
/// when it leads no group, since the others are then not its own.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn watch_server(
    control: OwnedFd,
    is_closed: impl Fn() -> bool + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name("tserve-watch".to_owned())
        .spawn(move || {
            wait_for_hangup(&control);
            if is_closed() {
                #[expect(clippy::disallowed_methods, reason = "a thread of its own, for this")]
                thread::sleep(ORDERLY_EXIT);
                exit_now(0);
            }
            kill_own_group();
        })
}

/// Blocks until the other end of a stream socket is closed.
fn wait_for_hangup(control: &OwnedFd) {
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    loop {
        // Not `IN`: the messages on this socket are for somebody else.
        let mut polled = [PollFd::new(control, PollFlags::RDHUP)];
        let outcome = poll(&mut polled, None);
        if outcome.is_ok() && polled[0].revents().intersects(gone) {
            return;
        }
    }
}

fn kill_own_group() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    exit_now(1)
}

/// Ends the process without running exit handlers, which might wait for threads that hang.
#[expect(unsafe_code, reason = "_exit has no safe wrapper")]
fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(status) }
}
