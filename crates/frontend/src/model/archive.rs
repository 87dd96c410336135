//! Unpacking archives, defensively.
//!
//! An archive is somebody else's input: it may be broken, or made to write outside its folder, to
//! fill the disk or to smuggle in links. [`unpack`] reads `.mar` files as zip and every other file
//! as a gzipped tar whose first path component is dropped, writes plain files and folders only,
//! and gives either a complete private folder or an error with nothing left behind. A folder is
//! used in place, through a link.
//!
//! **A `.mar` that is not a zip at all** (no zip signature at its start, or empty) gives an empty
//! model folder without a manifest, and a warning. That is what the original does, and it is
//! visible: registered over the API such an archive has no name (`Model name is not defined.`),
//! while loaded at start it gets one from its file name and is listed. Anything that starts as a
//! zip and then turns out to be corrupt, truncated or hostile is an error.

mod member;
mod staging;
mod tape;
mod zipped;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error as ThisError;
use tracing::{error, warn};

pub use self::member::read_member;
use self::staging::Staging;
use super::manifest::Manifest;
use super::store::LocatedArchive;
use crate::error::Error;

/// What an archive may become on disk.
///
/// Bytes are counted as they are written; what the archive declares about itself is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes written in all.
    pub max_unpacked_bytes: u64,
    /// Files and folders made in all.
    pub max_entries: u64,
    /// Bytes written for every byte of the archive file, beyond `ratio_exempt_bytes`. Deflate
    /// reaches about 1030 on zeros; trained weights stay near 1.
    pub max_ratio: u64,
    /// Bytes that may be written whatever the ratio.
    pub ratio_exempt_bytes: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            max_unpacked_bytes: 512 << 30,
            max_entries: 200_000,
            max_ratio: 200,
            ratio_exempt_bytes: 1 << 30,
        }
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, ThisError)]
pub enum UnpackError {
    /// The archive does not read as what it should be.
    #[error("the archive is corrupt: {0}")]
    Corrupt(String),
    /// An entry would do something an archive must not do.
    #[error("entry \"{entry}\" {reason}")]
    Unsafe {
        /// Name of the entry, made printable and short.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A limit of [`UnpackLimits`] was reached.
    #[error("the archive {0}")]
    TooLarge(String),
    /// The disk failed or is full.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An archive that is ready to be served: its folder and its manifest. The folder is removed when
/// this is dropped, unless it is somebody else's (a model directory used in place).
#[derive(Debug)]
pub struct UnpackedArchive {
    manifest: Option<Manifest>,
    directory: PathBuf,
    link_parent: Option<PathBuf>,
    // The last field: the folder goes when everything else is done with it.
    _folder: PrivateFolder,
}

impl UnpackedArchive {
    /// The manifest; `None` when the archive holds none.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The folder that handlers see as `model_dir` (a link for directories used in place).
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// For directories used in place: the private folder beside the link, where per-model
    /// packages go.
    pub fn link_parent(&self) -> Option<&Path> {
        self.link_parent.as_deref()
    }

    /// The private folder that per-model packages are installed into.
    pub fn packages_directory(&self) -> &Path {
        self.link_parent().unwrap_or(&self.directory)
    }

    /// A file that the manifest names, for example its `configFile`; `None` when the name points
    /// outside the model folder.
    pub fn member(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        let is_inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        (is_inside && !name.is_empty()).then(|| self.directory.join(path))
    }
}

/// A folder below the server's `models/` that is removed when this is dropped.
#[derive(Debug)]
struct PrivateFolder(PathBuf);

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Links inside are removed, not followed.
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(folder = %self.0.display(), %error, "cannot remove a model folder");
            }
            _ => {}
        }
    }
}

/// Makes a located archive ready below `models_directory`, in a folder named by 32 hex digits.
/// Blocks; call it where that is allowed.
///
/// # Errors
/// [`Error::InvalidModel`] for a malformed manifest. [`Error::Internal`], with the original's
/// text followed by the reason, when the archive cannot be unpacked. In both cases nothing of it
/// is left on disk.
pub fn unpack(
    archive: &LocatedArchive,
    models_directory: &Path,
    limits: &UnpackLimits,
) -> Result<UnpackedArchive, Error> {
    let failed = |reason: UnpackError| {
        error!(url = archive.url(), path = %archive.path().display(), %reason, "cannot unpack");
        Error::Internal(format!("Failed to save model: {}: {reason}", archive.url()))
    };
    let name = uuid::Uuid::new_v4().simple().to_string();
    let target = models_directory.join(&name);
    if archive.path().is_dir() {
        let (folder, directory) =
            link(archive.path(), target).map_err(|error| failed(error.into()))?;
        return Ok(UnpackedArchive {
            manifest: Manifest::read(&directory)?,
            link_parent: Some(folder.0.clone()),
            directory,
            _folder: folder,
        });
    }
    // Staged first, so that a folder with a final name is always a complete one.
    let staged = PrivateFolder(models_directory.join(format!("{name}.staged")));
    extract(archive.path(), &staged.0, limits).map_err(failed)?;
    let manifest = Manifest::read(&staged.0)?;
    let folder = PrivateFolder(target);
    fs::rename(&staged.0, &folder.0).map_err(|error| failed(error.into()))?;
    Ok(UnpackedArchive {
        manifest,
        directory: folder.0.clone(),
        link_parent: None,
        _folder: folder,
    })
}

/// Links a model directory into a private folder. A directory that holds nothing but one
/// directory stands for that one.
fn link(source: &Path, target: PathBuf) -> io::Result<(PrivateFolder, PathBuf)> {
    let mut source = fs::canonicalize(source)?;
    let mut children = fs::read_dir(&source)?;
    if let (Some(only), None) = (children.next().transpose()?, children.next()) {
        // Follows a link, as the original does.
        if only.path().is_dir() {
            source = fs::canonicalize(only.path())?;
        }
    }
    fs::create_dir(&target)?;
    let folder = PrivateFolder(target);
    let directory = folder
        .0
        .join(source.file_name().unwrap_or("model".as_ref()));
    symlink(&source, &directory)?;
    Ok((folder, directory))
}

/// Unpacks an archive file into a new folder.
fn extract(archive: &Path, folder: &Path, limits: &UnpackLimits) -> Result<(), UnpackError> {
    let mut file = File::open(archive)?;
    let mut staging = Staging::create(folder, limits, file.metadata()?.len())?;
    if archive
        .extension()
        .is_some_and(|extension| extension == "mar")
    {
        if !zipped::is_zip(&mut file)? {
            warn!(
                archive = %archive.display(),
                "not a zip archive; it is treated as an empty one, without manifest or handler"
            );
            return Ok(());
        }
        zipped::extract(file, &mut staging, limits)
    } else {
        tape::extract(file, &mut staging)
    }
}

/// A reader that stops with an error when more is read than was allowed, so that a library that
/// collects something in memory (directories, long names) collects a bounded amount.
#[derive(Debug)]
struct Metered<R> {
    inner: R,
    allowance: Allowance,
}

/// What may still be read; shared between a [`Metered`] reader and whoever grants.
#[derive(Debug, Clone)]
struct Allowance(Arc<AtomicU64>);

impl Allowance {
    fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One thread reads and grants, so relaxed loads and stores are enough.
        let left = self.allowance.0.load(Ordering::Relaxed);
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(
                "its directory or its headers are too large",
            ));
        }
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..wanted])?;
        self.allowance.set(left - read as u64);
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
