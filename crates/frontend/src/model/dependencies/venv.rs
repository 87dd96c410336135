//! Virtual environments, shared by all models and versions that need the same one.
//!
//! `<folder>/<key>/` is an environment, `<folder>/<key>.lock` says who uses it: those who do hold the
//! lock together, whoever makes or removes it holds it alone. A file in the environment, written
//! last, says that it is complete. The kernel gives locks back however a server ends, so servers
//! may share the folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tracing::{debug, info, warn};

use super::Tools;

/// Says that an environment is complete. Its time is that of the last use.
const COMPLETE: &str = "tserve-complete";

const LOCK_SUFFIX: &str = ".lock";

/// How often it is looked whether somebody else has made an environment.
const LOOK: Duration = Duration::from_millis(100);

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 32;

/// A folder of virtual environments.
#[derive(Debug, Clone)]
pub struct Venvs {
    folder: PathBuf,
    /// Environments that are kept although nobody uses them.
    spare: usize,
}

/// A virtual environment in use; it stays for as long as this is held.
#[derive(Debug)]
pub struct Venv {
    python: PathBuf,
    lock: Option<File>,
    venvs: Venvs,
}

/// What there is under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// The environment.
    Ready(Venv),
    /// The place for it, and nobody else makes it meanwhile.
    Vacant(Vacancy),
}

/// The place for an environment that is to be made. What is not complete when this is dropped is
/// removed.
#[derive(Debug)]
pub(super) struct Vacancy {
    folder: PathBuf,
    lock: Option<File>,
    venvs: Venvs,
}

/// What the lock of an environment says.
enum Claim {
    /// It is there, and stays while the lock is held.
    Ready(File),
    /// It is not there, and nobody else makes it while the lock is held.
    Missing(File),
    /// Somebody makes or removes it.
    Busy,
}

impl Venvs {
    /// Environments in a folder; of those that nobody uses `spare` are kept.
    pub fn new(folder: PathBuf, spare: usize) -> Self {
        Self { folder, spare }
    }

    /// The environment with this key, or the place to make it in. Waits for others who make it.
    pub(super) async fn find(&self, key: &str) -> io::Result<Found> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let folder = self.folder.join(key);
        loop {
            match self.claim(key)? {
                Claim::Ready(lock) => {
                    note_use(&folder);
                    return Ok(Found::Ready(Venv {
                        python: python(&folder),
                        lock: Some(lock),
                        venvs: self.clone(),
                    }));
                }
                Claim::Missing(lock) => {
                    remove(&folder)?;
                    return Ok(Found::Vacant(Vacancy {
                        folder,
                        lock: Some(lock),
                        venvs: self.clone(),
                    }));
                }
                Claim::Busy => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn claim(&self, key: &str) -> io::Result<Claim> {
        let path = self.folder.join(format!("{key}{LOCK_SUFFIX}"));
        let lock = open_lock(&path)?;
        if lock.try_lock_shared().is_err() || !is_still_there(&lock, &path) {
            return Ok(Claim::Busy);
        }
        if self.folder.join(key).join(COMPLETE).is_file() {
            return Ok(Claim::Ready(lock));
        }
        lock.unlock()?;
        if lock.try_lock().is_err() || !is_still_there(&lock, &path) {
            return Ok(Claim::Busy);
        }
        // Somebody may have made it between the two locks.
        if self.folder.join(key).join(COMPLETE).is_file() {
            return Ok(Claim::Busy);
        }
        Ok(Claim::Missing(lock))
    }

    /// Removes the environments that nobody uses, but for the ones used last.
    pub fn sweep(&self) {
        if let Err(error) = self.try_sweep()
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(folder = %self.folder.display(), %error, "cannot sweep virtual environments");
        }
    }

    fn try_sweep(&self) -> io::Result<()> {
        let mut unused = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(key) = name.strip_suffix(LOCK_SUFFIX) else {
                continue;
            };
            // Other files are somebody else's.
            if key.len() != KEY_DIGITS || !key.bytes().all(|it| it.is_ascii_hexdigit()) {
                continue;
            }
            let lock = open_lock(&path)?;
            if lock.try_lock().is_ok() && is_still_there(&lock, &path) {
                let folder = self.folder.join(key);
                let complete = fs::metadata(folder.join(COMPLETE));
                let last_use = complete.and_then(|it| it.modified()).ok();
                unused.push((last_use, folder, path.clone(), lock));
            }
        }
        unused.sort_by_key(|(last_use, ..)| std::cmp::Reverse(*last_use));
        let kept = unused.iter().take_while(|it| it.0.is_some()).count();
        for (_, folder, path, _lock) in unused.drain(kept.min(self.spare)..) {
            remove(&folder)?;
            // The lock is held: whoever waits for it sees that its file is not there any more.
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

impl Venv {
    /// Its interpreter.
    pub fn python(&self) -> &Path {
        &self.python
    }
}

impl Vacancy {
    /// The folder to make it in; it does not exist yet.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says that it is made: it can be found from now on.
    pub(super) fn complete(self) -> io::Result<()> {
        File::create(self.folder.join(COMPLETE))?;
        info!(folder = %self.folder.display(), "made a virtual environment");
        Ok(())
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        let is_complete = self.folder.join(COMPLETE).is_file();
        drop(self.lock.take());
        if !is_complete {
            self.venvs.sweep();
        }
    }
}

impl Drop for Venv {
    fn drop(&mut self) {
        drop(self.lock.take());
        self.venvs.sweep();
    }
}

/// Sets the time of the last use.
fn note_use(folder: &Path) {
    let complete = OpenOptions::new().write(true).open(folder.join(COMPLETE));
    if let Err(error) = complete.and_then(|file| file.set_modified(SystemTime::now())) {
        debug!(%error, "cannot note the use of a virtual environment");
    }
}

/// The interpreter of the environment in a folder.
pub(super) fn python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Whether a lock file was not removed before it was locked.
fn is_still_there(lock: &File, path: &Path) -> bool {
    let found = fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    found.is_some() && found == lock.metadata().map(|it| (it.dev(), it.ino())).ok()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names an environment after all that makes it what it is: interpreter, requirements, and where pip
/// gets packages from. Requirements that refer to files are like no others, because those files may
/// be.
pub(super) fn key(
    interpreter: &str,
    requirements: Option<&Path>,
    tools: &Tools<'_>,
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(tools.python.as_os_str().as_encoded_bytes());
    add(interpreter.as_bytes());
    if let Some(file) = requirements {
        let text = fs::read(file)?;
        add(&text);
        if refers_to_files(&String::from_utf8_lossy(&text)) {
            add(uuid::Uuid::new_v4().as_bytes());
        }
        let mut settings: Vec<_> = tools
            .variables
            .iter()
            .filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PIP_"))
            .collect();
        settings.sort();
        for (name, value) in settings {
            add(name.as_encoded_bytes());
            add(value.as_encoded_bytes());
        }
        add(tools
            .wheels
            .map_or(&[][..], |it| it.as_os_str().as_encoded_bytes()));
    }
    let sum = hash.finalize();
    let (first, _) = sum.split_at(KEY_DIGITS / 2);
    let first = first.try_into().map_or(0, u128::from_be_bytes);
    Ok(format!("{first:0KEY_DIGITS$x}"))
}

/// Whether a requirements file names files or folders beside it. Better once too often.
fn refers_to_files(text: &str) -> bool {
    const HARMLESS: [&str; 9] = [
        "-i",
        "--index-url",
        "--extra-index-url",
        "--trusted-host",
        "--pre",
        "--prefer-binary",
        "--only-binary",
        "--no-binary",
        "--require-hashes",
    ];
    const ARCHIVES: [&str; 4] = [".whl", ".zip", ".gz", ".bz2"];
    text.to_ascii_lowercase()
        .lines()
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .filter(|line| !line.starts_with('#'))
        .any(|line| {
            let first = line.split([' ', '=']).next().unwrap_or_default();
            let is_option = line.starts_with('-');
            if is_option {
                return !HARMLESS.contains(&first);
            }
            let is_archive = ARCHIVES.iter().any(|ending| line.ends_with(ending));
            is_archive || line.starts_with('.') || line.contains(['/', '\\'])
        })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tempfile::TempDir;

    use super::*;

    fn tools(variables: &[(OsString, OsString)]) -> Tools<'_> {
        Tools {
            python: Path::new("/usr/bin/python3"),
            variables,
            wheels: None,
            timeout: Duration::from_secs(10),
        }
    }

    async fn vacancy(venvs: &Venvs, key: &str) -> Vacancy {
        match venvs.find(key).await.unwrap() {
            Found::Vacant(vacancy) => vacancy,
            Found::Ready(venv) => panic!("{venv:?} is there"),
        }
    }

    async fn ready(venvs: &Venvs, key: &str) -> Venv {
        match venvs.find(key).await.unwrap() {
            Found::Ready(venv) => venv,
            Found::Vacant(vacancy) => {
                fs::create_dir_all(vacancy.folder()).unwrap();
                vacancy.complete().unwrap();
                let Found::Ready(venv) = venvs.find(key).await.unwrap() else {
                    panic!("it was made");
                };
                venv
            }
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn an_environment_is_shared_and_goes_with_its_last_user() {
        let temp = TempDir::new().unwrap();
        let venvs = Venvs::new(temp.path().join("venvs"), 0);
        let first = ready(&venvs, KEY).await;
        let second = ready(&venvs, KEY).await;
        assert_eq!(first.python(), second.python());
        drop(first);
        assert!(second.python().starts_with(temp.path().join("venvs")));
        assert_eq!(names(&venvs.folder).len(), 2);
        drop(second);
        assert!(names(&venvs.folder).is_empty());
    }

    #[tokio::test]
    async fn who_wants_what_another_makes_waits_for_it() {
        let temp = TempDir::new().unwrap();
        let venvs = Venvs::new(temp.path().to_owned(), 0);
        let vacancy = vacancy(&venvs, KEY).await;
        let waiting = tokio::spawn({
            let venvs = venvs.clone();
            async move { venvs.find(KEY).await.unwrap() }
        });
        tokio::time::sleep(LOOK * 2).await;
        assert!(!waiting.is_finished());
        fs::create_dir(vacancy.folder()).unwrap();
        vacancy.complete().unwrap();
        assert!(matches!(waiting.await.unwrap(), Found::Ready(_)));
    }

    #[tokio::test]
    async fn what_was_not_completed_is_made_again() {
        let temp = TempDir::new().unwrap();
        let venvs = Venvs::new(temp.path().to_owned(), 5);
        let half = vacancy(&venvs, KEY).await;
        fs::create_dir(half.folder()).unwrap();
        drop(half);
        assert!(names(temp.path()).is_empty());
        // As a server that was killed leaves it.
        fs::create_dir(temp.path().join(KEY)).unwrap();
        let again = vacancy(&venvs, KEY).await;
        assert!(!again.folder().exists());
    }

    #[tokio::test]
    async fn the_last_ones_used_are_spared_and_other_files_are_left_alone() {
        let temp = TempDir::new().unwrap();
        fs::write(temp.path().join("mine.lock"), "").unwrap();
        let venvs = Venvs::new(temp.path().to_owned(), 2);
        for digit in ["a", "b", "c"] {
            drop(ready(&venvs, &digit.repeat(KEY_DIGITS)).await);
            // Times of files are as coarse as the kernel's clock.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let names = names(temp.path()).join(" ");
        assert!(!names.contains("aaa") && names.contains("bbb"), "{names}");
        assert!(
            names.contains("ccc") && names.contains("mine.lock"),
            "{names}"
        );
    }

    #[test]
    fn keys_tell_environments_apart() {
        let temp = TempDir::new().unwrap();
        let file = temp.path().join("requirements.txt");
        let key_of = |text: &str, interpreter: &str, variables: &[(OsString, OsString)]| {
            fs::write(&file, text).unwrap();
            key(interpreter, Some(&file), &tools(variables)).unwrap()
        };
        let plain = key_of("numpy==2.0", "3.11", &[]);
        assert_eq!(plain.len(), KEY_DIGITS);
        assert_eq!(
            plain,
            key_of("numpy==2.0", "3.11", &[("HOME".into(), "/x".into())])
        );
        let others = [
            key_of("numpy==2.1", "3.11", &[]),
            key_of("numpy==2.0", "3.12", &[]),
            key_of(
                "numpy==2.0",
                "3.11",
                &[("PIP_INDEX_URL".into(), "x".into())],
            ),
            key("3.11", None, &tools(&[])).unwrap(),
        ];
        assert!(!others.contains(&plain));
        assert_ne!(
            key_of("-r more.txt", "3", &[]),
            key_of("-r more.txt", "3", &[])
        );
    }

    #[test]
    fn requirements_that_name_files_are_recognised() {
        for text in [
            "-r more.txt",
            "-e .",
            "./x",
            "x.whl",
            "a @ file:///x",
            "-f wheels",
            "a\\",
        ] {
            assert!(refers_to_files(text), "{text}");
        }
        let plain =
            "# see ./readme\ntorch~=2.0 # or ./x\n--extra-index-url https://h/whl\n\na[b]>1";
        assert!(!refers_to_files(plain));
    }
}
