//! `--stop`.

use std::io::{self, Write};
use std::time::Duration;

use super::instance::Instance;
use super::pid_file::PidFile;
use crate::config::KEY_FILE;

/// How long `--stop --foreground` waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the running server, and returns the exit code.
pub(super) fn stop(
    running: Option<Instance>,
    pid_file: &PidFile,
    is_patient: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let Some(instance) = running else {
        writeln!(out, "TorchServe is not currently running.")?;
        return Ok(0);
    };
    match instance.terminate() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            writeln!(out, "TorchServe already stopped.")?;
        }
        Err(error) => {
            writeln!(err, "TorchServe cannot be stopped: {error}")?;
            return Ok(1);
        }
        Ok(()) if is_patient => {
            if !instance.wait(PATIENCE) {
                writeln!(out, "Stopping TorchServe took too long.")?;
            }
        }
        Ok(()) => writeln!(out, "TorchServe has stopped.")?,
    }
    // Both may be gone already: the server removes its pid file, and not every server has keys.
    std::fs::remove_file(KEY_FILE).ok();
    pid_file.remove().ok();
    Ok(0)
}
