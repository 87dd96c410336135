//! The server's private folder: unpacked models and the empty folder that workers boot in.
//!
//! `<temp_dir>/tserve-<random>/` with
//! - `owner.lock`, locked for as long as the server lives, however it ends,
//! - `models/`, one folder per unpacked archive,
//! - `venvs/`, virtual environments of models, unless another folder is configured for them,
//! - `boot/`, empty and read-only, the working directory of workers that are still booting.
//!
//! A server that ends in order removes its folder; the next server to start removes those of
//! servers that were killed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tracing::{debug, info, warn};

const PREFIX: &str = "tserve-";
/// Hidden until it is locked, so that nobody takes it for a dead server's.
const UNFINISHED_PREFIX: &str = ".tserve-";
const LOCK_NAME: &str = "owner.lock";
/// What the lock file starts with; a folder without it was made by somebody else.
const LOCK_MARK: &[u8] = b"tserve server ";

/// The private folder of this server. Dropping it removes it.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    // Held open, which is what keeps the lock.
    _lock: File,
}

impl RuntimeDir {
    /// Removes the folders of dead servers below `temp_dir`, then makes one for this server.
    ///
    /// # Errors
    /// When the new folder cannot be made. Leftovers that cannot be removed are only logged.
    pub fn create(temp_dir: &Path) -> io::Result<Self> {
        sweep(temp_dir);
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED_PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(temp_dir)?;
        let mut lock = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(unfinished.path().join(LOCK_NAME))?;
        lock.lock()?;
        lock.write_all(LOCK_MARK)?;
        writeln!(lock, "{}", std::process::id())?;
        let mut builder = DirBuilder::new();
        builder
            .mode(0o755)
            .create(unfinished.path().join("models"))?;
        builder.mode(0o555).create(unfinished.path().join("boot"))?;
        let name = unfinished.path().file_name().unwrap_or_default();
        let path = temp_dir.join(name.to_string_lossy().trim_start_matches('.'));
        // The lock belongs to the file and moves along.
        fs::rename(unfinished.path(), &path)?;
        let _ = unfinished.keep();
        debug!(path = %path.display(), "made the runtime folder");
        Ok(Self { path, _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where archives are unpacked.
    pub fn models(&self) -> PathBuf {
        self.path.join("models")
    }

    /// Where virtual environments are made; it exists once there is one.
    pub fn venvs(&self) -> PathBuf {
        self.path.join("venvs")
    }

    /// Where workers boot: an empty folder, so that nothing in it is taken for a module.
    pub fn boot(&self) -> PathBuf {
        self.path.join("boot")
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove the runtime folder");
        }
    }
}

/// Removes the folders of servers that are no more.
fn sweep(temp_dir: &Path) {
    let Ok(entries) = fs::read_dir(temp_dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) && !name.starts_with(UNFINISHED_PREFIX) {
            continue;
        }
        let path = entry.path();
        match take_over(&path) {
            // The lock is held until the folder is gone, so that only one server removes it.
            Ok(Some(_lock)) => match remove(&path) {
                Ok(()) => info!(path = %path.display(), "removed the folder of a dead server"),
                Err(error) => {
                    warn!(path = %path.display(), %error, "cannot remove the folder of a dead server");
                }
            },
            Ok(None) => {}
            Err(error) => debug!(path = %path.display(), %error, "left a folder alone"),
        }
    }
}

/// The lock of a dead server's folder; `None` when the folder is in use, or was not made by a
/// server of this user.
fn take_over(folder: &Path) -> io::Result<Option<File>> {
    // A link, or a folder that another user made to have us delete something, is not ours.
    let user = rustix::process::geteuid().as_raw();
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user {
        return Ok(None);
    }
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut lock = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(folder.join(LOCK_NAME))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut mark = [0; LOCK_MARK.len()];
    // Too short for the mark: a server was just being started, or it was not ours.
    lock.read_exact(&mut mark)?;
    Ok((mark == LOCK_MARK).then_some(lock))
}

/// Removes a runtime folder, its lock file last, so that an interrupted removal can be repeated.
fn remove(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == LOCK_NAME {
            continue;
        }
        if entry.file_type()?.is_dir() {
            // Nobody but the superuser may empty it otherwise.
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(0o700));
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Leaves the folder as a server does that is killed.
    fn kill(runtime: RuntimeDir) -> PathBuf {
        let path = runtime.path.clone();
        fs::rename(&path, path.with_extension("kept")).unwrap();
        drop(runtime);
        fs::rename(path.with_extension("kept"), &path).unwrap();
        path
    }

    #[test]
    fn the_folder_is_private_complete_and_gone_at_the_end() {
        let temp = TempDir::new().unwrap();
        let runtime = RuntimeDir::create(temp.path()).unwrap();
        assert!(runtime.path().starts_with(temp.path()));
        assert_eq!(names(runtime.path()), ["boot", "models", "owner.lock"]);
        assert!(names(&runtime.boot()).is_empty());
        let mode = fs::metadata(runtime.path()).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);
        fs::create_dir_all(runtime.models().join("a/b")).unwrap();
        fs::write(runtime.models().join("a/b/c"), "x").unwrap();
        drop(runtime);
        assert!(names(temp.path()).is_empty());
    }

    #[test]
    fn the_next_server_removes_what_a_killed_one_left_and_nothing_else() {
        let temp = TempDir::new().unwrap();
        let alive = RuntimeDir::create(temp.path()).unwrap();
        let killed = RuntimeDir::create(temp.path()).unwrap();
        fs::write(killed.models().join("weights"), "x").unwrap();
        let killed = kill(killed);
        // Of a user who likes the name.
        fs::create_dir_all(temp.path().join("tserve-notes/models")).unwrap();
        fs::create_dir(temp.path().join("tserve-foreign")).unwrap();
        fs::write(
            temp.path().join("tserve-foreign/owner.lock"),
            "not ours, really",
        )
        .unwrap();
        // A trap: a link to a folder that looks dead.
        let precious = TempDir::new().unwrap();
        let bait = kill(RuntimeDir::create(precious.path()).unwrap());
        symlink(&bait, temp.path().join("tserve-trap")).unwrap();

        let next = RuntimeDir::create(temp.path()).unwrap();
        assert!(!killed.exists());
        assert!(alive.path().exists() && next.path().exists() && bait.exists());
        drop((alive, next));
        assert_eq!(
            names(temp.path()),
            ["tserve-foreign", "tserve-notes", "tserve-trap"]
        );
    }

    #[test]
    fn a_server_that_died_while_starting_is_swept_too() {
        let temp = TempDir::new().unwrap();
        let killed = kill(RuntimeDir::create(temp.path()).unwrap());
        let hidden = temp.path().join(".tserve-abc");
        fs::rename(killed, &hidden).unwrap();
        drop(RuntimeDir::create(temp.path()).unwrap());
        assert!(names(temp.path()).is_empty());
    }

    #[test]
    fn a_temp_folder_that_does_not_exist_is_an_error() {
        assert!(RuntimeDir::create(Path::new("/no/such/folder")).is_err());
    }
}
