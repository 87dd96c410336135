//! The file that names the running server: one server per temporary folder.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::instance::{Instance, Occupant};

/// Name of the file; the original's, so that the two notice each other's leftovers.
const NAME: &str = ".model_server.pid";

/// The pid file of one temporary folder.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

/// What a pid file says.
#[derive(Debug)]
pub(super) enum Found {
    /// There is none, or it names this process.
    Nothing,
    /// It names no living process.
    Orphan,
    /// It names a living process that is no server.
    Stranger,
    /// It names a server.
    Running(Instance),
}

impl PidFile {
    /// The pid file of a temporary folder.
    pub(super) fn at(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
        }
    }

    /// Reads it and looks whom it names.
    pub(super) fn look(&self) -> Found {
        match self.read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Ok(Some(pid)) if pid == rustix::process::getpid() => Found::Nothing,
            Ok(Some(pid)) => match Instance::look(pid) {
                Occupant::Nobody => Found::Orphan,
                Occupant::Stranger => Found::Stranger,
                Occupant::Server(instance) => Found::Running(instance),
            },
            Ok(None) => Found::Orphan,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Found::Orphan,
            // Another user's, most likely: it is left alone.
            Err(_) => Found::Stranger,
        }
    }

    /// Writes a process id.
    ///
    /// The file is replaced as a whole, so that a link planted under its well-known name is not
    /// followed and nobody reads half a number.
    pub(super) fn write(&self, pid: u32) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Others may know which process serves.
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        write!(file, "{pid}")?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Removes it unless it names another process by now.
    pub(super) fn remove_if(&self, pid: u32) {
        let is_named = |named: Pid| u32::try_from(named.as_raw_nonzero().get()) == Ok(pid);
        if matches!(self.read(), Ok(Some(named)) if is_named(named)) {
            // Whoever removed it first wanted the same.
            self.remove().ok();
        }
    }

    fn read(&self) -> io::Result<Option<Pid>> {
        let text = std::fs::read_to_string(&self.path)?;
        let number = text.trim().parse::<i32>().ok();
        Ok(number.filter(|it| *it > 0).and_then(Pid::from_raw))
    }
}

impl fmt::Display for PidFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = PidFile::at(folder.path());
        let path = folder.path().join(NAME);
        assert!(matches!(pid_file.look(), Found::Nothing));
        for nonsense in ["", "abc", "-5", "0", "99999999999", "2147483646"] {
            std::fs::write(&path, nonsense).unwrap();
            assert!(matches!(pid_file.look(), Found::Orphan), "{nonsense}");
        }
        pid_file.write(std::process::id()).unwrap();
        assert!(matches!(pid_file.look(), Found::Nothing));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(matches!(pid_file.look(), Found::Orphan));
        pid_file.write(1).unwrap();
        assert!(matches!(pid_file.look(), Found::Stranger));
    }

    #[test]
    fn only_the_own_file_is_removed_and_links_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(NAME)).unwrap();
        let pid_file = PidFile::at(folder.path());
        pid_file.write(77).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        pid_file.remove_if(78);
        assert!(folder.path().join(NAME).exists());
        pid_file.remove_if(77);
        assert!(!folder.path().join(NAME).exists());
    }
}
