//! Resolution of every kind of `url`, and downloads from a server that misbehaves.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMITS: DownloadLimits = DownloadLimits {
    max_bytes: 1 << 20,
    connect_timeout: Duration::from_secs(5),
    stall_timeout: Duration::from_millis(500),
    allow_private: true,
};

fn wanted(url: &str) -> ArchiveRequest<'_> {
    ArchiveRequest::new(url, Asker::Client)
}

fn by_operator(url: &str) -> ArchiveRequest<'_> {
    ArchiveRequest::new(url, Asker::Operator)
}

struct Bench {
    folder: TempDir,
    store: ModelStore,
}

impl Bench {
    fn new(allowed: &[&str]) -> Self {
        Self::with_limits(allowed, LIMITS)
    }

    fn with_limits(allowed: &[&str], limits: DownloadLimits) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("store");
        fs::create_dir(&root).unwrap();
        let allowed: Vec<_> = allowed
            .iter()
            .map(|pattern| Regex::new(&format!("(?i)^(?:{pattern})$")).unwrap())
            .collect();
        Self {
            store: ModelStore::new(Some(root), &allowed, limits),
            folder,
        }
    }

    fn put(&self, name: &str) {
        fs::write(self.path(name), "content").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("store").join(name)
    }

    fn stored(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("store")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn locate(&self, url: &str) -> Result<LocatedArchive, Error> {
        self.store.locate(&wanted(url)).await
    }

    async fn refuse(&self, url: &str) -> (u16, String) {
        let error = self.locate(url).await.unwrap_err();
        (error.code().http(), error.to_string())
    }
}

/// A server that answers every connection with the same bytes and then closes it, or, with
/// `stall`, says nothing more.
async fn server(answer: Vec<u8>, stall: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(&answer).await;
            if stall {
                held.push(connection);
            }
        }
    });
    format!("http://{address}")
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn with_length(body: &[u8]) -> Vec<u8> {
    answer(&format!("200 OK\r\nContent-Length: {}", body.len()), body)
}

#[tokio::test]
async fn only_the_last_segment_of_a_local_name_counts() {
    let bench = Bench::new(&["https?://.*", "file://.*"]);
    bench.put("noop.mar");
    for url in [
        "noop.mar",
        "/any/where/noop.mar",
        "sub/noop.mar",
        "ftp://127.0.0.1/noop.mar",
        "s3://bucket/noop.mar",
    ] {
        let archive = bench.locate(url).await.unwrap();
        assert_eq!(archive.path(), bench.path("noop.mar"));
        assert_eq!(archive.url(), url);
        assert!(!archive.is_downloaded());
        archive.discard().await;
    }
    assert_eq!(bench.stored(), ["noop.mar"]);
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_the_texts_clients_know() {
    let bench = Bench::new(&["http://allowed/.*"]);
    for (url, text) in [
        ("", "empty url"),
        ("absent.mar", "Model not found at: absent.mar"),
        ("a\\b.mar", "Model not found at: a\\b.mar"),
        (
            "../store/noop.mar",
            "Relative path is not allowed in url: ../store/noop.mar",
        ),
        ("a..b", "Relative path is not allowed in url: a..b"),
        (
            "HTTP://other/x.mar",
            "Given URL HTTP://other/x.mar does not match any allowed URL(s)",
        ),
        (
            "%2e%2e/noop.mar",
            "Relative path is not allowed in url: %2e%2e/noop.mar",
        ),
        (
            "s3://bucket/absent.mar",
            "Model not found at: s3://bucket/absent.mar in the model store, and allowed_urls does \
             not allow to fetch it",
        ),
        (
            "file:///etc/passwd",
            "Given URL file:///etc/passwd does not match any allowed URL(s)",
        ),
    ] {
        assert_eq!(bench.refuse(url).await, (404, text.to_owned()));
    }
    let without = ModelStore::new(None, &[], LIMITS);
    let error = without.locate(&wanted("noop.mar")).await.unwrap_err();
    assert_eq!(error.to_string(), "Model store has not been configured.");
}

#[tokio::test]
async fn folders_are_used_in_place() {
    let bench = Bench::new(&["file://.*"]);
    fs::create_dir(bench.path("noarch")).unwrap();
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["noarch", "noarch/", "elsewhere/noarch"] {
        let archive = bench.locate(name).await.unwrap();
        assert!(archive.path().ends_with("noarch"), "{name}");
    }
    let url = outside.to_str().unwrap();
    assert_eq!(bench.locate(url).await.unwrap().path(), outside);
    let pinned = format!("noarch#{OF_CONTENT}");
    let (status, text) = bench.refuse(&pinned).await;
    assert_eq!(status, 400);
    assert!(
        text.starts_with("A checksum needs an archive file"),
        "{text}"
    );
}

#[tokio::test]
async fn clients_get_nothing_outside_the_store_that_is_not_allowed() {
    let bench = Bench::new(&["https?://.*"]);
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("x.mar"), "content").unwrap();
    symlink(outside.join("x.mar"), bench.path("link.mar")).unwrap();
    symlink(&outside, bench.path("folder")).unwrap();
    fs::write(bench.path("inside.mar"), "content").unwrap();
    symlink("inside.mar", bench.path("alias.mar")).unwrap();
    let absolute = outside.to_str().unwrap().to_owned();
    for url in ["link.mar", "folder", absolute.as_str()] {
        let expected = format!(
            "Given URL {url} does not match any allowed URL(s): it is outside the model store"
        );
        assert_eq!(bench.refuse(url).await, (404, expected));
        // The operator linked it, or named it.
        assert!(bench.store.locate(&by_operator(url)).await.is_ok(), "{url}");
    }
    assert!(bench.locate("alias.mar").await.is_ok());

    let canonical = fs::canonicalize(&outside).unwrap();
    let allowing = format!("file://{}.*", canonical.display());
    let store = ModelStore::new(
        bench.store.root.clone(),
        &[Regex::new(&format!("^(?:{allowing})$")).unwrap()],
        LIMITS,
    );
    for url in ["link.mar", "folder", absolute.as_str()] {
        assert!(store.locate(&wanted(url)).await.is_ok(), "{url}");
    }
}

#[tokio::test]
async fn a_file_url_to_a_link_leads_only_to_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir_all(folder.join("public")).unwrap();
    fs::write(folder.join("secret.mar"), "content").unwrap();
    symlink(folder.join("secret.mar"), folder.join("public/x.mar")).unwrap();
    let bench = Bench::new(&[&format!("file://{}/public/.*", folder.display())]);
    let url = format!("file://{}/public/x.mar", folder.display());
    let (status, text) = bench.refuse(&url).await;
    assert_eq!(status, 404);
    assert!(
        text.ends_with("it is a link to a place that is not allowed"),
        "{text}"
    );
    let dotted = format!("file://{}/public/%2e%2e/secret.mar", folder.display());
    assert_eq!(bench.refuse(&dotted).await.0, 404);
    assert!(bench.stored().is_empty());
    let _ = fs::remove_dir_all(folder);
}

#[tokio::test]
async fn a_store_that_is_gone_is_said_to_be() {
    let bench = Bench::new(&["file://.*"]);
    fs::remove_dir(bench.path("")).unwrap();
    let (status, text) = bench.refuse("noop.mar").await;
    assert_eq!(status, 500);
    assert!(
        text.starts_with("Model store ") && text.contains("cannot be read"),
        "{text}"
    );
    let source = bench.folder.path().join("x.mar");
    fs::write(&source, "content").unwrap();
    let (status, text) = bench.refuse(&format!("file://{}", source.display())).await;
    assert_eq!(status, 500);
    assert!(text.starts_with("Failed to save model: file://"), "{text}");
}

/// Of the text `content`.
const OF_CONTENT: &str = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
const OF_OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::test]
async fn a_checksum_is_checked_before_anything_else_happens() {
    let bench = Bench::new(&["http://127.*"]);
    bench.put("noop.mar");
    let remote = format!("{}/x.mar", server(with_length(b"content"), false).await);
    for url in ["noop.mar", remote.as_str()] {
        let with = |checksum| ArchiveRequest {
            checksum: Some(checksum),
            ..wanted(url)
        };
        let error = bench.store.locate(&with(OF_OTHER)).await.unwrap_err();
        assert_eq!(
            (error.code().http(), error.to_string()),
            (
                400,
                format!("Checksum of {url} is {OF_CONTENT}, not {OF_OTHER}")
            )
        );
        let error = bench.store.locate(&with("md5:1")).await.unwrap_err();
        assert_eq!(error.code().http(), 400);
        assert_eq!(bench.stored(), ["noop.mar"]);
        bench
            .store
            .locate(&with(OF_CONTENT))
            .await
            .unwrap()
            .discard()
            .await;

        let pinned = format!("{url}#{OF_CONTENT}");
        let archive = bench.locate(&pinned).await.unwrap();
        assert_eq!(archive.url(), pinned);
        archive.discard().await;
        let both = ArchiveRequest {
            checksum: Some(OF_OTHER),
            ..wanted(&pinned)
        };
        assert_eq!(
            bench.store.locate(&both).await.unwrap_err().code().http(),
            400
        );
    }
    // What was fetched before is not trusted either.
    fs::write(bench.path("x.mar"), "something else").unwrap();
    let again = format!("{remote}#{OF_CONTENT}");
    let error = bench.store.locate(&by_operator(&again)).await.unwrap_err();
    assert!(matches!(error, Error::InvalidModel(_)), "{error}");
}

#[tokio::test]
async fn patterns_that_match_everything_do_not_turn_names_into_urls() {
    let bench = Bench::new(&[".*"]);
    bench.put("noop.mar");
    assert!(!bench.locate("noop.mar").await.unwrap().is_downloaded());
}

#[tokio::test]
async fn a_fetched_archive_is_whole_and_goes_with_its_model() {
    let body = vec![7; 300_000];
    let bench = Bench::new(&["http://127.*"]);
    let url = format!(
        "{}/a/fetched.mar?x=/y.mar",
        server(with_length(&body), false).await
    );
    let archive = bench.locate(&url).await.unwrap();
    assert!(archive.is_downloaded());
    assert_eq!(archive.path(), bench.path("fetched.mar"));
    assert_eq!(fs::read(archive.path()).unwrap(), body);
    assert_eq!(bench.stored(), ["fetched.mar"]);

    assert_eq!(
        bench.refuse(&url).await,
        (500, "Model file already exists fetched.mar".to_owned())
    );
    let again = bench.store.locate(&by_operator(&url)).await.unwrap();
    assert!(!again.is_downloaded());
    archive.discard().await;
    assert!(bench.stored().is_empty());
}

#[tokio::test]
async fn file_urls_are_copied_into_the_store() {
    let bench = Bench::new(&["file://.*"]);
    let source = bench.folder.path().join("some model.mar");
    fs::write(&source, "content").unwrap();
    let url = format!("file://{}", source.to_str().unwrap());
    let archive = bench.locate(&url).await.unwrap();
    assert_eq!(fs::read(archive.path()).unwrap(), b"content");
    assert!(archive.is_downloaded() && source.exists());
    archive.discard().await;
    for url in [
        "file:///no/such/file.mar",
        "file:///dev/zero",
        "file:///tmp",
    ] {
        let (status, text) = bench.refuse(url).await;
        assert_eq!(status, 400);
        assert!(
            text.starts_with(&format!("Failed to download archive from: {url}: ")),
            "{text}"
        );
    }
    assert!(bench.stored().is_empty());
}

#[tokio::test]
async fn a_download_that_fails_leaves_nothing() {
    let bench = Bench::new(&["http://127.*"]);
    let cases = [
        (
            "not found",
            answer("404 Not Found\r\nContent-Length: 0", b""),
            false,
            "",
        ),
        (
            "forbidden",
            answer("403 Forbidden\r\nContent-Length: 0", b""),
            false,
            ": the server answered with status 403",
        ),
        (
            "announced too large",
            answer("200 OK\r\nContent-Length: 99999999999", b"x"),
            true,
            ": the archive is larger than 1048576 bytes, which is max_download_size",
        ),
        (
            "too large without saying so",
            answer("200 OK", &vec![0; (1 << 20) + 1]),
            false,
            ": the archive is larger than 1048576 bytes, which is max_download_size",
        ),
        ("silent", Vec::new(), true, ": "),
        ("nonsense", b"what?\r\n\r\n".to_vec(), false, ": "),
    ];
    for (case, bytes, stall, reason) in cases {
        let url = format!("{}/x.mar", server(bytes, stall).await);
        let located = tokio::time::timeout(Duration::from_secs(20), bench.refuse(&url)).await;
        let expected = format!("Failed to download archive from: {url}{reason}");
        let (status, text) = located.expect(case);
        assert_eq!(status, 400, "{case}");
        assert!(
            text == expected || (reason == ": " && text.starts_with(&expected)),
            "{text}"
        );
        assert!(bench.stored().is_empty(), "{case}");
    }
    let (status, _) = bench.refuse("http://127.0.0.1:1/nobody-there.mar").await;
    assert_eq!(status, 400);
    assert_eq!(bench.refuse("http://127.0.0.1").await.0, 400);
}

#[tokio::test]
async fn a_cancelled_download_leaves_nothing() {
    let bench = Bench::new(&["http://127.*"]);
    let body = answer("200 OK\r\nContent-Length: 100", b"x");
    let url = format!("{}/x.mar", server(body, true).await);
    let cancelled = tokio::time::timeout(Duration::from_millis(200), bench.locate(&url)).await;
    assert!(cancelled.is_err());
    assert!(bench.stored().is_empty());
}

#[tokio::test]
async fn leftovers_of_killed_servers_are_swept_but_not_running_downloads() {
    let bench = Bench::new(&["http://127.*"]);
    bench.put(".tserve-abc.download");
    bench.put(".tserve-notes");
    let body = answer("200 OK\r\nContent-Length: 100", b"x");
    let url = format!("{}/x.mar", server(body, true).await);
    let running = bench.locate(&url);
    let running = tokio::time::timeout(Duration::from_millis(300), running);
    let (_, during) = tokio::join!(running, async {
        for _ in 0..20 {
            if bench.stored().len() == 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.store.sweep();
        bench.stored()
    });
    assert_eq!(during.len(), 2, "{during:?}");
    assert!(!during.contains(&".tserve-abc.download".to_owned()));
    assert_eq!(bench.stored(), [".tserve-notes"]);
}

#[tokio::test]
async fn redirects_stay_within_the_allowed_urls() {
    let target = server(with_length(b"content"), false).await;
    let redirect = |to: &str| {
        answer(
            &format!("302 Found\r\nContent-Length: 0\r\nLocation: {to}"),
            b"",
        )
    };
    let allowed = server(redirect(&format!("{target}/ok/x.mar")), false).await;
    let refused = server(redirect(&format!("{target}/secret/x.mar")), false).await;
    let bench = Bench::new(&["http://127[^/]*/ok/.*"]);
    let (status, _) = bench.refuse(&format!("{refused}/ok/x.mar")).await;
    assert_eq!(status, 400);
    assert!(bench.stored().is_empty());
    assert!(bench.locate(&format!("{allowed}/ok/x.mar")).await.is_ok());
    let own = server(redirect("/ok/x.mar"), false).await;
    assert_eq!(bench.refuse(&format!("{own}/ok/y.mar")).await.0, 400);
}

#[tokio::test]
async fn all_archives_are_listed_in_order() {
    let bench = Bench::new(&[]);
    for name in [
        "b.mar",
        "a.model",
        "c.tar.gz",
        "notes.txt",
        ".hidden.mar",
        ".tserve-x.download",
    ] {
        bench.put(name);
    }
    fs::create_dir(bench.path("dir")).unwrap();
    fs::create_dir(bench.path(".git")).unwrap();
    assert_eq!(
        bench.store.archives().await.unwrap(),
        ["a.model", "b.mar", "c.tar.gz", "dir"]
    );
}
