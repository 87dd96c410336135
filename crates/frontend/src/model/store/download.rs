//! Fetching one archive, from wherever it is: what a source has to do, when a broken download is
//! resumed, and why one fails.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use thiserror::Error as ThisError;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tracing::warn;

use super::checksum::Checksum;
use super::cloud::CloudSource;
use super::partial::Partial;
use super::web::WebSource;
use crate::config::DownloadLimits;

const CHUNK_BYTES: usize = 256 << 10;
/// What has to arrive within `stall_timeout`; less is as good as nothing.
const LEAST_BYTES: u64 = 4 << 10;
/// How often in a row a download may break without getting further than ever before by
/// [`HEADWAY_BYTES`].
const MAX_SETBACKS: u32 = 5;
const HEADWAY_BYTES: u64 = 16 << 20;
/// Doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 250 });
const MAX_REASON_CHARS: usize = 400;

/// Why an archive was not fetched.
#[derive(Debug, ThisError)]
pub(super) enum DownloadError {
    /// No connection, or one that broke.
    #[error("{0}")]
    Broken(String),
    #[error("less than {LEAST_BYTES} bytes arrived in {} s", .0.as_secs_f64())]
    Stalled(Duration),
    #[error("{received} of {announced} bytes arrived")]
    Truncated { received: u64, announced: u64 },
    #[error("the server answered with status {0}")]
    Status(u16),
    /// An object store said no.
    #[error("{0}")]
    Refused(String),
    /// The other side leads to where nothing may be fetched from.
    #[error("{0}")]
    Redirected(String),
    /// The URL itself leads to an address that must not be connected to.
    #[error("{0}")]
    Forbidden(String),
    #[error("the archive is larger than {0} bytes, which is max_download_size")]
    TooLarge(u64),
    #[error("its checksum is {found}, not {expected}")]
    Checksum { found: Checksum, expected: Checksum },
    #[error("not the URL of a file on this machine")]
    NotLocal,
    /// A file on this machine cannot be read.
    #[error("{0}")]
    Source(io::Error),
    /// The model store cannot be written to.
    #[error("{0}")]
    Disk(io::Error),
    #[error("it needs {needed} bytes, and the model store's disk has {free} left")]
    NoRoom { needed: u64, free: u64 },
}

impl DownloadError {
    /// Whether the target came into being while this was fetched.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Disk(error) if error.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Whether the same request may have more luck.
    fn may_pass(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Stalled(_) | Self::Truncated { .. } => true,
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }
}

/// Where an archive is fetched from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file of this machine.
    Local(PathBuf),
    Web(WebSource),
    Cloud(CloudSource),
}

/// What a source hands over.
pub(super) struct Opened {
    /// Where in the archive the body starts: where it was asked for, or at 0 when the source
    /// cannot do that or the archive has changed.
    pub(super) offset: u64,
    /// Length of the whole archive, if it is known.
    pub(super) total: Option<u64>,
    /// What tells this archive from a later one at the same place; without it nothing is resumed.
    pub(super) validator: Option<String>,
    pub(super) body: BoxStream<'static, Result<Bytes, DownloadError>>,
}

/// Where and how to go on with a download that broke.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resume<'a> {
    pub(super) offset: u64,
    pub(super) validator: &'a str,
}

impl Source {
    async fn open(&self, resume: Option<Resume<'_>>) -> Result<Opened, DownloadError> {
        match self {
            Self::Local(path) => open_file(path).await,
            Self::Web(source) => source.open(resume).await,
            Self::Cloud(source) => source.open(resume).await,
        }
    }

    /// Writes the archive to `partial`. A download that breaks after it has begun is resumed, or
    /// started again where the source cannot resume it.
    pub(super) async fn receive(
        &self,
        partial: &mut Partial,
        limits: &DownloadLimits,
    ) -> Result<(), DownloadError> {
        let mut validator = None;
        let mut farthest = 0;
        let mut setbacks = 0;
        loop {
            let broken = match self.attempt(partial, &mut validator, limits).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What never began will hardly do so in a moment, and somebody waits for the answer.
            let has_begun = farthest.max(partial.received()) > 0;
            if partial.received() >= farthest + HEADWAY_BYTES {
                setbacks = 0;
            }
            farthest = farthest.max(partial.received());
            setbacks += 1;
            if !broken.may_pass() || !has_begun || setbacks > MAX_SETBACKS {
                return Err(broken);
            }
            let received_bytes = partial.received();
            warn!(reason = %broken, received_bytes, "a download broke; it is resumed");
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(setbacks - 1)).await;
        }
    }

    async fn attempt(
        &self,
        partial: &mut Partial,
        validator: &mut Option<String>,
        limits: &DownloadLimits,
    ) -> Result<(), DownloadError> {
        let resume = validator.as_deref().and_then(|validator| {
            let offset = partial.received();
            (offset > 0).then_some(Resume { offset, validator })
        });
        let mut opened = self.open(resume).await?;
        if opened.offset != partial.received() {
            partial.rewind().await?;
        }
        partial.announce(opened.total)?;
        validator.clone_from(&opened.validator);
        let mut pace = Pace::new(limits.stall_timeout, Instant::now());
        loop {
            let Ok(chunk) = timeout(limits.stall_timeout, opened.body.next()).await else {
                return Err(DownloadError::Stalled(limits.stall_timeout));
            };
            match chunk {
                None => return partial.check_length(),
                Some(chunk) => {
                    let chunk = chunk?;
                    partial.write(&chunk).await?;
                    pace.check(chunk.len() as u64, Instant::now())?;
                }
            }
        }
    }
}

/// Notices a source that hands out a byte now and then.
struct Pace {
    window: Duration,
    began: Instant,
    arrived: u64,
}

impl Pace {
    fn new(window: Duration, began: Instant) -> Self {
        Self {
            window,
            began,
            arrived: 0,
        }
    }

    fn check(&mut self, bytes: u64, now: Instant) -> Result<(), DownloadError> {
        self.arrived += bytes;
        if self.arrived >= LEAST_BYTES {
            *self = Self::new(self.window, now);
        } else if now - self.began > self.window {
            return Err(DownloadError::Stalled(self.window));
        }
        Ok(())
    }
}

async fn open_file(path: &Path) -> Result<Opened, DownloadError> {
    // A pipe or a device would keep us waiting for ever.
    let found = tokio::fs::metadata(path)
        .await
        .map_err(DownloadError::Source)?;
    if !found.is_file() {
        return Err(DownloadError::NotLocal);
    }
    let mut file = File::open(path).await.map_err(DownloadError::Source)?;
    file.set_max_buf_size(CHUNK_BYTES);
    let chunks = futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        let read = file
            .read_buf(&mut chunk)
            .await
            .map_err(DownloadError::Source)?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    });
    Ok(Opened {
        offset: 0,
        total: Some(found.len()),
        validator: None,
        body: chunks.boxed(),
    })
}

/// An error and what caused it, in one line without credentials: queries of URLs are left out.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let words = text.split_whitespace().map(|word| {
        if word.contains("://") {
            without_secrets(word)
        } else {
            word.to_owned()
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_REASON_CHARS).collect()
}

/// A URL as it may be logged: without what is before the host and after the path.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}
