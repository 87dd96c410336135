//! Runs pip and the maker of virtual environments: output kept, time bounded, nothing left behind.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tracing::info;

use super::Tools;
use crate::model::archive::UnpackedArchive;

/// Output that is kept for the log: the end of it, where pip says what went wrong.
pub(super) const KEPT_OUTPUT_BYTES: usize = 64 << 10;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long output is still awaited when a command has ended but something else holds its pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Longest complaint of pip that becomes part of an error.
const LONGEST_COMPLAINT: usize = 400;

/// What tells one interpreter from another: a new version or another place means other packages.
const IDENTITY: &str = "import sys; print(sys.version, sys.prefix, sys.base_prefix)";

/// Why a command did not do what it was to do.
#[derive(Debug, ThisError)]
pub(super) enum CommandError {
    #[error("the manifest names a requirements file outside the archive")]
    OutsideArchive,
    #[error("{0}")]
    Run(#[from] io::Error),
    #[error("it took longer than {0:?}")]
    TimedOut(Duration, String),
    #[error("{}", complaint(.1).map_or_else(|| .0.to_string(), ToOwned::to_owned))]
    Failed(ExitStatus, String),
}

impl CommandError {
    /// The end of what the command printed.
    pub(super) fn output(&self) -> &str {
        match self {
            Self::TimedOut(_, output) | Self::Failed(_, output) => output,
            Self::OutsideArchive | Self::Run(_) => "",
        }
    }
}

/// The last thing that pip or Python complained about.
fn complaint(output: &str) -> Option<&str> {
    let is_complaint = |line: &&str| line.starts_with("ERROR: ") || line.contains("Error: ");
    let mut lines = output.lines().rev();
    let last = lines.find(|line| is_complaint(line) || line.contains(": No module named "))?;
    let last = last.strip_prefix("ERROR: ").unwrap_or(last);
    let end = last.char_indices().nth(LONGEST_COMPLAINT);
    Some(end.map_or(last, |(end, _)| &last[..end]))
}

/// Where packages are installed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// Into a folder that is on the import path.
    Folder(&'a Path),
    /// Into the environment of the interpreter that runs pip.
    Environment,
}

/// What identifies an interpreter.
pub(super) async fn identity(tools: &Tools<'_>) -> Result<String, CommandError> {
    let mut command = command(tools.python, Path::new("/"), tools);
    command.args(["-I", "-c", IDENTITY]);
    run("", command, tools.timeout).await
}

/// Makes an empty virtual environment that also sees the packages of the interpreter.
pub(super) async fn make_venv(folder: &Path, tools: &Tools<'_>) -> Result<(), CommandError> {
    let parent = folder.parent().unwrap_or(folder);
    let mut command = command(tools.python, parent, tools);
    command.args(["-m", "tserve_worker.venv"]).arg(folder);
    run("", command, tools.timeout).await.map(drop)
}

/// Installs what a requirements file names; returns what pip said.
pub(super) async fn install(
    model: &str,
    python: &Path,
    target: Target<'_>,
    requirements: &Path,
    archive: &UnpackedArchive,
    tools: &Tools<'_>,
) -> Result<String, CommandError> {
    let mut command = command(python, archive.directory(), tools);
    command.args(["-m", "pip", "install", "-U"]);
    match target {
        Target::Folder(folder) => command.arg("-t").arg(folder),
        Target::Environment => command.args(["--upgrade-strategy", "only-if-needed"]),
    };
    command.arg("-r").arg(requirements);
    if let Some(wheels) = tools.wheels {
        command.args(["--no-index", "--find-links"]).arg(wheels);
    }
    run(model, command, tools.timeout).await
}

fn command(python: &Path, folder: &Path, tools: &Tools<'_>) -> Command {
    let mut command = Command::new(python);
    command
        .current_dir(folder)
        .env_clear()
        .envs(tools.variables.iter().map(|(name, value)| (name, value)))
        // Asking for a password would wait for ever.
        .env("PIP_NO_INPUT", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn run(model: &str, mut command: Command, timeout: Duration) -> Result<String, CommandError> {
    let output = Tail::default();
    let mut child = command.spawn()?;
    // Declared after the child and so dropped before it: its number is still its own.
    let mut group = ProcessGroup::of(&child);
    let mut readers = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        readers.spawn(output.clone().collect(stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        readers.spawn(output.clone().collect(stderr));
    }
    let waited = tokio::time::timeout(timeout, wait_with_progress(model, &mut child)).await;
    let status = waited.map_err(|_| CommandError::TimedOut(timeout, output.text()))??;
    group.release();
    let _ = tokio::time::timeout(LAST_OUTPUT, async {
        while readers.join_next().await.is_some() {}
    })
    .await;
    if status.success() {
        Ok(output.text())
    } else {
        Err(CommandError::Failed(status, output.text()))
    }
}

async fn wait_with_progress(model: &str, child: &mut Child) -> io::Result<ExitStatus> {
    let started = Instant::now();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                info!(model, seconds = started.elapsed().as_secs(), "still installing packages");
            }
        }
    }
}

/// A process and all it started. Killed on drop, unless released.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(leader: &Child) -> Self {
        let id = leader.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Forgets the group, because its leader was reaped and its number may be somebody else's.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended meanwhile, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The end of what was written, by several writers together.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    async fn collect(self, mut pipe: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 << 10];
        while let Ok(read) = pipe.read(&mut buffer).await {
            if read == 0 {
                return;
            }
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&buffer[..read]);
            let excess = kept.len().saturating_sub(KEPT_OUTPUT_BYTES);
            kept.drain(..excess);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = kept.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_is_found() {
        let output = "Looking in links: /w\nERROR: Could not find a version that satisfies x\n\
                      ERROR: No matching distribution found for x\n";
        assert_eq!(
            complaint(output),
            Some("No matching distribution found for x")
        );
        let python = "/usr/bin/python3: No module named pip\n";
        assert_eq!(complaint(python), Some(python.trim_end()));
        let traceback = "Traceback:\n  File\nOSError: [Errno 28] No space left\nmore\n";
        assert_eq!(
            complaint(traceback),
            Some("OSError: [Errno 28] No space left")
        );
        assert_eq!(complaint("all is well"), None);
        let long = format!("ERROR: {}", "é".repeat(1000));
        assert_eq!(complaint(&long).unwrap().chars().count(), LONGEST_COMPLAINT);
    }
}
