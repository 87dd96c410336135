//! Finding the Python that runs the workers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// No interpreter was found.
#[derive(Debug, Error)]
#[error(
    "no Python interpreter found for the workers; tried:{tried}\nhint: install tserve into a virtual environment, or name one with the key `python` or TSERVE_PYTHON"
)]
pub struct InterpreterNotFound {
    tried: String,
}

/// Finds the interpreter: the configured one; the one beside this executable, as `pip install`
/// puts it; `TSERVE_PYTHON`; the active virtual environment's; `python3` on the PATH.
///
/// # Errors
/// When none of them exists; the message lists what was tried.
pub fn find_interpreter(configured: Option<&Path>) -> Result<PathBuf, InterpreterNotFound> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|executable| executable.parent().map(|folder| folder.join("python3")));
    let named = std::env::var_os("TSERVE_PYTHON").map(PathBuf::from);
    let virtual_environment =
        std::env::var_os("VIRTUAL_ENV").map(|root| PathBuf::from(root).join("bin/python3"));
    let candidates = [
        configured.map(Path::to_path_buf),
        beside,
        named,
        virtual_environment,
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    let mut tried = String::new();
    for candidate in candidates.into_iter().flatten().chain(on_path) {
        if candidate.is_file() {
            return Ok(candidate);
        }
        let _ = write!(tried, "\n  {}", candidate.display());
    }
    Err(InterpreterNotFound { tried })
}
