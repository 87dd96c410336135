//! Archives that were fetched: from which URL, and whether a model has them.
//!
//! A mark stays with the file, as an extended attribute, so that it outlives the server: one that
//! serves the file again knows that it may delete it later, and one that finds a file that no model
//! has, because its server was killed, may fetch it again. Where files have no attributes they all
//! count as the operator's own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, digest};
use rustix::fs::{XattrFlags, fsetxattr, getxattr};
use tracing::debug;

const ATTRIBUTE: &str = "user.tserve.source";

/// What marks the archive of a URL: not the URL itself, which may hold credentials.
fn mark_of(place: &str) -> impl AsRef<[u8]> {
    digest(&SHA256, place.as_bytes())
}

/// Marks a file as fetched from `place`.
pub(super) fn mark(file: &File, place: &str) {
    let mark = mark_of(place);
    if let Err(error) = fsetxattr(file, ATTRIBUTE, mark.as_ref(), XattrFlags::empty()) {
        debug!(%error, "a fetched archive cannot be marked as such");
    }
}

/// Whether a file was fetched from `place`.
pub(super) fn is_from(path: &Path, place: &str) -> bool {
    let mark = mark_of(place);
    let mut found = [0; 64];
    getxattr(path, ATTRIBUTE, &mut found[..])
        .is_ok_and(|length| found.get(..length) == Some(mark.as_ref()))
}

/// The fetched archives of this server that belong to somebody.
#[derive(Debug, Clone, Default)]
pub(super) struct Holdings(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    by_path: HashMap<PathBuf, u64>,
    last_id: u64,
}

impl Holdings {
    /// Takes a path, unless somebody has it.
    pub(super) fn take(&self, path: &Path) -> Option<Arc<Holding>> {
        let mut held = self.lock();
        let id = held.last_id + 1;
        match held.by_path.entry(path.to_owned()) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(entry) => entry.insert(id),
        };
        held.last_id = id;
        Some(Arc::new(Holding {
            of: self.clone(),
            path: path.to_owned(),
            id,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A path that somebody has, until this is dropped or given back.
#[derive(Debug)]
pub(super) struct Holding {
    of: Holdings,
    path: PathBuf,
    id: u64,
}

impl Holding {
    /// Gives the path back before its time.
    pub(super) fn give_back(&self) {
        let mut held = self.of.lock();
        // Somebody else may have taken it since.
        if held.by_path.get(&self.path) == Some(&self.id) {
            held.by_path.remove(&self.path);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use regex::Regex;
    use tempfile::TempDir;

    use super::super::{ArchiveRequest, Asker, LocatedArchive, ModelStore};
    use super::*;
    use crate::config::Config;
    use crate::error::Error;

    struct Bench {
        folder: TempDir,
        url: String,
    }

    impl Bench {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            fs::create_dir(folder.path().join("store")).unwrap();
            fs::write(folder.path().join("x.mar"), "content").unwrap();
            let url = format!("file://{}/x.mar", folder.path().display());
            Self { folder, url }
        }

        fn stored(&self) -> PathBuf {
            self.folder.path().join("store/x.mar")
        }

        /// A server that starts.
        fn store(&self) -> ModelStore {
            let allowed = [Regex::new("^(?:file://.*)$").unwrap()];
            let root = self.folder.path().join("store");
            ModelStore::new(Some(root), &allowed, Config::default().downloads)
        }

        async fn locate(&self, store: &ModelStore, asker: Asker) -> Result<LocatedArchive, Error> {
            store.locate(&ArchiveRequest::new(&self.url, asker)).await
        }

        /// Whether files have attributes here; without, all are the operator's own.
        fn has_attributes(&self) -> bool {
            let file = File::open(self.folder.path().join("x.mar")).unwrap();
            fsetxattr(&file, ATTRIBUTE, b"x", XattrFlags::empty()).is_ok()
        }
    }

    #[tokio::test]
    async fn what_a_killed_server_fetched_can_be_fetched_again() {
        let bench = Bench::new();
        let killed = bench.store();
        let archive = bench.locate(&killed, Asker::Client).await.unwrap();
        // A model has it.
        assert!(bench.locate(&killed, Asker::Client).await.is_err());
        drop((killed, archive));
        assert!(bench.stored().exists());

        let next = bench.store();
        fs::write(bench.folder.path().join("x.mar"), "newer").unwrap();
        if bench.has_attributes() {
            let archive = bench.locate(&next, Asker::Client).await.unwrap();
            assert_eq!(fs::read(bench.stored()).unwrap(), b"newer");
            archive.discard().await;
            assert!(!bench.stored().exists());
        }
        // An archive that was given back can be had at once.
        fs::remove_file(bench.stored()).unwrap_or_default();
        let archive = bench.locate(&next, Asker::Client).await.unwrap();
        archive.discard().await;
        assert!(bench.locate(&next, Asker::Client).await.is_ok());
    }

    #[tokio::test]
    async fn models_named_at_start_share_an_archive_that_one_of_them_fetches() {
        let bench = Bench::new();
        let store = bench.store();
        let (one, other) = tokio::join!(
            bench.locate(&store, Asker::Operator),
            bench.locate(&store, Asker::Operator)
        );
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.path(), other.path());
        assert!(!(one.is_downloaded() && other.is_downloaded()));
    }

    #[tokio::test]
    async fn an_archive_that_is_served_again_goes_with_its_model_and_others_stay() {
        let bench = Bench::new();
        drop(bench.locate(&bench.store(), Asker::Client).await.unwrap());
        let next = bench.store();
        let archive = bench.locate(&next, Asker::Operator).await.unwrap();
        assert_eq!(archive.is_downloaded(), bench.has_attributes());
        // A second model of the same archive: the first one has it.
        assert!(
            !bench
                .locate(&next, Asker::Operator)
                .await
                .unwrap()
                .is_downloaded()
        );
        drop((next, archive));

        fs::remove_file(bench.stored()).unwrap();
        fs::write(bench.stored(), "put there by hand").unwrap();
        let next = bench.store();
        assert!(bench.locate(&next, Asker::Client).await.is_err());
        let archive = bench.locate(&next, Asker::Operator).await.unwrap();
        assert!(!archive.is_downloaded());
        archive.discard().await;
        assert!(bench.stored().exists());
    }

    #[test]
    fn a_path_belongs_to_one_at_a_time() {
        let holdings = Holdings::default();
        let path = Path::new("/store/x.mar");
        let first = holdings.take(path).unwrap();
        assert!(holdings.take(path).is_none());
        assert!(holdings.take(Path::new("/store/y.mar")).is_some());
        first.give_back();
        let second = holdings.take(path).unwrap();
        // The first one is late, and no longer concerned.
        drop(first);
        assert!(holdings.take(path).is_none());
        drop(second);
        assert!(holdings.take(path).is_some());
    }
}
