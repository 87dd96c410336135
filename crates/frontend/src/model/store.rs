//! Where archives come from: the model store, directories, URLs.
//!
//! [`ModelStore::locate`] turns the `url` of a registration into a file or folder on disk. Only
//! `http`, `https` and `file` URLs that the operator's patterns allow are fetched, into the model
//! store; of everything else only the last path segment counts, as in the original.

mod download;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use tokio::fs;
use tracing::{info, warn};

use self::download::Downloader;
use crate::error::Error;

/// An archive file or a model directory on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedArchive {
    path: PathBuf,
    url: String,
    is_downloaded: bool,
}

impl LocatedArchive {
    /// The file, or the directory to use in place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `url` it was asked for by; describe and list show it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether this server fetched it, so that it goes when its model goes.
    pub fn is_downloaded(&self) -> bool {
        self.is_downloaded
    }

    /// Deletes the file if this server fetched it; otherwise does nothing. For models that are
    /// unregistered and for registrations that failed after the download.
    pub async fn discard(&self) {
        if !self.is_downloaded {
            return;
        }
        match fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %self.path.display(), %error, "cannot delete a fetched archive");
            }
            _ => {}
        }
    }
}

/// What to do when the store already holds a file of the name that would be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfPresent {
    /// Answer with an error, as the registration API does.
    Refuse,
    /// Serve that file. For models loaded at start: a server must be able to start twice.
    Reuse,
}

/// How much and how long a download may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadLimits {
    /// Largest archive, bytes.
    pub max_bytes: u64,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence of the other side, once connected.
    pub idle_timeout: Duration,
}

impl Default for DownloadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 512 << 30,
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// The folder of archives, and the places it may be filled from.
#[derive(Debug)]
pub struct ModelStore {
    root: Option<PathBuf>,
    downloader: Downloader,
}

impl ModelStore {
    /// A store in `root`. `allowed_urls` must match a URL as a whole.
    pub fn new(root: Option<PathBuf>, allowed_urls: &[Regex], limits: DownloadLimits) -> Self {
        Self {
            root,
            downloader: Downloader::new(allowed_urls, limits),
        }
    }

    /// Finds, or fetches, what `url` names.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] when there is nothing, or it must not be fetched;
    /// [`Error::Download`] when fetching failed, with the reason in the log; [`Error::Internal`]
    /// when the store holds a file of that name already.
    pub async fn locate(&self, url: &str, if_present: IfPresent) -> Result<LocatedArchive, Error> {
        let not_found = |message: String| Err(Error::ModelNotFound(message));
        let Some(root) = &self.root else {
            return not_found("Model store has not been configured.".to_owned());
        };
        if url.is_empty() {
            return not_found("empty url".to_owned());
        }
        if url.contains("..") {
            return not_found(format!("Relative path is not allowed in url: {url}"));
        }
        if has_remote_scheme(url) {
            if !self.downloader.allows(url) {
                return not_found(format!("Given URL {url} does not match any allowed URL(s)"));
            }
            return self.fetch(root, url, if_present).await;
        }
        let located = |path| {
            Ok(LocatedArchive {
                path,
                url: url.to_owned(),
                is_downloaded: false,
            })
        };
        let name = base_name(url);
        let in_store = name.map(|name| root.join(name));
        if let Some(path) = &in_store
            && is_file(path).await
        {
            return located(path.clone());
        }
        // A directory may lie anywhere: it is used in place. (The original allows it.)
        for path in [Some(PathBuf::from(url)), in_store].into_iter().flatten() {
            if is_directory(&path).await {
                return located(path);
            }
        }
        not_found(format!("Model not found at: {url}"))
    }

    /// Everything in the store that is an archive by its name or a directory, in name order.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn archives(&self) -> io::Result<Vec<String>> {
        let Some(root) = &self.root else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        let mut entries = fs::read_dir(root).await?;
        while let Some(entry) = entries.next_entry().await? {
            let Ok(name) = entry.file_name().into_string() else {
                warn!(name = ?entry.file_name(), "skipping a file that is not named in UTF-8");
                continue;
            };
            let is_archive = [".mar", ".model", ".tar.gz"]
                .iter()
                .any(|suffix| name.ends_with(suffix));
            if !name.starts_with('.') && (is_archive || is_directory(&entry.path()).await) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes what downloads of killed servers left behind. For the start of a server.
    pub fn sweep(&self) {
        let Some(root) = &self.root else { return };
        let Ok(entries) = std::fs::read_dir(root) else {
            return;
        };
        for entry in entries.flatten() {
            if let Err(error) = download::sweep(&entry.path()) {
                warn!(path = %entry.path().display(), %error, "cannot remove a partial download");
            }
        }
    }

    async fn fetch(
        &self,
        root: &Path,
        url: &str,
        if_present: IfPresent,
    ) -> Result<LocatedArchive, Error> {
        let Some(name) = base_name(url) else {
            warn!(url, "cannot fetch an archive: the URL names no file");
            return Err(failed_download(url));
        };
        let path = root.join(name);
        let exists = || Error::Internal(format!("Model file already exists {name}"));
        if fs::symlink_metadata(&path).await.is_ok() {
            if if_present == IfPresent::Reuse && is_file(&path).await {
                info!(url, path = %path.display(), "using the archive fetched before");
                return Ok(LocatedArchive {
                    path,
                    url: url.to_owned(),
                    is_downloaded: false,
                });
            }
            return Err(exists());
        }
        match self.downloader.fetch(url, &path).await {
            Ok(()) => Ok(LocatedArchive {
                path,
                url: url.to_owned(),
                is_downloaded: true,
            }),
            // Somebody else fetched it meanwhile.
            Err(error) if error.is_conflict() => Err(exists()),
            Err(error) => {
                warn!(url, %error, "cannot fetch an archive");
                Err(failed_download(url))
            }
        }
    }
}

/// The name that a model loaded at start gets when nothing else names it: the file name without
/// its extension, with `_` for everything but ASCII letters, digits and `_`.
pub fn derived_name(location: &str) -> String {
    let name = location.trim_end_matches('/');
    let mut name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    if (name.contains(".mar") || name.contains(".model"))
        && let Some((stem, _)) = name.rsplit_once('.')
    {
        name = stem;
    }
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// Whether fetching is meant, and not a name in the store.
fn has_remote_scheme(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| {
        ["http", "https", "file"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

/// The last path segment; `None` when there is none that could be a file name.
fn base_name(url: &str) -> Option<&str> {
    let path = if has_remote_scheme(url) {
        let (_, rest) = url.split_once("://")?;
        let rest = rest.split(['?', '#']).next()?;
        // Without a slash there is only a host.
        &rest[rest.find('/')?..]
    } else {
        url.trim_end_matches('/')
    };
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let is_usable =
        !matches!(name, "" | ".") && !name.contains(|c: char| c.is_control() || c == '\\');
    is_usable.then_some(name)
}

fn failed_download(url: &str) -> Error {
    Error::Download(format!("Failed to download archive from: {url}"))
}

async fn is_file(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|found| found.is_file())
}

async fn is_directory(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|found| found.is_dir())
}
