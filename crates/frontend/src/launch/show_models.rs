//! The part of `tserve config show` about models: what each one named at start is served with.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Config, Effective, ModelOverrides, Place, StartupModels, VersionSnapshot};
use crate::model::archive::read_member;
use crate::model::manifest::{MANIFEST_PATH, Manifest, Naming};
use crate::model::settings::archive_config::ArchiveConfig;
use crate::model::settings::{Explained, Origin, RegisterParams, Settings, Sources};
use crate::model::store::{ArchiveRequest, Asker, ModelStore, derived_name};

/// One model named at start.
pub(super) struct Model {
    /// Its name, the one that its location suggests if it could not be read.
    pub(super) name: String,
    /// Its version, if it could be read.
    pub(super) version: Option<String>,
    /// Where it is loaded from.
    pub(super) location: String,
    /// Its settings, or why they are not known.
    pub(super) settings: Result<Vec<Row>, String>,
}

/// One setting.
pub(super) struct Row {
    pub(super) key: &'static str,
    pub(super) value: Option<String>,
    /// One word for the kind of source.
    pub(super) source: &'static str,
    /// Which one, in words.
    pub(super) at: Option<String>,
}

/// One model that is to be loaded.
struct Asked<'a> {
    name: Option<&'a str>,
    location: String,
    saved: Option<&'a VersionSnapshot>,
}

/// Reads every model that a server with this configuration would load when it starts. Nothing is
/// fetched or unpacked.
pub(super) fn models(config: &Config, values: &[Effective]) -> Vec<Model> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return Vec::new();
    };
    let limits = config.downloads;
    let store = ModelStore::new(config.model_store.clone(), &[], limits);
    let asked = |name, location: &str, saved| Asked {
        name,
        location: location.to_owned(),
        saved,
    };
    let all: Vec<_> = match &config.startup_models {
        StartupModels::None => Vec::new(),
        StartupModels::All => {
            let names = runtime.block_on(store.archives()).unwrap_or_default();
            names.iter().map(|name| asked(None, name, None)).collect()
        }
        StartupModels::List(models) => models
            .iter()
            .map(|it| asked(it.name.as_deref(), &it.location, None))
            .collect(),
        StartupModels::Restored(snapshot) => snapshot
            .versions()
            .map(|(name, _, saved)| asked(Some(name), &saved.mar_name, Some(saved)))
            .collect(),
    };
    let show = |asked: Asked<'_>| {
        let located = if asked.location.contains("://") {
            Err("not known before it has been fetched".to_owned())
        } else {
            let wanted = ArchiveRequest::new(&asked.location, Asker::Operator);
            let located = runtime.block_on(store.locate(&wanted));
            located.map_err(|error| error.to_string())
        };
        let derived = derived_name(&asked.location);
        let mut model = Model {
            name: asked.name.map_or(derived, str::to_owned),
            version: None,
            location: asked.location.clone(),
            settings: Ok(Vec::new()),
        };
        model.settings = located.and_then(|it| read(&mut model, it.path(), &asked, config, values));
        model
    };
    all.into_iter().map(show).collect()
}

fn read(
    model: &mut Model,
    archive: &Path,
    asked: &Asked<'_>,
    config: &Config,
    values: &[Effective],
) -> Result<Vec<Row>, String> {
    let member = |name: &str| read_member(archive, name).map_err(|error| error.to_string());
    let words = |error: crate::error::Error| error.to_string();
    let manifest = match member(MANIFEST_PATH)? {
        Some(bytes) => Manifest::parse(&bytes).map_err(words)?,
        None => Manifest::default(),
    };
    let params = asked
        .saved
        .map(RegisterParams::saved)
        .transpose()
        .map_err(words)?
        .unwrap_or_default();
    let identity = manifest.identify(&Naming {
        requested_name: asked.name,
        fallback_name: Some(&model.name),
        requested_runtime: params.runtime,
    });
    let identity = identity.map_err(words)?;
    model.name = identity.name;
    model.version = Some(identity.version);
    let file = manifest.config_file.as_deref().unwrap_or_default();
    let own = match member(file)? {
        Some(text) => {
            let parsed = ArchiveConfig::parse(&String::from_utf8_lossy(&text));
            Some(parsed.map_err(|error| format!("{file} counts as absent: {error}"))?)
        }
        None => None,
    };
    let settings = Settings::merge(&Sources {
        request: &params,
        manifest: &manifest,
        archive: own.as_ref(),
        overrides: overrides(model, config),
        config,
        is_startup: asked.saved.is_none(),
    });
    let mut settings = settings.map_err(words)?;
    if let Some(saved) = asked.saved {
        settings.workers = Some((saved.min_workers, saved.max_workers));
        settings.origins.workers = Origin::Request;
    }
    let row = |it: Explained| {
        let (source, at) = place(&it, file, values);
        Row {
            key: it.key,
            value: it.value,
            source,
            at,
        }
    };
    Ok(settings
        .explain(own.as_ref(), config)
        .into_iter()
        .map(row)
        .collect())
}

fn overrides<'a>(model: &Model, config: &'a Config) -> Option<&'a ModelOverrides> {
    config
        .model_overrides
        .iter()
        .find(|(name, version, _)| *name == model.name && Some(version) == model.version.as_ref())
        .map(|(_, _, overrides)| overrides)
}

/// The kind of a source, and which one it is.
fn place(it: &Explained, file: &str, values: &[Effective]) -> (&'static str, Option<String>) {
    let of_key = |key: &str| {
        let said = values.iter().find(|value| value.key == key);
        match said.map(|value| &value.place) {
            None | Some(Place::Default) => format!("{key} (default)"),
            Some(place) => format!("{key}, {place}"),
        }
    };
    match it.origin {
        Origin::BuiltIn => ("default", None),
        Origin::Server => ("server", it.server_key.map(of_key)),
        Origin::Models => ("models", Some(of_key("models"))),
        Origin::Manifest => ("manifest", Some(MANIFEST_PATH.to_owned())),
        Origin::Archive => ("archive", Some(file.to_owned())),
        Origin::Request => ("snapshot", Some(of_key("model_snapshot"))),
    }
}

impl Model {
    pub(super) fn as_json(&self) -> Value {
        let mut shown = json!({
            "name": self.name,
            "version": self.version,
            "location": self.location,
        });
        match &self.settings {
            Ok(rows) => {
                let row = |it: &Row| json!({ "key": it.key, "value": it.value, "source": it.source, "at": it.at });
                shown["settings"] = rows.iter().map(row).collect();
            }
            Err(reason) => shown["error"] = reason.as_str().into(),
        }
        shown
    }
}
