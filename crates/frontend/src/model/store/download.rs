//! Fetching one archive over HTTP or from a `file` URL: a temporary file beside the target, moved
//! there only when it is complete, removed in every other case.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;
use reqwest::{Client, ClientBuilder, Url, redirect};
use tempfile::NamedTempFile;
use thiserror::Error as ThisError;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;
use tracing::info;

use super::DownloadLimits;

const PARTIAL_PREFIX: &str = ".tserve-";
const PARTIAL_SUFFIX: &str = ".download";
const MAX_REDIRECTS: usize = 10;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const CHUNK_BYTES: usize = 256 << 10;

/// Why an archive was not fetched.
#[derive(Debug, ThisError)]
pub(super) enum DownloadError {
    #[error("{0}")]
    Http(String),
    #[error("the server answered with status {0}")]
    Status(reqwest::StatusCode),
    #[error("the archive is larger than {0} bytes")]
    TooLarge(u64),
    #[error("{received} of {announced} bytes arrived")]
    Truncated { received: u64, announced: u64 },
    #[error("not the URL of a file on this machine")]
    NotLocal,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl DownloadError {
    /// Whether the target came into being while this was fetched.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::AlreadyExists)
    }
}

impl From<reqwest::Error> for DownloadError {
    fn from(error: reqwest::Error) -> Self {
        // The first sentence only repeats the URL; what happened is in the sources.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::Http(text)
    }
}

/// Fetches what the operator's patterns allow.
#[derive(Debug)]
pub(super) struct Downloader {
    allowed: Arc<[Regex]>,
    limits: DownloadLimits,
    client: OnceCell<Client>,
}

impl Downloader {
    pub(super) fn new(allowed: &[Regex], limits: DownloadLimits) -> Self {
        Self {
            allowed: allowed.into(),
            limits,
            client: OnceCell::new(),
        }
    }

    /// Whether a pattern matches the URL as a whole.
    pub(super) fn allows(&self, url: &str) -> bool {
        is_allowed(&self.allowed, url)
    }

    /// Fetches `url` to `target`, which must not exist.
    pub(super) async fn fetch(&self, url: &str, target: &Path) -> Result<(), DownloadError> {
        let parsed = Url::parse(url).map_err(|error| DownloadError::Http(error.to_string()))?;
        let mut partial = Partial::create(target, url, self.limits.max_bytes)?;
        if parsed.scheme() == "file" {
            let path = parsed
                .to_file_path()
                .map_err(|()| DownloadError::NotLocal)?;
            partial.copy_from(&path).await?;
        } else {
            self.receive(parsed, &mut partial).await?;
        }
        partial.finish(target).await
    }

    async fn receive(&self, url: Url, partial: &mut Partial) -> Result<(), DownloadError> {
        let client = match self
            .client
            .get_or_try_init(|| async { self.client().build() })
            .await
        {
            Ok(client) => client.clone(),
            // A small container has no certificates to check others with; http needs none.
            Err(_) if url.scheme() == "http" => self.client().tls_certs_only([]).build()?,
            Err(error) => return Err(error.into()),
        };
        let mut response = client.get(url).send().await?;
        if !response.status().is_success() {
            return Err(DownloadError::Status(response.status()));
        }
        partial.announced = response.content_length();
        while let Some(chunk) = response.chunk().await? {
            partial.write(&chunk).await?;
        }
        Ok(())
    }

    fn client(&self) -> ClientBuilder {
        // The process chooses a provider at its start; this is for those that did not.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = Arc::clone(&self.allowed);
        Client::builder()
            .user_agent(concat!("tserve/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.idle_timeout)
            .redirect(redirect::Policy::custom(move |attempt| {
                if attempt.previous().len() > MAX_REDIRECTS {
                    attempt.error("too many redirects")
                } else if is_allowed(&allowed, attempt.url().as_str()) {
                    attempt.follow()
                } else {
                    attempt.error("it redirects to a URL that is not allowed")
                }
            }))
    }
}

/// Removes a file if it is a partial archive that nobody writes any more, because its server was
/// killed. Blocks for a moment.
pub(super) fn sweep(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(PARTIAL_PREFIX) || !name.ends_with(PARTIAL_SUFFIX) {
        return Ok(());
    }
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_file() && file.try_lock().is_ok() {
        std::fs::remove_file(path)?;
        info!(path = %path.display(), "removed a download that was never finished");
    }
    Ok(())
}

fn is_allowed(allowed: &[Regex], url: &str) -> bool {
    allowed.iter().any(|pattern| {
        pattern
            .find(url)
            .is_some_and(|found| found.len() == url.len())
    })
}

/// An archive that is not complete yet. Dropping it removes it.
struct Partial {
    file: NamedTempFile,
    writer: File,
    url: String,
    received: u64,
    announced: Option<u64>,
    max_bytes: u64,
    reported: Instant,
}

impl Partial {
    fn create(target: &Path, url: &str, max_bytes: u64) -> io::Result<Self> {
        let folder = target.parent().unwrap_or(Path::new("."));
        // Hidden, so that `--models all` does not take it for an archive.
        let file = tempfile::Builder::new()
            .prefix(PARTIAL_PREFIX)
            .suffix(PARTIAL_SUFFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        // Says that somebody still writes it. Where files cannot be locked nobody sweeps either.
        let _ = file.as_file().try_lock();
        Ok(Self {
            writer: File::from_std(file.reopen()?),
            file,
            url: url.to_owned(),
            received: 0,
            announced: None,
            max_bytes,
            reported: Instant::now(),
        })
    }

    async fn copy_from(&mut self, path: &Path) -> Result<(), DownloadError> {
        // A pipe or a device would keep us waiting for ever.
        if !tokio::fs::metadata(path).await?.is_file() {
            return Err(DownloadError::NotLocal);
        }
        let mut source = File::open(path).await?;
        self.announced = Some(source.metadata().await?.len());
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = source.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.write(&buffer[..read]).await?;
        }
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<(), DownloadError> {
        self.received += chunk.len() as u64;
        if self.received.max(self.announced.unwrap_or(0)) > self.max_bytes {
            return Err(DownloadError::TooLarge(self.max_bytes));
        }
        self.writer.write_all(chunk).await?;
        if self.reported.elapsed() >= PROGRESS_INTERVAL {
            self.reported = Instant::now();
            info!(
                url = self.url,
                received_bytes = self.received,
                total_bytes = self.announced,
                "fetching an archive"
            );
        }
        Ok(())
    }

    async fn finish(mut self, target: &Path) -> Result<(), DownloadError> {
        if let Some(announced) = self.announced
            && announced != self.received
        {
            return Err(DownloadError::Truncated {
                received: self.received,
                announced,
            });
        }
        self.writer.flush().await?;
        self.writer.sync_all().await?;
        // Never replaces a file that somebody put there meanwhile.
        self.file
            .persist_noclobber(target)
            .map_err(|error| error.error)?;
        info!(url = self.url, bytes = self.received, "fetched an archive");
        Ok(())
    }
}
