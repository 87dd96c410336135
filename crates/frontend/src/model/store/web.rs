//! Archives behind `http` and `https` URLs.

use futures_util::StreamExt as _;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, StatusCode, redirect};
use url::{Host, Url};

use super::address::{Guard, Reach, reach};
use super::allow::AllowedUrls;
use super::download::{DownloadError, Opened, Resume, describe, without_secrets};
use crate::config::DownloadLimits;

const MAX_REDIRECTS: usize = 10;

/// An archive on a web server.
#[derive(Debug)]
pub(super) struct WebSource {
    url: Url,
    allowed: AllowedUrls,
    limits: DownloadLimits,
}

impl WebSource {
    pub(super) fn new(url: Url, allowed: AllowedUrls, limits: DownloadLimits) -> Self {
        Self {
            url,
            allowed,
            limits,
        }
    }

    /// Asks for the archive, from the first URL on also when a download is resumed: a redirect may
    /// have led to a URL that is valid for minutes.
    pub(super) async fn open(&self, resume: Option<Resume<'_>>) -> Result<Opened, DownloadError> {
        let mut response = self.follow(resume).await?;
        let mut range = None;
        if let Some(resume) = resume {
            range = content_range(&response).filter(|(first, _)| *first == resume.offset);
            // Another range than was asked for, or none because the archive is shorter now.
            if range.is_none() && matches!(response.status().as_u16(), 206 | 416) {
                response = self.follow(None).await?;
            }
        }
        let (offset, total) = match (response.status(), range) {
            (_, Some(range)) => range,
            (StatusCode::OK, None) => (0, response.content_length()),
            (status, None) => return Err(DownloadError::Status(status.as_u16())),
        };
        Ok(Opened {
            offset,
            total,
            validator: validator(response.headers()),
            body: response
                .bytes_stream()
                .map(|chunk| chunk.map_err(broken))
                .boxed(),
        })
    }

    /// Follows redirects, each to a URL that is allowed itself.
    async fn follow(&self, resume: Option<Resume<'_>>) -> Result<Response, DownloadError> {
        let mut url = self.url.clone();
        let mut is_sent_by_public = false;
        for hop in 0..=MAX_REDIRECTS {
            let (response, is_public) = match self.ask(&url, resume, is_sent_by_public).await {
                Err(DownloadError::Forbidden(reason)) if hop > 0 => {
                    return Err(DownloadError::Redirected(format!(
                        "it redirects to {}, which is not allowed: {reason}",
                        without_secrets(url.as_str())
                    )));
                }
                asked => asked?,
            };
            let Some(next) = target(&response, &url)? else {
                return Ok(response);
            };
            if !self.allowed.allows_parsed(&next) {
                return Err(DownloadError::Redirected(format!(
                    "it redirects to {}, which is not allowed",
                    without_secrets(next.as_str())
                )));
            }
            is_sent_by_public |= is_public;
            url = next;
        }
        Err(DownloadError::Redirected(format!(
            "it redirects more than {MAX_REDIRECTS} times"
        )))
    }

    /// One request, and whether it was public whom it went to.
    async fn ask(
        &self,
        url: &Url,
        resume: Option<Resume<'_>>,
        is_sent_by_public: bool,
    ) -> Result<(Response, bool), DownloadError> {
        let permit = self.allowed.permit(url, is_sent_by_public);
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = literal {
            permit
                .check(address)
                .map_err(|refused| DownloadError::Forbidden(refused.to_string()))?;
        }
        let guard = Guard::new(url.host_str().unwrap_or_default(), permit);
        let mut request = self.client(url, &guard)?.get(url.clone());
        if let Some(Resume { offset, validator }) = resume {
            request = request
                .header(header::RANGE, format!("bytes={offset}-"))
                .header(header::IF_RANGE, validator);
        }
        let response = request
            .send()
            .await
            .map_err(|error| match guard.refused() {
                Some(refused) => DownloadError::Forbidden(refused.to_string()),
                None => broken(error),
            })?;
        let is_public = match literal {
            Some(address) => reach(address) == Reach::Public,
            None => !guard.met_private(),
        };
        Ok((response, is_public))
    }

    fn client(&self, url: &Url, guard: &Guard) -> Result<Client, DownloadError> {
        // The process chooses a provider at its start; this is for those that did not.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match self.builder(guard).build() {
            Ok(client) => client,
            // A small container has no certificates to check others with; http needs none.
            Err(_) if url.scheme() == "http" => self
                .builder(guard)
                .tls_certs_only([])
                .build()
                .map_err(broken)?,
            Err(error) => return Err(broken(error)),
        };
        Ok(client)
    }

    fn builder(&self, guard: &Guard) -> ClientBuilder {
        let mut headers = HeaderMap::new();
        // An archive is packed already, and a range of something else cannot be appended to it.
        let identity = HeaderValue::from_static("identity");
        headers.insert(header::ACCEPT_ENCODING, identity);
        Client::builder()
            .user_agent(concat!("tserve/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(self.limits.connect_timeout)
            .read_timeout(self.limits.stall_timeout)
            .redirect(redirect::Policy::none())
            .dns_resolver(guard.clone())
    }
}

/// Where a response redirects to, if it does.
fn target(response: &Response, url: &Url) -> Result<Option<Url>, DownloadError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION);
    let next = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| url.join(location).ok())
        .filter(|next| matches!(next.scheme(), "http" | "https"));
    match next {
        Some(next) => Ok(Some(next)),
        None => Err(DownloadError::Redirected(
            "it redirects to something that is no http or https URL".to_owned(),
        )),
    }
}

/// First byte and total length of a part: `Content-Range: bytes 5-9/10`.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let text = response.headers().get(header::CONTENT_RANGE)?;
    let text = text.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first.parse().ok()?, total))
}

/// What `If-Range` takes: a strong entity tag, or a time of modification that is not now.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text(header::ETAG) {
        Some(tag) if tag.starts_with('"') => Some(tag.to_owned()),
        _ => text(header::LAST_MODIFIED)
            .filter(|&modified| text(header::DATE).is_some_and(|date| date != modified))
            .map(str::to_owned),
    }
}

fn broken(error: reqwest::Error) -> DownloadError {
    // Its first sentence repeats the URL; what happened is in the sources.
    DownloadError::Broken(describe(&error.without_url()))
}
