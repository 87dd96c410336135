//! Ending a worker whose server is gone, or one of its own processes.

use std::{
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgrp, getpid,
        kill_current_process_group, kill_process, pidfd_open, waitid,
    },
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

/// Starts a thread that ends this process when a child of it ends, which is a part of it called
/// `name`: the others would wait for that part for ever.
///
/// Like [`watch_server`] it needs no interpreter. When `is_closed` says that the server has closed the
/// link in order, children may end. Otherwise this process exits as the child did, in the way of a
/// shell: with its status, or with 128 and the number of the signal.
///
/// # Errors
///
/// When there is no such child, or the thread cannot be started.
pub fn watch_process(
    pid: i32,
    name: String,
    is_closed: impl Fn() -> bool + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    thread::Builder::new()
        .name("tserve-rank".to_owned())
        .spawn(move || {
            wait_for_end(&process);
            if is_closed() {
                return;
            }
            // Left for the interpreter to collect, should it still want to.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let status = waitid(WaitId::PidFd(process.as_fd()), options);
            let (how, code) = describe_end(status.ok().flatten());
            // Into the model log, where the rest of its output is; if that is gone, so is the worker.
            let _ = writeln!(io::stderr(), "{name} {how}; the worker ends");
            exit_now(code);
        })
}

/// Blocks until a process has ended.
fn wait_for_end(process: &OwnedFd) {
    loop {
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        if poll(&mut polled, None).is_ok() && polled[0].revents().contains(PollFlags::IN) {
            return;
        }
    }
}

/// What a child did, and the status to follow it with.
fn describe_end(status: Option<WaitIdStatus>) -> (String, i32) {
    let Some(status) = status else {
        return ("ended".to_owned(), 1);
    };
    if let Some(signal) = status.terminating_signal() {
        return (format!("was ended by signal {signal}"), 128 + signal);
    }
    // An end without being told is a failure, whatever the status says.
    let code = status.exit_status().unwrap_or(1);
    (format!("exited with status {code}"), code.max(1))
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
