//! Python packages of one model: `install_py_dep_per_model` runs pip on the archive's requirements
//! file before its workers start, `useVenv` gives them a virtual environment of their own.

mod pip;
mod venv;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{debug, error, info};

pub use self::venv::{Venv, Venvs};

use self::pip::{CommandError, Target};
use self::venv::Found;
use super::archive::UnpackedArchive;
use crate::error::Error;

/// What packages are installed with.
#[derive(Debug, Clone, Copy)]
pub struct Tools<'a> {
    /// The interpreter of the model's runtime.
    pub python: &'a Path,
    /// The environment of workers: requirements run code of their packages.
    pub variables: &'a [(OsString, OsString)],
    /// The only place that packages may come from.
    pub wheels: Option<&'a Path>,
    /// Longest time that a step may take.
    pub timeout: Duration,
}

/// What a model wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The packages of its requirements file.
    pub packages: bool,
    /// A virtual environment.
    pub venv: bool,
}

/// Installs what the archive's requirements file names, if there is one and that is wanted: into
/// the virtual environment that is returned, else into the model's private folder.
///
/// Relative paths in the file are relative to the model folder. When this future is dropped, pip
/// and what it started are killed; what was installed goes with the archive.
///
/// # Errors
/// [`Error::ModelPreparation`] with the reason; the log has the end of the output too.
pub async fn prepare(
    model: &str,
    archive: &UnpackedArchive,
    wanted: Needs,
    tools: &Tools<'_>,
    venvs: &Venvs,
) -> Result<Option<Venv>, Error> {
    let manifest = archive.manifest();
    let requirements = manifest.and_then(|manifest| manifest.requirements_file.as_deref());
    let requirements = requirements.filter(|_| wanted.packages);
    let job = Job {
        model,
        archive,
        tools,
    };
    if wanted.venv {
        return job.venv(requirements, venvs).await.map(Some);
    }
    if let Some(name) = requirements {
        let target = Target::Folder(archive.packages_directory());
        job.install(name, tools.python, target).await?;
    }
    Ok(None)
}

/// One preparation.
struct Job<'a> {
    model: &'a str,
    archive: &'a UnpackedArchive,
    tools: &'a Tools<'a>,
}

impl Job<'_> {
    /// The virtual environment for a requirements file, made if there is none yet.
    async fn venv(&self, requirements: Option<&str>, venvs: &Venvs) -> Result<Venv, Error> {
        let interpreter = pip::identity(self.tools).await;
        let interpreter = interpreter.map_err(|reason| self.venv_failed(&reason))?;
        let file = requirements.map(|name| self.requirements(name)).transpose();
        let file = file.map_err(|reason| self.install_failed(&reason))?;
        let key = venv::key(&interpreter, file.as_deref(), self.tools);
        let key = key.map_err(|error| self.install_failed(&error.into()))?;
        loop {
            let found = venvs.find(&key).await;
            let vacancy = match found.map_err(|error| self.venv_failed(&error.into()))? {
                Found::Ready(venv) => return Ok(venv),
                Found::Vacant(vacancy) => vacancy,
            };
            let made = pip::make_venv(vacancy.folder(), self.tools).await;
            made.map_err(|reason| self.venv_failed(&reason))?;
            if let Some(name) = requirements {
                let python = venv::python(vacancy.folder());
                self.install(name, &python, Target::Environment).await?;
            }
            let completed = vacancy.complete();
            completed.map_err(|error| self.venv_failed(&error.into()))?;
        }
    }

    async fn install(&self, name: &str, python: &Path, target: Target<'_>) -> Result<(), Error> {
        let (model, started) = (self.model, Instant::now());
        info!(model, requirements = name, "installing packages");
        let installed = match self.requirements(name) {
            Ok(file) => pip::install(model, python, target, &file, self.archive, self.tools).await,
            Err(reason) => Err(reason),
        };
        let output = installed.map_err(|reason| self.install_failed(&reason))?;
        debug!(model, output, "output of pip");
        let seconds = started.elapsed().as_secs();
        info!(model, seconds, "installed packages");
        Ok(())
    }

    fn requirements(&self, name: &str) -> Result<PathBuf, CommandError> {
        self.archive
            .member(name)
            .ok_or(CommandError::OutsideArchive)
    }

    fn install_failed(&self, reason: &CommandError) -> Error {
        self.failed("Custom pip package installation failed", reason)
    }

    fn venv_failed(&self, reason: &CommandError) -> Error {
        self.failed("Virtual environment creation failed", reason)
    }

    fn failed(&self, what: &str, reason: &CommandError) -> Error {
        let model = self.model;
        error!(model, %reason, "{what}:\n{}", reason.output());
        Error::ModelPreparation(format!("{what} for model {model}: {reason}"))
    }
}
