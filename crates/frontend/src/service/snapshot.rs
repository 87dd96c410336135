//! Writes snapshots: what a server was told and which models it has, for the start after this one.
//!
//! A snapshot is a new file each time, complete or not there at all. Writing happens in the pool for
//! blocking work; when it fails the log says so and the server goes on.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::ManagementService;
use super::ServedModel;
use super::state::ServerState;
use crate::config::{
    ModelSnapshot, VersionSnapshot, newest_snapshot, snapshot_stamp, write_property,
};
use crate::model::settings::Origin;

/// How long an answer waits for its snapshot; a slower disk finishes it later.
const PATIENCE: Duration = Duration::from_secs(2);

/// Snapshots of changes that are kept; those of starts and stops all are.
const KEPT_CHANGES: usize = 20;

/// What a snapshot follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOf {
    /// The server has started.
    Startup,
    /// A client changed models or workers.
    Change,
    /// The server stops.
    Shutdown,
}

impl SnapshotOf {
    /// The word in the file name.
    fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Change => "snapshot",
            Self::Shutdown => "shutdown",
        }
    }
}

impl ManagementService {
    /// Writes a snapshot, unless they are switched off. Never fails: the log tells.
    pub async fn save_snapshot(&self, what: SnapshotOf) {
        let Some(folder) = self.state.config.snapshot_folder.clone() else {
            return;
        };
        let state = Arc::clone(&self.state);
        // A task of its own: a client that hangs up does not take its snapshot with it.
        let writing = tokio::spawn(async move {
            let turn = Arc::clone(&state.snapshot_turn).acquire_owned().await;
            let written = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                report(&folder, write(&state, &folder, what));
            });
            if let Err(error) = written.await {
                tracing::warn!("writing a snapshot was interrupted: {error}");
            }
        });
        if tokio::time::timeout(PATIENCE, writing).await.is_err() {
            tracing::warn!("writing a snapshot takes long; nobody waits for it any more");
        }
    }
}

fn report(folder: &Path, written: io::Result<PathBuf>) {
    match written {
        Ok(path) => tracing::debug!(path = %path.display(), "snapshot written"),
        Err(error) => tracing::warn!(
            "the snapshot in {} cannot be written: {error}; a later start restores an older one",
            folder.display()
        ),
    }
}

/// Snapshots are written one after the other: each is named after the ones before it.
fn write(state: &ServerState, folder: &Path, what: SnapshotOf) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let now = Zoned::now();
    let name = format!("{}-{}.cfg", next_stamp(folder, &now), what.word());
    let snapshot = models(state, &name, now.timestamp().as_millisecond());
    let json = serde_json::to_string_pretty(&snapshot)?;
    let mut text = format!(
        "#Saving snapshot\n#{}\n",
        now.strftime("%a %b %d %H:%M:%S %Z %Y")
    );
    for (key, value) in &state.config.properties.0 {
        write_property(&mut text, key, value);
    }
    write_property(&mut text, "model_snapshot", &json);
    // Only for its owner: there may be passwords among the settings.
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".tmp")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let path = folder.join(name);
    file.persist_noclobber(&path).map_err(|error| error.error)?;
    remove_old_changes(folder)?;
    Ok(path)
}

/// A server whose models change all day must not fill its disk with what they once were.
fn remove_old_changes(folder: &Path) -> io::Result<()> {
    let suffix = format!("-{}.cfg", SnapshotOf::Change.word());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && snapshot_stamp(name).is_some()
            && name.ends_with(&suffix)
        {
            names.push(name.to_owned());
        }
    }
    // Stamps have equal lengths: the order of their names is that of their times.
    names.sort_unstable();
    let old = names.len().saturating_sub(KEPT_CHANGES);
    for name in &names[..old] {
        std::fs::remove_file(folder.join(name))?;
    }
    Ok(())
}

/// The time for the name of the next file: later than every one there, even when the clock was set
/// back, because the newest name is the one that is restored.
fn next_stamp(folder: &Path, now: &Zoned) -> String {
    let stamp = now.strftime("%Y%m%d%H%M%S%3f").to_string();
    let newest = newest_snapshot(folder);
    let last = newest.as_deref().and_then(|path| {
        snapshot_stamp(path.file_name()?.to_str()?)?
            .parse::<u64>()
            .ok()
    });
    match last {
        Some(last) if stamp.parse().is_ok_and(|stamp: u64| stamp <= last) => {
            format!("{:017}", last + 1)
        }
        _ => stamp,
    }
}

fn models(state: &ServerState, name: &str, created: i64) -> ModelSnapshot {
    let store = state.config.model_store.as_deref();
    let models: std::collections::BTreeMap<_, _> = state
        .registry
        .models()
        .into_iter()
        .map(|(name, versions)| {
            let default = versions.default_version();
            let saved = versions
                .iter()
                .map(|(version, model)| {
                    (
                        version.to_string(),
                        saved(model, **version == *default, store),
                    )
                })
                .collect();
            (name.to_string(), saved)
        })
        .collect();
    ModelSnapshot {
        name: name.to_owned(),
        model_count: models.len(),
        created,
        models,
    }
}

fn saved(model: &ServedModel, is_default: bool, store: Option<&Path>) -> VersionSnapshot {
    let settings = &model.context().settings;
    let (min_workers, max_workers) = model.pool.bounds();
    let seconds = |limit: Duration| i64::try_from(limit.as_secs()).ok();
    let level = settings.declared.parallel_level;
    VersionSnapshot {
        default_version: is_default,
        mar_name: archive_name(model.located.path(), store),
        min_workers,
        max_workers,
        batch_size: Some(settings.batch_size.into()),
        max_batch_delay: i64::try_from(settings.max_batch_delay.as_millis()).ok(),
        response_timeout: seconds(settings.response_timeout),
        startup_timeout: seconds(settings.startup_timeout),
        runtime_type: Some(settings.runtime.as_str().to_owned()),
        parallel_level: (level > 0).then_some(level),
        handler: settings
            .handler
            .clone()
            .filter(|_| settings.origins.handler == Origin::Request),
    }
}

/// The archive's name in the store; directories that lie elsewhere keep their whole path.
fn archive_name(path: &Path, store: Option<&Path>) -> String {
    let whole = || std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    match path.file_name() {
        Some(name) if path.parent() == store => name.to_string_lossy().into_owned(),
        _ => whole().display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_only_ever_grow() {
        let folder = tempfile::tempdir().unwrap();
        let now = Zoned::now();
        let first = next_stamp(folder.path(), &now);
        assert_eq!(first.len(), 17);
        std::fs::write(folder.path().join(format!("{first}-startup.cfg")), "").unwrap();
        assert!(next_stamp(folder.path(), &now) > first);
        let ahead = folder.path().join("29990101000000000-shutdown.cfg");
        std::fs::write(ahead, "").unwrap();
        assert_eq!(next_stamp(folder.path(), &now), "29990101000000001");
    }

    #[test]
    fn only_the_newest_changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: String| std::fs::write(folder.path().join(name), "").unwrap();
        for number in 0..30 {
            write(format!("202611210000000{number:02}-snapshot.cfg"));
        }
        write("20200101000000000-startup.cfg".to_owned());
        write("notes-snapshot.cfg".to_owned());
        remove_old_changes(folder.path()).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, KEPT_CHANGES + 2);
        let (oldest, kept) = (10, folder.path());
        assert!(
            kept.join(format!("202611210000000{oldest}-snapshot.cfg"))
                .is_file()
        );
        assert!(!kept.join("20261121000000009-snapshot.cfg").exists());
    }

    #[test]
    fn archives_of_the_store_are_named_without_it() {
        let store = Some(Path::new("/store"));
        assert_eq!(archive_name(Path::new("/store/a.mar"), store), "a.mar");
        assert_eq!(archive_name(Path::new("/else/a"), store), "/else/a");
    }
}
