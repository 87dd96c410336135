//! Where archives come from: the model store, directories, URLs, object stores.
//!
//! [`ModelStore::locate`] turns the `url` of a registration into a file or folder on disk. What the
//! operator's patterns allow is fetched into the model store: `http`, `https` and `file` URLs, and
//! objects behind `s3`, `gs` and `az` ones. Of everything else only the last path segment counts,
//! as in the original.

mod address;
mod allow;
mod checksum;
mod cloud;
mod download;
mod fetched;
mod location;
mod partial;
mod web;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use tokio::fs;
use tracing::{info, warn};
use url::Url;

use self::allow::AllowedUrls;
use self::checksum::Checksum;
use self::cloud::CloudSource;
use self::download::{DownloadError, Source, without_secrets};
use self::fetched::{Holding, Holdings};
pub use self::location::derived_name;
use self::location::{Scheme, base_name, has_dots, scheme};
use self::partial::{IfPresent, Partial, Target};
use self::web::WebSource;
use crate::config::DownloadLimits;
use crate::error::Error;

/// An archive file or a model directory on this machine.
#[derive(Debug, Clone)]
pub struct LocatedArchive {
    path: PathBuf,
    url: String,
    /// Of what this server fetched, or one before it.
    fetched: Option<Arc<Holding>>,
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

    /// Whether it was fetched, so that it goes when its model goes.
    pub fn is_downloaded(&self) -> bool {
        self.fetched.is_some()
    }

    /// Deletes the file if it was fetched; otherwise does nothing. For models that are unregistered
    /// and for registrations that failed after the download.
    pub async fn discard(&self) {
        let Some(holding) = &self.fetched else {
            return;
        };
        match fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!(path = %self.path.display(), %error, "cannot delete a fetched archive");
            }
            _ => {}
        }
        holding.give_back();
    }
}

/// Who wants an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A client of the API. It gets an error where the store holds a file of the name already, as
    /// in the original, and nothing outside the store that `allowed_urls` does not allow.
    Client,
    /// The operator, at the start. A server must be able to start twice, so a file that was
    /// fetched before is served again; a folder may lie anywhere.
    Operator,
}

/// What is to be found.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveRequest<'a> {
    /// Name in the store, folder or URL; `#sha256:...` at its end pins the archive.
    pub url: &'a str,
    /// The checksum that the archive has to have, `sha256:` and 64 hexadecimal digits.
    pub checksum: Option<&'a str>,
    /// Whether an `https` URL is an object in S3 that has to be asked for with credentials.
    pub s3_sse_kms: bool,
    /// Who wants it.
    pub asker: Asker,
}

impl<'a> ArchiveRequest<'a> {
    /// The archive behind a URL, whatever its checksum.
    pub fn new(url: &'a str, asker: Asker) -> Self {
        Self {
            url,
            checksum: None,
            s3_sse_kms: false,
            asker,
        }
    }
}

/// The folder of archives, and the places it may be filled from.
#[derive(Debug)]
pub struct ModelStore {
    root: Option<PathBuf>,
    allowed: AllowedUrls,
    limits: DownloadLimits,
    holdings: Holdings,
}

impl ModelStore {
    /// A store in `root`. `allowed_urls` must match a URL as a whole.
    pub fn new(root: Option<PathBuf>, allowed_urls: &[Regex], limits: DownloadLimits) -> Self {
        Self {
            root,
            allowed: AllowedUrls::new(allowed_urls, limits.allow_private),
            limits,
            holdings: Holdings::default(),
        }
    }

    /// Finds, or fetches, what is wanted.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] when there is nothing, or it must not be fetched;
    /// [`Error::Download`] when fetching failed; [`Error::InvalidModel`] when its checksum is
    /// another one; [`Error::Internal`] when the store holds a file of that name already, or cannot
    /// be read or written.
    pub async fn locate(&self, wanted: &ArchiveRequest<'_>) -> Result<LocatedArchive, Error> {
        let not_found = |message: String| Err(Error::ModelNotFound(message));
        let url = wanted.url;
        let Some(root) = &self.root else {
            return not_found("Model store has not been configured.".to_owned());
        };
        let (place, checksum) = pinned(wanted)?;
        if place.is_empty() {
            return not_found("empty url".to_owned());
        }
        if has_dots(place) {
            return not_found(format!("Relative path is not allowed in url: {url}"));
        }
        match scheme(place) {
            Scheme::Fetched if !self.allowed.allows(place) => {
                not_found(format!("Given URL {url} does not match any allowed URL(s)"))
            }
            Scheme::Fetched => self.fetch(root, wanted, place, checksum).await,
            // Without a pattern for it this is a name in the store, as everywhere in the original.
            Scheme::Cloud if self.allowed.allows(place) => {
                self.fetch(root, wanted, place, checksum).await
            }
            Scheme::Cloud | Scheme::None => self.find(root, wanted, place, checksum).await,
        }
    }

    /// Finds a file or a folder on this machine.
    async fn find(
        &self,
        root: &Path,
        wanted: &ArchiveRequest<'_>,
        place: &str,
        checksum: Option<Checksum>,
    ) -> Result<LocatedArchive, Error> {
        let url = wanted.url;
        let in_store = base_name(place).map(|name| root.join(name));
        let mut is_refused = false;
        if let Some(path) = &in_store
            && is_file(path).await
        {
            if self.may_use(root, path, wanted.asker).await {
                check(path, checksum, url).await?;
                return Ok(LocatedArchive {
                    path: path.clone(),
                    url: url.to_owned(),
                    fetched: None,
                });
            }
            is_refused = true;
        }
        // A folder is used in place, where it may be. (The original allows it anywhere.)
        for path in [Some(PathBuf::from(place)), in_store].into_iter().flatten() {
            if !is_directory(&path).await {
                continue;
            }
            if !self.may_use(root, &path, wanted.asker).await {
                is_refused = true;
            } else if checksum.is_some() {
                return Err(Error::BadRequest(format!(
                    "A checksum needs an archive file, and {url} is a folder."
                )));
            } else {
                return Ok(LocatedArchive {
                    path,
                    url: url.to_owned(),
                    fetched: None,
                });
            }
        }
        if is_refused {
            return Err(Error::ModelNotFound(format!(
                "Given URL {url} does not match any allowed URL(s): it is outside the model store"
            )));
        }
        if let Err(error) = fs::read_dir(root).await {
            return Err(Error::Internal(format!(
                "Model store {} cannot be read: {error}",
                root.display()
            )));
        }
        let hint = match scheme(place) {
            Scheme::Cloud => " in the model store, and allowed_urls does not allow to fetch it",
            Scheme::Fetched | Scheme::None => "",
        };
        Err(Error::ModelNotFound(format!(
            "Model not found at: {url}{hint}"
        )))
    }

    /// Whether a path is in the store, links followed, or may be used all the same.
    async fn may_use(&self, root: &Path, path: &Path, asker: Asker) -> bool {
        if asker == Asker::Operator {
            return true;
        }
        let (Ok(root), Ok(path)) = (fs::canonicalize(root).await, fs::canonicalize(path).await)
        else {
            return false;
        };
        path.starts_with(root) || self.allowed.allows_path(&path)
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
            let is_archive = [".mar", ".model", ".tar.gz", ".tgz"]
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
            if let Err(error) = partial::sweep(&entry.path()) {
                warn!(path = %entry.path().display(), %error, "cannot remove a partial download");
            }
        }
    }

    async fn fetch(
        &self,
        root: &Path,
        wanted: &ArchiveRequest<'_>,
        place: &str,
        checksum: Option<Checksum>,
    ) -> Result<LocatedArchive, Error> {
        let url = wanted.url;
        let failed = |error: DownloadError| {
            warn!(url = without_secrets(url), %error, "cannot fetch an archive");
            download_failed(url, error)
        };
        // A hidden name could be one of our own, and no other server would list it.
        let Some(name) = base_name(place).filter(|name| !name.starts_with('.')) else {
            return Err(failed(DownloadError::Refused(
                "the URL names no file".to_owned(),
            )));
        };
        let path = root.join(name);
        let exists = || Error::Internal(format!("Model file already exists {name}"));
        let holding = self.holdings.take(&path);
        let located = |holding| LocatedArchive {
            path: path.clone(),
            url: url.to_owned(),
            fetched: holding,
        };
        let mut if_present = IfPresent::Keep;
        if fs::symlink_metadata(&path).await.is_ok() {
            let is_file = is_file(&path).await;
            let is_own = is_file && fetched::is_from(&path, place);
            if wanted.asker == Asker::Operator && is_file {
                return Self::reuse(located(holding.filter(|_| is_own)), checksum).await;
            }
            if !is_own {
                return Err(exists());
            }
            // Of a server that was killed before a model had it.
            if_present = IfPresent::Replace;
        }
        if holding.is_none() && wanted.asker == Asker::Client {
            return Err(exists());
        }
        let target = Target {
            path: &path,
            checksum,
            place,
            if_present,
        };
        match self.download(wanted, &target).await {
            Ok(()) => Ok(located(holding)),
            // Somebody else fetched it meanwhile.
            Err(error) if error.is_conflict() && wanted.asker == Asker::Operator => {
                Self::reuse(located(None), checksum).await
            }
            Err(error) if error.is_conflict() => Err(exists()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Serves an archive that was fetched before.
    async fn reuse(
        archive: LocatedArchive,
        checksum: Option<Checksum>,
    ) -> Result<LocatedArchive, Error> {
        check(&archive.path, checksum, &archive.url).await?;
        info!(
            url = without_secrets(&archive.url),
            path = %archive.path.display(),
            "using the archive fetched before"
        );
        Ok(archive)
    }

    async fn download(
        &self,
        wanted: &ArchiveRequest<'_>,
        target: &Target<'_>,
    ) -> Result<(), DownloadError> {
        let url =
            Url::parse(target.place).map_err(|error| DownloadError::Refused(error.to_string()))?;
        let origin = without_secrets(target.place);
        let mut partial = Partial::create(target.path, origin, self.limits.max_bytes)?;
        let source = match url.scheme() {
            "file" => Source::Local(self.local_source(&url).await?),
            "https" if wanted.s3_sse_kms => Source::Cloud(CloudSource::new(&url, &self.limits)?),
            "http" | "https" => Source::Web(WebSource::new(url, self.allowed.clone(), self.limits)),
            _ => Source::Cloud(CloudSource::new(&url, &self.limits)?),
        };
        source.receive(&mut partial, &self.limits).await?;
        partial.finish(target).await
    }

    /// The file behind a `file` URL. Where a link leads has to be allowed too.
    async fn local_source(&self, url: &Url) -> Result<PathBuf, DownloadError> {
        let path = url.to_file_path().map_err(|()| DownloadError::NotLocal)?;
        let path = fs::canonicalize(path)
            .await
            .map_err(DownloadError::Source)?;
        if self.allowed.allows_path(&path) {
            Ok(path)
        } else {
            Err(DownloadError::Forbidden(
                "it is a link to a place that is not allowed".to_owned(),
            ))
        }
    }
}

/// The place, and the checksum that it has to have.
fn pinned<'a>(wanted: &ArchiveRequest<'a>) -> Result<(&'a str, Option<Checksum>), Error> {
    let (place, pin) = Checksum::split_from(wanted.url)?;
    let given = wanted.checksum.filter(|text| !text.is_empty());
    match (pin, given.map(str::parse::<Checksum>).transpose()?) {
        (Some(pin), Some(given)) if pin != given => Err(Error::BadRequest(
            "The checksum at the end of the url is not the one of parameter checksum.".to_owned(),
        )),
        (pin, given) => Ok((place, pin.or(given))),
    }
}

/// Fails when a file in the store has another checksum than it has to have.
async fn check(path: &Path, expected: Option<Checksum>, url: &str) -> Result<(), Error> {
    match expected {
        None => Ok(()),
        Some(expected) => partial::verify(path.to_owned(), expected)
            .await
            .map_err(|error| download_failed(url, error)),
    }
}

/// What a client is told. The original gives no reasons; they follow its texts.
fn download_failed(url: &str, error: DownloadError) -> Error {
    match error {
        // As brief as the original.
        DownloadError::Status(404) => {
            Error::Download(format!("Failed to download archive from: {url}"))
        }
        DownloadError::Forbidden(reason) => Error::ModelNotFound(format!(
            "Given URL {url} does not match any allowed URL(s): {reason}"
        )),
        DownloadError::Checksum { found, expected } => {
            Error::InvalidModel(format!("Checksum of {url} is {found}, not {expected}"))
        }
        DownloadError::Disk(_) | DownloadError::NoRoom { .. } => {
            Error::Internal(format!("Failed to save model: {url}: {error}"))
        }
        error => Error::Download(format!("Failed to download archive from: {url}: {error}")),
    }
}

async fn is_file(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|found| found.is_file())
}

async fn is_directory(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|found| found.is_dir())
}
