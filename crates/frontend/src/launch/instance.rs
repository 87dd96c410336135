//! Another tserve server on this machine, held by a descriptor that cannot come to mean another
//! process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What runs under a process id.
#[derive(Debug)]
pub(super) enum Occupant {
    /// Nothing.
    Nobody,
    /// A program that is no server of ours.
    Stranger,
    /// A server.
    Server(Instance),
}

/// A server that runs, or ran a moment ago.
#[derive(Debug)]
pub(super) struct Instance {
    descriptor: OwnedFd,
    /// Its folder in `/proc`.
    process: PathBuf,
}

impl Instance {
    /// Finds out who runs under a process id.
    pub(super) fn look(pid: Pid) -> Occupant {
        // The descriptor comes first: what is read under the id afterwards is about the process
        // that it holds, or that process is gone and a signal through it fails.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Occupant::Nobody;
        };
        let folder = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
        let words = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        // A process that ended and was not waited for has no command line left.
        if words.is_empty() {
            return Occupant::Nobody;
        }
        let program = std::fs::read_link(folder.join("exe")).ok();
        if is_server(program.as_deref(), &words) {
            Occupant::Server(Self {
                descriptor,
                process: folder,
            })
        } else {
            Occupant::Stranger
        }
    }

    /// The folder it works in, and the config file that it was started with, if one was named.
    /// `None` where it is another user's, or gone.
    pub(super) fn home(&self) -> Option<(PathBuf, Option<PathBuf>)> {
        let folder = std::fs::read_link(self.process.join("cwd")).ok()?;
        let words = std::fs::read(self.process.join("cmdline")).ok()?;
        let config = config_flag(&words).map(|file| folder.join(file));
        Some((folder, config))
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// `NotFound` when it has ended already; otherwise the kernel's refusal.
    pub(super) fn terminate(&self) -> io::Result<()> {
        pidfd_send_signal(&self.descriptor, Signal::TERM).map_err(|error| match error {
            rustix::io::Errno::SRCH => io::ErrorKind::NotFound.into(),
            other => other.into(),
        })
    }

    /// Waits for its end; `false` when that takes longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut events = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match poll(&mut events, Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// What `--ts-config` says on a command line.
fn config_flag(words: &[u8]) -> Option<String> {
    let mut words = words.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some(("--ts-config", file)) => return Some(file.to_owned()),
            None if word == "--ts-config" => return words.next().map(std::borrow::Cow::into_owned),
            _ => {}
        }
    }
    None
}

/// Whether a program with these words is a server: not one of the short-lived commands, nor a
/// process that tserve runs for its own purposes.
fn is_server(program: Option<&Path>, words: &[u8]) -> bool {
    let mut words = words.split(|byte| *byte == 0);
    let first = words
        .next()
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let second = words.next().unwrap_or_default();
    let name = program.map_or_else(|| first.map(Into::into), |it| Some(it.to_path_buf()));
    let is_tserve = name.is_some_and(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The kernel says so when the program was replaced since.
        name.strip_suffix(" (deleted)").unwrap_or(&name) == "tserve"
            || std::env::current_exe().is_ok_and(|own| own == path)
    });
    is_tserve && (second.is_empty() || second.starts_with(b"-") || second == b"background")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn servers_are_told_from_everything_else() {
        let tserve = Some(Path::new("/opt/bin/tserve"));
        assert!(is_server(tserve, b"tserve\0--foreground\0"));
        assert!(is_server(tserve, b"tserve\0background\0--start\0"));
        assert!(is_server(
            Some(Path::new("/opt/bin/tserve (deleted)")),
            b"x\0--start\0"
        ));
        assert!(is_server(None, b"/opt/bin/tserve\0--start\0"));
        assert!(!is_server(tserve, b"tserve\0janitor\0"));
        assert!(!is_server(
            Some(Path::new("/usr/bin/java")),
            b"tserve\0--start\0"
        ));
        assert!(!is_server(None, b"python\0tserve\0"));
    }

    #[test]
    fn the_config_file_is_read_from_the_command_line() {
        let file = |words: &[u8]| config_flag(words);
        assert_eq!(
            file(b"tserve\0--start\0--ts-config\0c.properties\0--ncs\0").as_deref(),
            Some("c.properties")
        );
        assert_eq!(file(b"tserve\0--ts-config=a=b\0").as_deref(), Some("a=b"));
        assert_eq!(file(b"tserve\0--start\0"), None);
        assert_eq!(file(b"tserve\0--ts-config"), None);
    }

    #[test]
    fn a_stranger_is_not_taken_for_a_server_and_the_dead_are_nobody() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        let pid = Pid::from_child(&child);
        // Between fork and exec the child still is a copy of this test.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !matches!(Instance::look(pid), Occupant::Stranger) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        while !matches!(Instance::look(pid), Occupant::Nobody) {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(matches!(Instance::look(pid), Occupant::Nobody));
    }
}
