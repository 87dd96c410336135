//! Python packages of one model: `install_py_dep_per_model` runs pip on the archive's
//! requirements file before its workers start.

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
use tracing::{debug, error, info};

use super::archive::UnpackedArchive;
use crate::config::StaticTokens;
use crate::error::Error;

/// Output that is kept for the log: the end of it, where pip says what went wrong.
const KEPT_OUTPUT_BYTES: usize = 64 << 10;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long output is still awaited when pip has ended but something else holds its pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

#[derive(Debug, ThisError)]
enum InstallError {
    #[error("the manifest names a requirements file outside the archive")]
    OutsideArchive,
    #[error("cannot run pip: {0}")]
    Run(#[from] io::Error),
    #[error("pip took longer than {0:?}")]
    TimedOut(Duration),
    #[error("pip failed: {0}")]
    Failed(ExitStatus),
}

/// Installs the packages that the archive's requirements file names, if there is one, into the
/// model's private folder.
///
/// Relative paths in the file are relative to the model folder. When this future is dropped, pip
/// and what it started are killed; what was installed goes with the archive.
///
/// # Errors
/// [`Error::ModelPreparation`]; the log has the reason and the end of pip's output.
pub async fn install(
    model: &str,
    python: &Path,
    archive: &UnpackedArchive,
    timeout: Duration,
) -> Result<(), Error> {
    let manifest = archive.manifest();
    let Some(name) = manifest.and_then(|manifest| manifest.requirements_file.as_deref()) else {
        return Ok(());
    };
    let output = Tail::default();
    let started = Instant::now();
    info!(model, requirements = name, "installing packages");
    let result = match archive.member(name) {
        None => Err(InstallError::OutsideArchive),
        Some(requirements) => {
            let command = pip(python, archive, &requirements);
            run(model, command, timeout, &output).await
        }
    };
    match result {
        Ok(()) => {
            debug!(model, output = output.text(), "output of pip");
            info!(
                model,
                seconds = started.elapsed().as_secs(),
                "installed packages"
            );
            Ok(())
        }
        Err(reason) => {
            error!(model, %reason, "package installation failed:\n{}", output.text());
            Err(Error::ModelPreparation(format!(
                "Custom pip package installation failed for model {model}"
            )))
        }
    }
}

fn pip(python: &Path, archive: &UnpackedArchive, requirements: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "install", "-U", "-t"])
        .arg(archive.packages_directory())
        .arg("-r")
        .arg(requirements)
        .current_dir(archive.directory())
        // Asking for a password would wait for ever.
        .env("PIP_NO_INPUT", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for variable in StaticTokens::VARIABLES {
        command.env_remove(variable);
    }
    command
}

async fn run(
    model: &str,
    mut command: Command,
    timeout: Duration,
    output: &Tail,
) -> Result<(), InstallError> {
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
    let status = waited.map_err(|_| InstallError::TimedOut(timeout))??;
    group.release();
    let _ = tokio::time::timeout(LAST_OUTPUT, async {
        while readers.join_next().await.is_some() {}
    })
    .await;
    if status.success() {
        Ok(())
    } else {
        Err(InstallError::Failed(status))
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
mod tests;
