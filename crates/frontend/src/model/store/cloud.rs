//! Archives in object stores: S3 and what speaks its protocol, Google Cloud Storage, Azure.
//!
//! Credentials, regions and endpoints come from the environment variables that the providers' own
//! tools read, else from the machine's identity in its cloud. The operator names them, so that
//! their addresses are not checked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, Error, GetOptions, GetRange, ObjectStore, RetryConfig};
use url::Url;

use super::download::{DownloadError, Opened, Resume, describe};
use crate::config::DownloadLimits;

/// Longest download as a whole, as the library wants one to be named.
const NO_LIMIT: &str = "365days";

/// Schemes of the URLs that are fetched from object stores.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// Whether a URL is one of an object store.
pub(super) fn is_cloud_scheme(scheme: &str) -> bool {
    SCHEMES
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// An archive in an object store.
#[derive(Debug)]
pub(super) struct CloudSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl CloudSource {
    /// The object behind an `s3`, `gs` or `az` URL, or behind the `https` URL of an object in S3.
    pub(super) fn new(url: &Url, limits: &DownloadLimits) -> Result<Self, DownloadError> {
        let object = Object::of(url)?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "gs" => Arc::new(gcs(&object, limits)?),
            "az" => Arc::new(azure(&object, limits)?),
            _ => Arc::new(s3(&object, limits)?),
        };
        let path = object.path;
        Ok(Self { store, path })
    }

    pub(super) async fn open(&self, resume: Option<Resume<'_>>) -> Result<Opened, DownloadError> {
        let options = |resume: Option<Resume<'_>>| GetOptions {
            range: resume.map(|resume| GetRange::Offset(resume.offset)),
            if_match: resume.map(|resume| resume.validator.to_owned()),
            ..GetOptions::default()
        };
        let got = match self.store.get_opts(&self.path, options(resume)).await {
            // Replaced since: from the start.
            Err(Error::Precondition { .. }) if resume.is_some() => {
                self.store.get_opts(&self.path, options(None)).await
            }
            got => got,
        };
        let got = got.map_err(failed)?;
        Ok(Opened {
            offset: got.range.start,
            total: Some(got.meta.size),
            validator: got.meta.e_tag.clone(),
            body: got.into_stream().map(|chunk| chunk.map_err(failed)).boxed(),
        })
    }
}

/// Which object is meant.
#[derive(Debug, PartialEq, Eq)]
struct Object {
    bucket: String,
    path: Path,
    /// Where an `https` URL says that it is: region and endpoint.
    place: Option<(Option<String>, String)>,
}

impl Object {
    fn of(url: &Url) -> Result<Self, DownloadError> {
        let refuse = |reason: &str| DownloadError::Refused(reason.to_owned());
        let host = url.host_str().unwrap_or_default();
        let mut path = url.path().trim_start_matches('/');
        let mut place = None;
        let bucket = if is_cloud_scheme(url.scheme()) {
            host
        } else {
            let (bucket, region, endpoint) = s3_host(host).ok_or_else(|| {
                refuse("s3_sse_kms=true needs the https URL of an object in Amazon S3")
            })?;
            place = Some((region, endpoint));
            bucket.unwrap_or_else(|| {
                let (first, rest) = path.split_once('/').unwrap_or((path, ""));
                path = rest;
                first
            })
        };
        if bucket.is_empty() || path.is_empty() {
            return Err(refuse("it names no object"));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            path: Path::from_url_path(path).map_err(|error| refuse(&describe(&error)))?,
            place,
        })
    }
}

/// Bucket, unless it is in the path, region and endpoint of `bucket.s3.region.amazonaws.com` and
/// its older forms.
fn s3_host(host: &str) -> Option<(Option<&str>, Option<String>, String)> {
    let name = [".amazonaws.com", ".amazonaws.com.cn"]
        .iter()
        .find_map(|suffix| host.strip_suffix(suffix))?;
    let labels: Vec<_> = name.split('.').collect();
    let service = labels
        .iter()
        .rposition(|label| *label == "s3" || label.starts_with("s3-"))?;
    let region = match labels[service].strip_prefix("s3-") {
        Some(region) => Some(region),
        None => labels[service + 1..]
            .last()
            .copied()
            .filter(|it| *it != "dualstack"),
    };
    let bucket_bytes: usize = labels[..service].iter().map(|label| label.len() + 1).sum();
    let bucket = bucket_bytes.checked_sub(1).map(|end| &host[..end]);
    let endpoint = format!("https://{}", &host[bucket_bytes..]);
    Some((bucket, region.map(str::to_owned), endpoint))
}

fn s3(object: &Object, limits: &DownloadLimits) -> Result<impl ObjectStore, DownloadError> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&object.bucket);
    let mut endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    if let Some((region, place)) = &object.place
        && endpoint.is_none()
    {
        builder = builder.with_endpoint(place);
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        endpoint = Some(place.clone());
    }
    for (key, value) in client_options(endpoint.as_deref(), limits) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    builder.with_retry(retries()).build().map_err(failed)
}

fn gcs(object: &Object, limits: &DownloadLimits) -> Result<impl ObjectStore, DownloadError> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&object.bucket);
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    for (key, value) in client_options(endpoint.as_deref(), limits) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    builder.with_retry(retries()).build().map_err(failed)
}

fn azure(object: &Object, limits: &DownloadLimits) -> Result<impl ObjectStore, DownloadError> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(&object.bucket);
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    for (key, value) in client_options(endpoint.as_deref(), limits) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    builder.with_retry(retries()).build().map_err(failed)
}

/// Who names an `http` endpoint means it.
fn client_options(
    endpoint: Option<&str>,
    limits: &DownloadLimits,
) -> impl Iterator<Item = (ClientConfigKey, String)> {
    let seconds = |duration: Duration| format!("{}ms", duration.as_millis());
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    [
        (ClientConfigKey::Timeout, NO_LIMIT.to_owned()),
        (ClientConfigKey::ReadTimeout, seconds(limits.stall_timeout)),
        (
            ClientConfigKey::ConnectTimeout,
            seconds(limits.connect_timeout),
        ),
        (
            ClientConfigKey::UserAgent,
            concat!("tserve/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ]
    .into_iter()
    .chain(is_plain.then(|| (ClientConfigKey::AllowHttp, "true".to_owned())))
}

/// Somebody waits for the answer.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(30),
        ..RetryConfig::default()
    }
}

fn failed(error: Error) -> DownloadError {
    match error {
        Error::NotFound { .. } => DownloadError::Refused("there is no such object".to_owned()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            DownloadError::Refused(format!("access is denied: {}", describe(&error)))
        }
        Error::Generic { .. } => DownloadError::Broken(describe(&error)),
        error => DownloadError::Refused(describe(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(url: &str) -> Result<Object, String> {
        Object::of(&Url::parse(url).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_name_a_bucket_and_an_object() {
        for url in [
            "s3://bucket.x/a/b%20c.mar",
            "gs://bucket.x/a/b c.mar",
            "az://bucket.x/a/b c.mar?x=y",
        ] {
            let object = object(url).unwrap();
            assert_eq!(
                (object.bucket.as_str(), object.path.as_ref()),
                ("bucket.x", "a/b c.mar")
            );
            assert_eq!(object.place, None);
        }
        for url in [
            "s3://bucket",
            "s3://bucket/",
            "s3:///a.mar",
            "https://s3.amazonaws.com/bucket",
        ] {
            assert_eq!(object(url).unwrap_err(), "it names no object", "{url}");
        }
    }

    #[test]
    fn https_urls_of_s3_in_all_their_forms() {
        for (url, region, endpoint) in [
            (
                "https://my.bucket.s3.eu-west-1.amazonaws.com/a/x.mar",
                Some("eu-west-1"),
                "https://s3.eu-west-1.amazonaws.com",
            ),
            (
                "https://my.bucket.s3.amazonaws.com/a/x.mar",
                None,
                "https://s3.amazonaws.com",
            ),
            (
                "https://my.bucket.s3-us-west-2.amazonaws.com/a/x.mar",
                Some("us-west-2"),
                "https://s3-us-west-2.amazonaws.com",
            ),
            (
                "https://s3.us-west-2.amazonaws.com/my.bucket/a/x.mar",
                Some("us-west-2"),
                "https://s3.us-west-2.amazonaws.com",
            ),
            (
                "https://s3.amazonaws.com/my.bucket/a/x.mar",
                None,
                "https://s3.amazonaws.com",
            ),
            (
                "https://my.bucket.s3.dualstack.us-west-2.amazonaws.com/a/x.mar",
                Some("us-west-2"),
                "https://s3.dualstack.us-west-2.amazonaws.com",
            ),
            (
                "https://my.bucket.s3.cn-north-1.amazonaws.com.cn/a/x.mar",
                Some("cn-north-1"),
                "https://s3.cn-north-1.amazonaws.com.cn",
            ),
        ] {
            let object = object(url).unwrap();
            assert_eq!(
                (object.bucket.as_str(), object.path.as_ref()),
                ("my.bucket", "a/x.mar"),
                "{url}"
            );
            let place = Some((region.map(str::to_owned), endpoint.to_owned()));
            assert_eq!(object.place, place, "{url}");
        }
        for url in [
            "https://h/b/x.mar",
            "https://s3.amazonaws.com.evil.test/b/x.mar",
            "https://ec2.amazonaws.com/b/x.mar",
        ] {
            assert!(object(url).unwrap_err().contains("s3_sse_kms"), "{url}");
        }
    }
}
