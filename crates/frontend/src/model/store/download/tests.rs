//! Downloads from servers that break, change their mind, stall, drip and redirect.

use std::net::SocketAddr;
use std::sync::Arc;

use regex::Regex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use url::Url;

use super::super::allow::AllowedUrls;
use super::super::partial::{IfPresent, Target};
use super::*;

const LIMITS: DownloadLimits = DownloadLimits {
    max_bytes: 64 << 20,
    connect_timeout: Duration::from_secs(5),
    stall_timeout: Duration::from_millis(400),
    allow_private: true,
};

/// A server that answers the first request with the first answer, and so on; the last one again
/// and again. It sends the answer and closes the connection.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn new(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        tokio::spawn(async move {
            let mut remaining = answers.into_iter().peekable();
            let mut current = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut request = vec![0; 8192];
                let read = connection.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
                noted.lock().await.push(head);
                if let Some(next) = remaining.next() {
                    current = next;
                }
                let _ = connection.write_all(&current).await;
                let _ = connection.shutdown().await;
            }
        });
        Self { address, heads }
    }

    fn url(&self) -> String {
        format!("http://{}/x.mar", self.address)
    }

    async fn heads(&self) -> Vec<String> {
        self.heads.lock().await.clone()
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

/// An answer that announces `rest` and ends after `sent` of it.
fn part(status: &str, headers: &str, rest: &[u8], sent: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        rest.len()
    )
    .into_bytes();
    answer.extend_from_slice(&rest[..sent]);
    answer
}

fn range(from: usize, whole: &[u8]) -> String {
    let last = whole.len() - 1;
    format!(
        "Content-Range: bytes {from}-{last}/{}\r\nETag: \"1\"\r\n",
        whole.len()
    )
}

fn redirect(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {to}\r\n\r\n"
    )
    .into_bytes()
}

async fn fetch_within(
    url: &str,
    patterns: &[&str],
    limits: DownloadLimits,
) -> Result<Vec<u8>, DownloadError> {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("x.mar");
    let compile = |pattern: &&str| Regex::new(&format!("^(?:{pattern})$")).unwrap();
    let patterns: Vec<_> = patterns.iter().map(compile).collect();
    let allowed = AllowedUrls::new(&patterns, limits.allow_private);
    let mut partial = Partial::create(&target, url.to_owned(), limits.max_bytes)?;
    let source = Source::Web(WebSource::new(Url::parse(url).unwrap(), allowed, limits));
    source.receive(&mut partial, &limits).await?;
    let finished = Target {
        path: &target,
        checksum: None,
        place: url,
        if_present: IfPresent::Keep,
    };
    partial.finish(&finished).await?;
    Ok(std::fs::read(target).unwrap())
}

async fn fetch(url: &str) -> Result<Vec<u8>, DownloadError> {
    fetch_within(url, &["http://.*"], LIMITS).await
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let whole = content(300_000);
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &whole, 100_000),
        part(
            "206 Partial Content",
            &range(100_000, &whole),
            &whole[100_000..],
            50_000,
        ),
        part("503 Busy", "", b"", 0),
        part(
            "206 Partial Content",
            &range(150_000, &whole),
            &whole[150_000..],
            150_000,
        ),
    ])
    .await;
    assert!(fetch(&server.url()).await.unwrap() == whole);
    let heads = server.heads().await;
    assert!(!heads[0].contains("range"), "{}", heads[0]);
    for (head, range) in heads[1..].iter().zip(["100000-", "150000-", "150000-"]) {
        assert!(
            head.contains(&format!("range: bytes={range}\r\n")),
            "{head}"
        );
        assert!(head.contains("if-range: \"1\"\r\n"), "{head}");
        assert!(head.contains("accept-encoding: identity"), "{head}");
    }
    assert_eq!(heads.len(), 4);
}

#[tokio::test]
async fn an_archive_that_changed_meanwhile_is_fetched_from_its_start() {
    let (old, new) = (vec![1; 200_000], content(100_000));
    // The server ignores the range, as it must when the validator is another one.
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &old, 150_000),
        part("200 OK", "ETag: \"2\"\r\n", &new, new.len()),
    ])
    .await;
    assert!(fetch(&server.url()).await.unwrap() == new);
    // It became shorter than what is there already.
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &old, 150_000),
        part("416 Range Not Satisfiable", "", b"", 0),
        part("200 OK", "ETag: \"2\"\r\n", &new, new.len()),
    ])
    .await;
    assert!(fetch(&server.url()).await.unwrap() == new);
    // A range that was not asked for.
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &old, 50_000),
        part("206 Partial Content", &range(7, &new), &new[7..], 90_000),
        part("200 OK", "", &new, new.len()),
    ])
    .await;
    assert!(fetch(&server.url()).await.unwrap() == new);
}

#[tokio::test]
async fn without_a_validator_nothing_is_put_together() {
    let whole = content(100_000);
    for headers in ["", "ETag: W/\"1\"\r\n"] {
        let server = Scripted::new(vec![
            part("200 OK", headers, &whole, 50_000),
            part("200 OK", headers, &whole, whole.len()),
        ])
        .await;
        assert!(fetch(&server.url()).await.unwrap() == whole);
        assert!(!server.heads().await[1].contains("range"), "{headers}");
    }
}

#[tokio::test]
async fn a_download_that_keeps_breaking_is_given_up() {
    let whole = content(100_000);
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &whole, 50_000),
        part(
            "206 Partial Content",
            &range(50_000, &whole),
            &whole[50_000..],
            0,
        ),
    ])
    .await;
    let error = fetch(&server.url()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Broken(_)), "{error}");
    assert_eq!(server.heads().await.len() as u32, 1 + MAX_SETBACKS);
    // What is refused in the middle is not asked for again.
    let server = Scripted::new(vec![
        part("200 OK", "ETag: \"1\"\r\n", &whole, 50_000),
        part("403 Forbidden", "", b"", 0),
    ])
    .await;
    let error = fetch(&server.url()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Status(403)), "{error}");
    assert_eq!(server.heads().await.len(), 2);
}

#[tokio::test]
async fn what_never_begins_fails_at_once() {
    for answer in [part("503 Busy", "", b"", 0), part("200 OK", "", b"xx", 0)] {
        let server = Scripted::new(vec![answer]).await;
        assert!(fetch(&server.url()).await.is_err());
        assert_eq!(server.heads().await.len(), 1);
    }
}

#[tokio::test]
async fn a_chain_of_redirects_is_followed_and_a_loop_is_not() {
    let whole = content(1000);
    let last = Scripted::new(vec![part("200 OK", "", &whole, whole.len())]).await;
    let first = Scripted::new(vec![redirect("/elsewhere"), redirect(&last.url())]).await;
    assert!(fetch(&first.url()).await.unwrap() == whole);
    assert!(first.heads().await[1].starts_with("get /elsewhere"));
    let error = fetch(&Scripted::new(vec![redirect("/x.mar")]).await.url()).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "it redirects more than 10 times"
    );
    for to in ["file:///etc/passwd", "ftp://h/x", "http://"] {
        let error = fetch(&Scripted::new(vec![redirect(to)]).await.url()).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("no http or https URL"), "{to}: {text}");
    }
}

#[tokio::test]
async fn credentials_of_the_cloud_are_out_of_reach_unless_named() {
    let everything = &["http://.*"];
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "[::ffff:169.254.169.254]",
        "0.0.0.0",
    ] {
        let url = format!("http://{host}/latest/meta-data/x.mar");
        let error = fetch_within(&url, everything, LIMITS).await.unwrap_err();
        assert!(
            matches!(error, DownloadError::Forbidden(_)),
            "{host}: {error}"
        );
        let sender = Scripted::new(vec![redirect(&url)]).await;
        let error = fetch_within(&sender.url(), everything, LIMITS)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, DownloadError::Redirected(_)),
            "{host}: {text}"
        );
        assert!(text.contains("special address"), "{text}");
    }
    // Named: asked for, though nobody answers here.
    let named = &["http://0\\.0\\.0\\.0:1/.*"];
    let error = fetch_within("http://0.0.0.0:1/x.mar", named, LIMITS)
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Broken(_)), "{error}");
}

#[tokio::test]
async fn private_hosts_are_reached_unless_the_operator_says_no() {
    let whole = content(1000);
    let server = Scripted::new(vec![part("200 OK", "", &whole, whole.len())]).await;
    let port = server.address.port();
    let strict = DownloadLimits {
        allow_private: false,
        ..LIMITS
    };
    // `localhost` is a name: what it resolves to counts.
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/x.mar");
        assert!(fetch(&url).await.unwrap() == whole, "{host}");
        let error = fetch_within(&url, &["http://.*"], strict)
            .await
            .unwrap_err();
        assert!(
            matches!(error, DownloadError::Forbidden(_)),
            "{host}: {error}"
        );
        let named = format!("http://{host}:.*");
        assert!(
            fetch_within(&url, &[&named], strict).await.is_ok(),
            "{host}"
        );
    }
}

#[test]
fn what_is_logged_holds_no_credentials() {
    for (url, logged) in [
        (
            "https://user:pass@h:1/a/b.mar?sig=x#y",
            "https://h:1/a/b.mar",
        ),
        ("http://h", "http://h"),
        ("noop.mar", "noop.mar"),
    ] {
        assert_eq!(without_secrets(url), logged);
    }
    let error = io::Error::other("no answer from https://u:p@h/x?token=1 after\n 2 s");
    assert_eq!(describe(&error), "no answer from https://h/x after 2 s");
}

#[test]
fn a_drip_is_a_stall() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut pace = Pace::new(Duration::from_secs(60), start);
    for minute in 1..10 {
        assert!(pace.check(LEAST_BYTES, at(minute * 59)).is_ok());
    }
    assert!(pace.check(1, at(10 * 59)).is_ok());
    let late = pace.check(1, at(10 * 59 + 2));
    assert!(matches!(late, Err(DownloadError::Stalled(_))));
}
