//! Snapshots of a server's settings and models as files: their names, the newest one, what its
//! `model_snapshot` says, and how a value is written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Key of the models in a snapshot.
pub(super) const KEY: &str = "model_snapshot";

/// Digits of the time that a snapshot's name begins with: `yyyyMMddHHmmssSSS`.
const STAMP_DIGITS: usize = 17;

/// Most workers that a snapshot may ask for; more is a damaged file.
const MOST_WORKERS: u32 = 65_535;

/// The models of a server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelSnapshot {
    /// Name of the file.
    pub name: String,
    /// Number of model names.
    pub model_count: usize,
    /// Milliseconds since 1970.
    pub created: i64,
    /// Name, version, how it is served.
    pub models: BTreeMap<String, BTreeMap<String, VersionSnapshot>>,
}

/// One version of a model in a snapshot; what is absent is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are those of the JSON keys")]
pub struct VersionSnapshot {
    pub default_version: bool,
    pub mar_name: String,
    pub min_workers: u32,
    pub max_workers: u32,
    pub batch_size: Option<i64>,
    pub max_batch_delay: Option<i64>,
    pub response_timeout: Option<i64>,
    pub startup_timeout: Option<i64>,
    pub runtime_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_level: Option<u32>,
    /// Not the original's, which forgets it: the handler that the registration asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
}

impl ModelSnapshot {
    /// Reads the value of `model_snapshot`; the error completes `"<text>" ...`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let snapshot: Self = serde_json::from_str(text)
            .map_err(|error| format!("is not the model list of a snapshot: {error}"))?;
        for (name, version, saved) in snapshot.versions() {
            if saved.mar_name.is_empty() {
                return Err(format!("has no marName for version {version} of {name}"));
            }
            let (min, max) = (saved.min_workers, saved.max_workers);
            if max < min || max > MOST_WORKERS {
                return Err(format!(
                    "asks for {min} to {max} workers for version {version} of {name}"
                ));
            }
        }
        Ok(snapshot)
    }

    /// Every version: name, version, how it is served.
    pub fn versions(&self) -> impl Iterator<Item = (&str, &str, &VersionSnapshot)> {
        self.models.iter().flat_map(|(name, versions)| {
            versions
                .iter()
                .map(|(version, saved)| (name.as_str(), version.as_str(), saved))
        })
    }

    /// The first version whose archive is not in the store, as the sentence of the original.
    pub fn missing_archive(&self, store: &Path) -> Option<String> {
        let is_there = |archive: &str| {
            let name = Path::new(archive).file_name();
            name.is_some_and(|name| store.join(name).exists()) || Path::new(archive).is_dir()
        };
        self.versions()
            .find(|(_, _, saved)| !is_there(&saved.mar_name))
            .map(|(name, version, _)| {
                format!(
                    "Model archive file for model :{name}, version :{version} not found in model \
                     store"
                )
            })
    }
}

/// The time in a snapshot's file name, if it is one; other files in the folder are nobody's business.
pub fn stamp(file_name: &str) -> Option<&str> {
    let (stamp, rest) = file_name.split_at_checked(STAMP_DIGITS)?;
    let occasion = rest.strip_prefix('-')?.strip_suffix(".cfg")?;
    let is_stamp = stamp.bytes().all(|byte| byte.is_ascii_digit());
    (is_stamp && ["startup", "snapshot", "shutdown"].contains(&occasion)).then_some(stamp)
}

/// The newest snapshot in a folder, by the time in its name.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(folder).ok()?.flatten();
    names
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| stamp(name).is_some())
        .max()
        .map(|name| folder.join(name))
}

/// Adds a line `key=value` in the format of Java properties.
pub fn write_property(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push('=');
    for (place, letter) in value.chars().enumerate() {
        match letter {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' | '=' | ':' | '#' | '!' => text.extend(['\\', letter]),
            ' ' if place == 0 => text.push_str("\\ "),
            // Java reads Latin-1. Letters beyond four hexadecimal digits stay as they are.
            '\u{7f}'..='\u{ffff}' | '\0'..='\u{1f}' => {
                write!(text, "\\u{:04x}", u32::from(letter)).ok();
            }
            _ => text.push(letter),
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_snapshot_is_found_among_strangers() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(&folder.path().join("none")), None);
        for name in [
            "20250307140509123-startup.cfg",
            "20250307140509124-snapshot.cfg",
            "99999999999999999-other.cfg",
            "9999-startup.cfg",
            "notes.txt",
            "20990307140509124-startup.cfg~",
            "ééééééééééé-startup.cfg",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("20990307140509124-shutdown.cfg")).unwrap();
        let found = newest(folder.path()).unwrap();
        assert_eq!(found.file_name().unwrap(), "20250307140509124-snapshot.cfg");
    }

    #[test]
    fn what_the_original_writes_is_read() {
        let text = r#"{"name":"20250307140509123-startup.cfg","modelCount":1,
            "created":1741356309123,"models":{"toy":{"2.1":{"defaultVersion":true,
            "marName":"toy.mar","minWorkers":1,"maxWorkers":2,"batchSize":8,"maxBatchDelay":25,
            "responseTimeout":120,"startupTimeout":120,"runtimeType":"python"}}}}"#;
        let snapshot = ModelSnapshot::parse(text).unwrap();
        let (name, version, toy) = snapshot.versions().next().unwrap();
        assert_eq!((name, version, toy.default_version), ("toy", "2.1", true));
        assert_eq!((toy.max_workers, toy.batch_size), (2, Some(8)));
        let again = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(ModelSnapshot::parse(&again), Ok(snapshot));
    }

    #[test]
    fn damaged_ones_are_refused() {
        for (models, problem) in [
            ("3", "is not the model list"),
            (r#"{"a":{"1":{}}}"#, "no marName"),
            (
                r#"{"a":{"1":{"marName":"a.mar","minWorkers":2,"maxWorkers":1}}}"#,
                "2 to 1 workers",
            ),
            (
                r#"{"a":{"1":{"marName":"a.mar","maxWorkers":99999999}}}"#,
                "workers",
            ),
        ] {
            let refused = ModelSnapshot::parse(&format!(r#"{{"models":{models}}}"#)).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }

    #[test]
    fn archives_that_are_gone_are_named() {
        let store = tempfile::tempdir().unwrap();
        let text = r#"{"models":{"toy":{"2.1":{"marName":"toy.mar"}}}}"#;
        let snapshot = ModelSnapshot::parse(text).unwrap();
        assert_eq!(
            snapshot.missing_archive(store.path()).unwrap(),
            "Model archive file for model :toy, version :2.1 not found in model store"
        );
        std::fs::write(store.path().join("toy.mar"), "").unwrap();
        assert_eq!(snapshot.missing_archive(store.path()), None);
    }

    #[test]
    fn values_come_back_as_they_were_written() {
        let value = " a: \"b\"\n\tc\\d=#! é €";
        let mut text = String::new();
        write_property(&mut text, "key", value);
        assert_eq!(text.lines().count(), 1);
        let read = java_properties::read(text.as_bytes()).unwrap();
        assert_eq!(read["key"], value);
    }
}
