//! Finds the sources of the configuration and merges them: defaults, file, flags, environment.

mod address;
mod checks;
mod file;
mod platform;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use self::address::{address_in_file, default_address, read_address};

use self::file::Entry;
use super::draft::Draft;
use super::keys::{self, Env, Key, State};
use super::secret::StaticTokens;
use super::{Config, Properties, StartupModels, snapshot};

/// The file that is read when nothing names one.
const FILE_IN_WORKING_FOLDER: &str = "config.properties";

/// Where settings come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The config file, where something names one.
    pub file: Option<&'a Path>,
    /// What the flags set.
    pub flags: &'a [Override],
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Counts the GPUs of this machine; asked at most once.
    pub count_gpus: &'a dyn Fn() -> u32,
}

/// A key set by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The flag, for messages.
    pub flag: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// The value, as the key would have it in the file.
    pub value: String,
}

/// One setting: its value and who said so.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// The value as it would be written; `None` = not set.
    pub value: Option<String>,
    /// Where it comes from.
    pub place: Place,
}

/// A configuration, and what the operator should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The effective configuration.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Whether that file is a snapshot.
    pub is_snapshot: bool,
    /// Every key, in the order of the reference page.
    pub values: Vec<Effective>,
    /// One line each, for the server log.
    pub warnings: Vec<String>,
}

/// A configuration that cannot be used; prints as one line.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not in the format of Java properties.
    #[error("{place}: {problem}")]
    Syntax {
        /// File and line.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A key has a value that it cannot have.
    #[error("{place}: {key}: \"{value}\" {problem}")]
    Value {
        /// File and line, flag or environment variable.
        place: String,
        /// The key.
        key: &'static str,
        /// The value, shortened when long.
        value: String,
        /// What is allowed.
        problem: String,
    },
    /// A value refers to an environment variable that is not set.
    #[error("{place}: {key}: the environment variable {variable} is not set")]
    Variable {
        /// File and line.
        place: String,
        /// The key.
        key: String,
        /// The variable.
        variable: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Conflict(String),
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// File and line.
    Line(PathBuf, usize),
    /// File and line of a snapshot.
    Snapshot(PathBuf, usize),
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// The default of a hosting platform.
    Platform(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Line(path, line) | Self::Snapshot(path, line) => {
                write!(formatter, "{}:{line}", path.display())
            }
            Self::Flag(flag) => formatter.write_str(flag),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Platform(name) => write!(formatter, "platform {name}"),
        }
    }
}

/// Merges the sources.
///
/// # Errors
/// The first mistake that is found, with the place it was made at.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigError> {
    let in_working_folder = Path::new(FILE_IN_WORKING_FOLDER);
    let path = sources
        .file
        .or_else(|| in_working_folder.is_file().then_some(in_working_folder));
    let mut warnings = Vec::new();
    let entries = match path {
        Some(path) => file::read(path, sources.environment, &mut warnings)?,
        None => Vec::new(),
    };

    let is_snapshot = entries.iter().any(|entry| entry.key.name == snapshot::KEY);
    let mut merge = Merge::default();
    for Entry { key, value, line } in &entries {
        let path = path.unwrap_or(in_working_folder).to_path_buf();
        let place = if is_snapshot {
            Place::Snapshot(path, *line)
        } else {
            Place::Line(path, *line)
        };
        merge.apply(key, value, place)?;
    }
    for Override { flag, key, value } in sources.flags {
        let key = keys::find(key).ok_or_else(|| {
            ConfigError::Conflict(format!("{flag}: sets {key}, which is not a key"))
        })?;
        merge.apply(key, value, Place::Flag(flag))?;
    }
    limit_gpus(&mut merge.draft, sources);
    apply_environment(&mut merge, sources)?;
    platform::apply(&mut merge, sources)?;
    merge.choose_models();
    checks::check(&merge.draft)?;
    warnings.append(&mut merge.warnings);

    let values = merge.values();
    let mut config = merge.draft.into_config();
    config.properties = properties(&values, path);
    config.static_tokens = StaticTokens::from_environment(sources.environment)?;
    let folder = |name| (sources.environment)(name).filter(|it| !it.is_empty());
    if let Some(logs) = folder("LOG_LOCATION") {
        config.log_location = PathBuf::from(logs);
    }
    if let Some(metrics) = folder("METRICS_LOCATION") {
        config.metrics_location = PathBuf::from(metrics);
    }
    Ok(Loaded {
        config,
        file: path.map(Path::to_path_buf),
        is_snapshot,
        values,
        warnings,
    })
}

/// What the sources said so far.
struct Merge {
    draft: Draft,
    /// Values that are not defaults, by key.
    said: HashMap<&'static str, (String, Place)>,
    warnings: Vec<String>,
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            draft: Draft::with_defaults(),
            said: HashMap::new(),
            warnings: Vec::new(),
        }
    }
}

impl Merge {
    fn apply(&mut self, key: &'static Key, value: &str, place: Place) -> Result<(), ConfigError> {
        (key.apply)(&mut self.draft, value).map_err(|problem| ConfigError::Value {
            place: place.to_string(),
            key: key.name,
            value: shortened(value),
            problem,
        })?;
        let name = key.name;
        for warning in self.draft.warnings.drain(..) {
            self.warnings.push(format!("{place}: {name}: {warning}"));
        }
        let is_default = value.is_empty() || key.default == Some(value);
        match key.state {
            State::Planned(feature) if !is_default => self.warnings.push(format!(
                "{place}: {name} has no effect yet: not built: {feature}"
            )),
            State::Ignored(reason) if !is_default => {
                self.warnings
                    .push(format!("{place}: {name} has no effect: {reason}"));
            }
            _ => {}
        }
        self.said.insert(name, (value.to_owned(), place));
        Ok(())
    }

    /// The models of a snapshot go before `load_models` of the same file, and after everything
    /// that was said to this very server.
    fn choose_models(&mut self) {
        let Some(restored) = self.draft.restored.take() else {
            return;
        };
        let place = |key| self.said.get(key).map(|(_, place)| place);
        let snapshot = place(snapshot::KEY).map_or(String::new(), ToString::to_string);
        if let Some(winner @ (Place::Flag(_) | Place::Variable(_))) = place("load_models") {
            self.warnings.push(format!(
                "{snapshot}: the models of the snapshot are not loaded: {winner} says which are"
            ));
            return;
        }
        if restored.models.is_empty() {
            self.warnings.push(format!(
                "{snapshot}: the snapshot has no models: none are loaded"
            ));
        }
        self.draft.config.startup_models = StartupModels::Restored(restored);
    }

    fn values(&self) -> Vec<Effective> {
        keys::all()
            .map(|key| {
                let said = self.said.get(key.name).cloned();
                let (mut value, place) = match said {
                    Some((value, place)) => (Some(value), place),
                    None => (key.default.map(str::to_owned), Place::Default),
                };
                if key.name == "number_of_gpu" {
                    value = self.draft.number_of_gpu.map(|count| count.to_string());
                }
                Effective {
                    key: key.name,
                    value,
                    place,
                }
            })
            .collect()
    }
}

/// What was set, as a snapshot has it: paths do not depend on the working folder any more.
fn properties(values: &[Effective], file: Option<&Path>) -> Properties {
    let absolute = |text: &str| {
        std::path::absolute(text).map_or_else(|_| text.to_owned(), |it| it.display().to_string())
    };
    let mut set: Vec<_> = values
        .iter()
        .filter(|it| it.place != Place::Default)
        .filter(|it| ![snapshot::KEY, "version", "tsConfigFile"].contains(&it.key))
        .filter_map(|it| {
            let value = it.value.as_deref()?;
            let is_path = !value.is_empty() && keys::find(it.key).is_some_and(Key::is_path);
            let value = if is_path {
                absolute(value)
            } else {
                value.to_owned()
            };
            Some((it.key, value))
        })
        .collect();
    set.push(("version", env!("CARGO_PKG_VERSION").to_owned()));
    if let Some(file) = file {
        set.push(("tsConfigFile", absolute(&file.display().to_string())));
    }
    Properties(set)
}

/// At most as many GPUs as there are. The environment, applied later, is not limited: that is how
/// more than the visible ones can be named.
fn limit_gpus(draft: &mut Draft, sources: &Sources<'_>) {
    draft.number_of_gpu = match draft.number_of_gpu {
        Some(0) => Some(0),
        wanted => {
            let found = (sources.count_gpus)();
            Some(wanted.map_or(found, |wanted| wanted.min(found)))
        }
    };
}

fn apply_environment(merge: &mut Merge, sources: &Sources<'_>) -> Result<(), ConfigError> {
    let is_enabled = merge.draft.enable_envvars_config;
    let is_gate_open = is_enabled && merge.draft.use_env_allowed_urls;
    for key in keys::all() {
        let (name, applies, switch) = match key.env {
            Env::None => continue,
            Env::Always(name) | Env::Switch(name, _) => (name, true, ""),
            Env::Enabled(name) => (name, is_enabled, "enable_envvars_config=true"),
            Env::Gated(name) => (
                name,
                is_gate_open,
                "enable_envvars_config=true and use_env_allowed_urls=true",
            ),
        };
        let Some(mut value) = (sources.environment)(name) else {
            continue;
        };
        if let Env::Switch(_, on) = key.env {
            // An empty variable is as good as none; the original lets it switch the key off.
            if value.is_empty() {
                continue;
            }
            value = (value == on).to_string();
        }
        if applies {
            merge.apply(key, &value, Place::Variable(name))?;
        } else {
            merge.warnings.push(format!(
                "environment variable {name} has no effect: the config file does not have {switch}"
            ));
        }
    }
    Ok(())
}

/// A value for a message: long ones, such as JSON, are cut.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 80;
    let line = value.replace(['\n', '\r'], " ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let mut cut: String = line.chars().take(LONGEST).collect();
    cut.push_str("...");
    cut
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("file", &self.file)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
