//! The folder that an archive is unpacked into, and the rules for what goes in.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{UnpackError, UnpackLimits};

/// Longest path inside an archive, bytes. The operating system allows 4096 with the folder above.
const MAX_PATH_BYTES: usize = 2048;
/// Longest name of one file or folder, bytes, on every common file system.
const MAX_NAME_BYTES: usize = 255;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;

const BUFFER_BYTES: usize = 128 << 10;

/// A new folder in which only plain files and folders are made, all below it.
///
/// It never contains a link, so a path of plain names cannot lead out of it.
#[derive(Debug)]
pub(super) struct Staging {
    root: PathBuf,
    max_bytes: u64,
    max_entries: u64,
    written_bytes: u64,
    entries: u64,
    /// The folder of the last file, known to exist.
    last_parent: PathBuf,
    buffer: Vec<u8>,
}

impl Staging {
    /// Makes the folder. `archive_bytes` is the size of the archive file.
    pub(super) fn create(
        root: &Path,
        limits: &UnpackLimits,
        archive_bytes: u64,
    ) -> io::Result<Self> {
        DirBuilder::new().mode(0o755).create(root)?;
        let by_ratio = archive_bytes
            .saturating_mul(limits.max_ratio)
            .max(limits.ratio_exempt_bytes);
        Ok(Self {
            root: root.to_owned(),
            max_bytes: limits.max_unpacked_bytes.min(by_ratio),
            max_entries: limits.max_entries,
            written_bytes: 0,
            entries: 0,
            last_parent: PathBuf::new(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Makes a folder and those above it; making one twice is fine.
    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        let mut made = self.root.clone();
        for name in path.0.split('/') {
            made.push(name);
            match DirBuilder::new().mode(0o755).create(&made) {
                Ok(()) => self.count_entry()?,
                // There are no links in here, so this is the entry's own kind.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && made.is_dir() => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(path.refuse("is both a file and a folder"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes a file and the folders above it; gives the number of bytes written.
    ///
    /// Permissions are those of any new file: an archive cannot make one executable, writable for
    /// others, or set-user-id.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        content: &mut impl Read,
    ) -> Result<u64, UnpackError> {
        if let Some((parent, _)) = path.0.rsplit_once('/')
            && self.last_parent != Path::new(parent)
        {
            self.directory(&EntryPath(parent.to_owned()))?;
            self.last_parent = parent.into();
        }
        self.count_entry()?;
        let target = self.root.join(&path.0);
        let mut file = match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&target)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Readers disagree on which of the two counts; so would a check and the use.
                return Err(path.refuse("occurs twice"));
            }
            Err(error) => return Err(error.into()),
        };
        self.copy(content, &mut file)
    }

    fn copy(&mut self, content: &mut impl Read, file: &mut File) -> Result<u64, UnpackError> {
        let mut copied = 0;
        loop {
            let read = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(copied),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Whatever fails while an archive is read is the archive's fault, except the disk,
                // which reports in numbers.
                Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
                Err(error) => return Err(UnpackError::Corrupt(error.to_string())),
            };
            copied += read as u64;
            self.written_bytes += read as u64;
            if self.written_bytes > self.max_bytes {
                return Err(UnpackError::TooLarge(format!(
                    "unpacks to more than {} bytes, the limit for an archive of its size",
                    self.max_bytes
                )));
            }
            file.write_all(&self.buffer[..read])?;
        }
    }

    fn count_entry(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.max_entries {
            return Err(too_many_entries(self.max_entries));
        }
        Ok(())
    }
}

/// The archive has more entries than allowed.
pub(super) fn too_many_entries(limit: u64) -> UnpackError {
    UnpackError::TooLarge(format!("has more than {limit} files and folders"))
}

/// A checked path inside an archive: plain names joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath(String);

impl EntryPath {
    /// Checks a path as the archive spells it; `None` stands for the archive's own root.
    pub(super) fn parse(raw: &[u8]) -> Result<Option<Self>, UnpackError> {
        let refuse = |reason| {
            Err(UnpackError::Unsafe {
                entry: printable(raw),
                reason,
            })
        };
        let Ok(path) = std::str::from_utf8(raw) else {
            return refuse("is not named in UTF-8");
        };
        if path.len() > MAX_PATH_BYTES {
            return refuse("has too long a path");
        }
        if path.chars().any(char::is_control) {
            return refuse("has control characters in its name");
        }
        if path.contains('\\') {
            return refuse("has a backslash in its name");
        }
        if path.starts_with('/') {
            return refuse("has an absolute path");
        }
        let bytes = path.as_bytes();
        if bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
            return refuse("starts with a drive letter");
        }
        let mut names = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => return refuse("points outside the model folder"),
                name if name.len() > MAX_NAME_BYTES => return refuse("has too long a name"),
                name => names.push(name),
            }
        }
        if names.len() > MAX_DEPTH {
            return refuse("is nested too deeply");
        }
        Ok((!names.is_empty()).then(|| Self(names.join("/"))))
    }

    /// An error about this entry.
    pub(super) fn refuse(&self, reason: &'static str) -> UnpackError {
        UnpackError::Unsafe {
            entry: printable(self.0.as_bytes()),
            reason,
        }
    }
}

/// A name as it may stand in a log line or an answer.
pub(super) fn printable(raw: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(&raw[..raw.len().min(SHOWN * 4)]);
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if raw.len() > shown.len() {
        shown.push_str("...");
    }
    shown
}
