//! An archive that is not complete yet: a hidden, locked file beside the one it is to become,
//! removed in every case but success.

use std::fs::Permissions;
use std::io::{self, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tracing::info;

use super::checksum::Checksum;
use super::download::DownloadError;
use super::fetched;

const PREFIX: &str = ".tserve-";
const SUFFIX: &str = ".download";
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// An archive that is being written. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Partial {
    file: NamedTempFile,
    writer: File,
    /// Where it comes from, for the log.
    origin: String,
    received: u64,
    announced: Option<u64>,
    max_bytes: u64,
    reported: Instant,
}

impl Partial {
    /// Makes the file, beside `target`.
    pub(super) fn create(
        target: &Path,
        origin: String,
        max_bytes: u64,
    ) -> Result<Self, DownloadError> {
        let folder = target.parent().unwrap_or(Path::new("."));
        // Hidden, so that `--models all` does not take it for an archive.
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(DownloadError::Disk)?;
        // Says that somebody still writes it. Where files cannot be locked nobody sweeps either.
        let _ = file.as_file().try_lock();
        Ok(Self {
            writer: File::from_std(file.reopen().map_err(DownloadError::Disk)?),
            file,
            origin,
            received: 0,
            announced: None,
            max_bytes,
            reported: Instant::now(),
        })
    }

    /// Bytes that it has.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Notes how long the whole archive is, if the other side says so, and whether there is room
    /// for it.
    pub(super) fn announce(&mut self, total: Option<u64>) -> Result<(), DownloadError> {
        self.announced = total;
        if self.received == 0 {
            info!(
                url = self.origin,
                total_bytes = total,
                "fetching an archive"
            );
        }
        let Some(total) = total else { return Ok(()) };
        if total > self.max_bytes {
            return Err(DownloadError::TooLarge(self.max_bytes));
        }
        // Where nobody knows how much is free, writing will tell.
        if let Ok(disk) = rustix::fs::fstatvfs(self.file.as_file()) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let needed = total.saturating_sub(self.received);
            if needed > free {
                return Err(DownloadError::NoRoom { needed, free });
            }
        }
        Ok(())
    }

    /// Appends what arrived.
    pub(super) async fn write(&mut self, chunk: &[u8]) -> Result<(), DownloadError> {
        self.received += chunk.len() as u64;
        if self.received > self.max_bytes {
            return Err(DownloadError::TooLarge(self.max_bytes));
        }
        self.writer
            .write_all(chunk)
            .await
            .map_err(DownloadError::Disk)?;
        if self.reported.elapsed() >= PROGRESS_INTERVAL {
            self.reported = Instant::now();
            let percent = self.announced.filter(|&total| total > 0);
            info!(
                url = self.origin,
                received_bytes = self.received,
                total_bytes = self.announced,
                percent = percent.map(|total| self.received.saturating_mul(100) / total),
                "fetching an archive"
            );
        }
        Ok(())
    }

    /// Forgets what arrived, for a download that has to start again.
    pub(super) async fn rewind(&mut self) -> Result<(), DownloadError> {
        let started_over = async {
            self.writer.flush().await?;
            self.writer.set_len(0).await?;
            self.writer.seek(SeekFrom::Start(0)).await
        };
        started_over.await.map_err(DownloadError::Disk)?;
        self.received = 0;
        Ok(())
    }

    /// Whether all of it has arrived, as far as its length was known.
    pub(super) fn check_length(&self) -> Result<(), DownloadError> {
        match self.announced {
            Some(announced) if announced != self.received => Err(DownloadError::Truncated {
                received: self.received,
                announced,
            }),
            _ => Ok(()),
        }
    }

    /// Checks the archive and gives it its name.
    pub(super) async fn finish(mut self, target: &Target<'_>) -> Result<(), DownloadError> {
        self.check_length()?;
        let written = async {
            self.writer.flush().await?;
            self.writer.sync_all().await
        };
        written.await.map_err(DownloadError::Disk)?;
        if let Some(expected) = target.checksum {
            verify(self.file.path().to_owned(), expected).await?;
        }
        fetched::mark(self.file.as_file(), target.place);
        match target.if_present {
            IfPresent::Keep => self.file.persist_noclobber(target.path),
            IfPresent::Replace => self.file.persist(target.path),
        }
        .map_err(|error| DownloadError::Disk(error.error))?;
        info!(
            url = self.origin,
            bytes = self.received,
            "fetched an archive"
        );
        Ok(())
    }
}

/// What a partial archive is to become.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) path: &'a Path,
    /// The checksum that it has to have.
    pub(super) checksum: Option<Checksum>,
    /// The URL that it comes from.
    pub(super) place: &'a str,
    pub(super) if_present: IfPresent,
}

/// What happens to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfPresent {
    /// It stays: somebody put it there meanwhile.
    Keep,
    /// It makes room.
    Replace,
}

/// Fails when a file has another checksum.
pub(super) async fn verify(file: PathBuf, expected: Checksum) -> Result<(), DownloadError> {
    let found = tokio::task::spawn_blocking(move || Checksum::of(&file))
        .await
        .map_err(|error| DownloadError::Disk(io::Error::other(error)))?
        .map_err(DownloadError::Disk)?;
    if found == expected {
        Ok(())
    } else {
        Err(DownloadError::Checksum { found, expected })
    }
}

/// Removes a file if it is a partial archive that nobody writes any more, because its server was
/// killed. Blocks for a moment.
pub(super) fn sweep(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
        return Ok(());
    }
    // Looked at before it is opened: opening a pipe would wait for somebody to write to it.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(());
    }
    let file = std::fs::File::open(path)?;
    if file.try_lock().is_ok() {
        std::fs::remove_file(path)?;
        info!(path = %path.display(), "removed a download that was never finished");
    }
    Ok(())
}
