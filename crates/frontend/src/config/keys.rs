//! Every key of `config.properties`, once: name, environment variable, form, default, meaning,
//! whether it has an effect, and how its text becomes a value.

mod downloads;
mod listeners;
mod logs;
mod models;
mod requests;
mod security;
mod server;
mod workers;

use super::draft::Draft;
use super::value::Parsed;

/// One key.
pub(super) struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub env: Env,
    /// What may be written, for the reference page.
    pub form: &'static str,
    /// Default as it would be written; `None` = not set.
    pub default: Option<&'static str>,
    /// One line on what it means.
    pub doc: &'static str,
    /// Whether it has an effect.
    pub state: State,
    /// Checks the text and puts the value where it belongs.
    pub apply: fn(&mut Draft, &str) -> Parsed<()>,
}

/// How the environment can set a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Env {
    /// Not at all.
    None,
    /// When the file has `enable_envvars_config=true`.
    Enabled(&'static str),
    /// When the file also has `use_env_allowed_urls=true`.
    Gated(&'static str),
    /// Always.
    Always(&'static str),
    /// Always, as a switch: on when the variable is exactly the second text, off when it is any
    /// other text.
    Switch(&'static str, &'static str),
}

/// Whether a key has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has.
    Built,
    /// Not yet; the text names what has to be built first.
    Planned(&'static str),
    /// Never; the text is the reason.
    Ignored(&'static str),
    /// Written by servers into their own files, of no meaning when read.
    Record,
}

/// A titled part of the table.
pub(super) struct Group {
    pub title: &'static str,
    pub keys: &'static [Key],
}

/// The table.
pub(super) const GROUPS: &[Group] = &[
    listeners::GROUP,
    models::GROUP,
    downloads::GROUP,
    requests::GROUP,
    workers::GROUP,
    security::GROUP,
    logs::GROUP,
    server::LOGS_AND_METRICS,
    server::GROUP,
];

/// Every key, in the order of the table.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    GROUPS.iter().flat_map(|group| group.keys)
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The key whose name is most like a misspelt one, when any is.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    all()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 4)
        .map(|(_, nearest)| nearest)
}

impl Key {
    /// A key without environment variable that has an effect.
    const fn new(
        name: &'static str,
        form: &'static str,
        default: Option<&'static str>,
        doc: &'static str,
        apply: fn(&mut Draft, &str) -> Parsed<()>,
    ) -> Self {
        Self {
            name,
            env: Env::None,
            form,
            default,
            doc,
            state: State::Built,
            apply,
        }
    }

    /// Whether its value is a path.
    pub(super) fn is_path(&self) -> bool {
        [form::FILE, form::FOLDER].contains(&self.form)
    }

    /// Lets an environment variable set it.
    const fn env(mut self, name: &'static str) -> Self {
        self.env = Env::Enabled(name);
        self
    }

    /// Lets an environment variable set it under other conditions than usual.
    const fn env_as(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Has no effect until something else is built.
    const fn planned(mut self, feature: &'static str) -> Self {
        self.state = State::Planned(feature);
        self
    }

    /// Has no effect, for a reason.
    const fn ignored(mut self, reason: &'static str) -> Self {
        self.state = State::Ignored(reason);
        self
    }

    /// Has no meaning when read.
    const fn record(mut self) -> Self {
        self.state = State::Record;
        self
    }
}

/// What may be written for the common kinds of values.
mod form {
    pub(super) const BOOLEAN: &str = "`true` or `false`";
    pub(super) const ADDRESS: &str = "`http://host:port`, `https://host:port`, `unix:/path`";
    pub(super) const SECONDS: &str = "seconds, at least 1";
    pub(super) const TEXT: &str = "text";
    pub(super) const FILE: &str = "file";
    pub(super) const FOLDER: &str = "folder";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_variables_are_unique() {
        let mut names = HashSet::new();
        let mut variables = HashSet::new();
        for key in all() {
            assert!(names.insert(key.name), "{} is there twice", key.name);
            if let Env::Enabled(name)
            | Env::Gated(name)
            | Env::Always(name)
            | Env::Switch(name, _) = key.env
            {
                assert!(variables.insert(name), "{name} is there twice");
            }
        }
    }

    #[test]
    fn every_default_is_a_value_its_own_key_accepts() {
        let mut draft = Draft::with_defaults();
        for key in all() {
            if let Some(default) = key.default {
                assert_eq!((key.apply)(&mut draft, default), Ok(()), "{}", key.name);
            }
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        assert_eq!(nearest("job_queue_sise"), Some("job_queue_size"));
        assert_eq!(nearest("inference_adress"), Some("inference_address"));
        assert_eq!(nearest("completely_different"), None);
    }
}
