//! A tiny process that outlives the server by a moment and removes its runtime folder.
//!
//! An orderly server removes the folder itself. One that was killed cannot; its janitor notices,
//! because the server held the other end of the pipe that is the janitor's standard input.
//! A machine that loses both at once is swept when the next server starts.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long dying workers may still write into the folder that is being removed.
const RETRY_FOR: u32 = 20;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "janitor";

/// Starts a janitor for `folder`. Dropping the child ends it, after it has done its work.
///
/// # Errors
/// When this executable cannot be started a second time.
pub fn start(folder: &Path) -> io::Result<Janitor> {
    use std::os::unix::process::CommandExt;
    let child = Command::new(std::env::current_exe()?)
        .arg(SUBCOMMAND)
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C in the terminal is for the server only.
        .process_group(0)
        .spawn()?;
    Ok(Janitor { child })
}

/// A running janitor.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
}

impl Janitor {
    /// Ends the janitor: the folder is gone or about to go.
    pub fn dismiss(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The janitor's whole life: waits for the server to end, then removes `folder`.
#[expect(
    clippy::disallowed_methods,
    reason = "the janitor has one thread and nothing else to do"
)]
pub fn run(folder: &Path) {
    let mut nothing = [0u8; 1];
    // Nothing is ever written: the read ends when the server does.
    let _ = io::stdin().read(&mut nothing);
    for _ in 0..RETRY_FOR {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                std::thread::sleep(Duration::from_millis(100));
            }
            _ => return,
        }
    }
}
