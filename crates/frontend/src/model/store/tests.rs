//! Resolution of every kind of `url`, and downloads from a server that misbehaves.

use std::fs;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMITS: DownloadLimits = DownloadLimits {
    max_bytes: 1 << 20,
    connect_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_millis(500),
};

struct Bench {
    folder: TempDir,
    store: ModelStore,
}

impl Bench {
    fn new(allowed: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let root = folder.path().join("store");
        fs::create_dir(&root).unwrap();
        let allowed: Vec<_> = allowed
            .iter()
            .map(|pattern| Regex::new(&format!("(?i)^(?:{pattern})$")).unwrap())
            .collect();
        Self {
            store: ModelStore::new(Some(root), &allowed, LIMITS),
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
        self.store.locate(url, IfPresent::Refuse).await
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
            "file:///etc/passwd",
            "Given URL file:///etc/passwd does not match any allowed URL(s)",
        ),
    ] {
        assert_eq!(bench.refuse(url).await, (404, text.to_owned()));
    }
    let without = ModelStore::new(None, &[], LIMITS);
    let error = without
        .locate("noop.mar", IfPresent::Refuse)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "Model store has not been configured.");
}

#[tokio::test]
async fn directories_are_used_in_place() {
    let bench = Bench::new(&[]);
    fs::create_dir(bench.path("noarch")).unwrap();
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["noarch", "noarch/", "elsewhere/noarch"] {
        let archive = bench.locate(name).await.unwrap();
        assert!(archive.path().ends_with("noarch"), "{name}");
    }
    let url = outside.to_str().unwrap();
    assert_eq!(bench.locate(url).await.unwrap().path(), outside);
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
    let again = bench.store.locate(&url, IfPresent::Reuse).await.unwrap();
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
        assert_eq!(
            (status, text),
            (400, format!("Failed to download archive from: {url}"))
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
        ),
        (
            "cut short",
            answer("200 OK\r\nContent-Length: 100", b"only this"),
            false,
        ),
        (
            "announced too large",
            answer("200 OK\r\nContent-Length: 99999999999", b"x"),
            true,
        ),
        (
            "too large without saying so",
            answer("200 OK", &vec![0; (1 << 20) + 1]),
            false,
        ),
        ("silent", Vec::new(), true),
        (
            "silent in the middle",
            answer("200 OK\r\nContent-Length: 100", b"x"),
            true,
        ),
        ("nonsense", b"what?\r\n\r\n".to_vec(), false),
    ];
    for (case, bytes, stall) in cases {
        let url = format!("{}/x.mar", server(bytes, stall).await);
        let located = tokio::time::timeout(Duration::from_secs(20), bench.refuse(&url)).await;
        let expected = format!("Failed to download archive from: {url}");
        assert_eq!(located.expect(case), (400, expected), "{case}");
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

#[test]
fn names_are_derived_from_locations() {
    for (location, name) in [
        ("garbage.mar", "garbage"),
        ("/x/y/my-model.v2.mar", "my_model_v2"),
        ("m.model", "m"),
        ("a-b.tar.gz", "a_b_tar_gz"),
        ("dir/", "dir"),
        ("_x.mar", "_x"),
        ("ünï.mar", "_n_"),
    ] {
        assert_eq!(derived_name(location), name, "{location}");
    }
}
