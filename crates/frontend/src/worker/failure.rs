//! Why a worker failed: in words for the log, in fields for those who ask.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use jiff::Timestamp;

/// Why a worker last failed.
#[derive(Debug, Clone)]
pub struct LastFailure {
    /// One line: exception type and message, or how the process ended.
    pub summary: String,
    /// What the handler raised, if it did.
    pub raised: Option<Raised>,
    /// Exit status of the process, if it ended by itself.
    pub exit_status: Option<i32>,
    /// The signal that ended the process, if one did.
    pub signal: Option<String>,
    /// Whether the kernel killed the process for want of memory; `None` when the kernel does not
    /// say, or nobody killed it.
    pub was_killed_for_memory: Option<bool>,
    /// Status for clients: 507 when memory ran out, else 500.
    pub status: u16,
    /// When.
    pub at: Timestamp,
}

/// An exception of a handler. All of it is the worker's word.
#[derive(Debug, Clone)]
pub struct Raised {
    /// Type.
    pub exception: String,
    /// Text.
    pub message: String,
    /// The whole traceback.
    pub traceback: String,
    /// File of the archive where it came from, if it came from one.
    pub file: Option<String>,
    /// Line in that file.
    pub line: Option<u64>,
}

const SIGKILL: i32 = 9;

impl LastFailure {
    /// A failure that is said in one line.
    pub(super) fn new(summary: String) -> Self {
        Self {
            summary,
            raised: None,
            exit_status: None,
            signal: None,
            was_killed_for_memory: None,
            status: 500,
            at: Timestamp::now(),
        }
    }

    /// The handler could not be loaded.
    pub(super) fn raised(code: u16, raised: Raised) -> Self {
        let Raised {
            exception, message, ..
        } = &raised;
        let mut failure = Self::new(if message.is_empty() {
            format!("the handler cannot be loaded: {exception}")
        } else {
            format!("the handler cannot be loaded: {exception}: {message}")
        });
        failure.status = if code == 507 { 507 } else { 500 };
        failure.raised = Some(raised);
        failure
    }

    /// The process ended. `was_short_of_memory` tells, if it is known, whether the kernel killed
    /// something for want of memory during its life. Clients get 507 for a kill, which is how a
    /// machine without memory ends processes.
    pub(super) fn died(status: ExitStatus, was_short_of_memory: Option<bool>) -> Self {
        let is_kill = status.signal() == Some(SIGKILL);
        let mut failure = Self::new(match (status.code(), status.signal()) {
            (Some(code), _) => format!("the worker process ended with exit status {code}"),
            (None, Some(SIGKILL)) => match was_short_of_memory {
                Some(true) => {
                    "the worker process was killed by the kernel (SIGKILL): out of memory"
                }
                Some(false) => "the worker process was killed (SIGKILL), not for want of memory",
                None => "the worker process was killed (SIGKILL), possibly for want of memory",
            }
            .to_owned(),
            (None, Some(signal)) => {
                format!("the worker process was killed by {}", signal_name(signal))
            }
            (None, None) => format!("the worker process ended: {status}"),
        });
        failure.exit_status = status.code();
        failure.signal = status.signal().map(signal_name);
        failure.was_killed_for_memory = was_short_of_memory.filter(|_| is_kill);
        if is_kill || status.code() == Some(128 + SIGKILL) {
            failure.status = 507;
        }
        failure
    }

    /// The process ended before its model was loaded.
    pub(super) fn while_loading(mut self) -> Self {
        self.summary.push_str(" while it was loading");
        self
    }
}

/// `SIGSEGV` for 11.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_from_a_signal() {
        let exit = LastFailure::died(ExitStatus::from_raw(3 << 8), Some(true));
        assert_eq!(exit.exit_status, Some(3));
        assert_eq!((exit.signal, exit.status), (None, 500));
        assert_eq!(exit.was_killed_for_memory, None);
        let crash = LastFailure::died(ExitStatus::from_raw(11), Some(false)).while_loading();
        assert_eq!(
            crash.summary,
            "the worker process was killed by SIGSEGV while it was loading"
        );
        assert_eq!(crash.signal.as_deref(), Some("SIGSEGV"));
        assert_eq!((crash.exit_status, crash.status), (None, 500));
    }

    #[test]
    fn a_kill_says_whether_memory_was_the_reason() {
        for (short, words) in [
            (Some(true), ": out of memory"),
            (Some(false), "not for want of memory"),
            (None, "possibly for want of memory"),
        ] {
            let kill = LastFailure::died(ExitStatus::from_raw(9), short);
            assert!(kill.summary.ends_with(words), "{}", kill.summary);
            assert_eq!((kill.was_killed_for_memory, kill.status), (short, 507));
        }
        let by_shell = LastFailure::died(ExitStatus::from_raw(137 << 8), None);
        assert_eq!(by_shell.status, 507);
    }
}
