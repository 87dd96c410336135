//! The levels of the loggers, which can be changed while the server runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::{EnvFilter, Registry};

use super::access::{self, AccessLog};
use super::levels::Threshold;
use super::model_log::{self, ModelLog};
use crate::error::Error;

/// The server's own logger, as the original calls it, and the target it is here.
const SERVER: (&str, &str) = ("org.pytorch.serve", "tserve_frontend");

/// Everything that has no level of its own.
const ROOT: &str = "root";

/// Targets that may have a level of their own.
const MOST_TARGETS: usize = 64;

/// One logger and its level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggerLevel {
    /// Name.
    pub name: String,
    /// `debug`, `info`, `warn`, `error` or `off`.
    pub level: String,
}

/// All loggers of this process.
pub struct Loggers {
    access: Arc<AccessLog>,
    model: Arc<ModelLog>,
    /// Levels by target; the empty one is everything else.
    server: Mutex<BTreeMap<String, String>>,
    /// What the server log lets through; `None` where this process logs nothing.
    filter: Option<Handle<EnvFilter, Registry>>,
}

impl fmt::Debug for Loggers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loggers")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Loggers {
    pub(super) fn new(
        access: Arc<AccessLog>,
        model: Arc<ModelLog>,
        directives: &str,
        filter: Option<Handle<EnvFilter, Registry>>,
    ) -> Self {
        Self {
            access,
            model,
            server: Mutex::new(parse(directives)),
            filter,
        }
    }

    /// Every logger that has a level.
    pub fn list(&self) -> Vec<LoggerLevel> {
        let named = |name: &str, level: &str| LoggerLevel {
            name: name.to_owned(),
            level: level.to_owned(),
        };
        let mut all = vec![
            named(access::LOGGER, self.access.threshold().as_str()),
            named(model_log::LOGGER, self.model.threshold().as_str()),
        ];
        let levels = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(levels.iter().map(|(target, level)| match target.as_str() {
            "" => named(ROOT, level),
            target if target == SERVER.1 => named(SERVER.0, level),
            target => named(target, level),
        }));
        all
    }

    /// Gives a logger another level, at once. `default` takes a target's own level away.
    ///
    /// # Errors
    /// [`Error::BadRequest`]: there is no such level, or no logger can have this name.
    pub fn set(&self, name: &str, level: &str) -> Result<(), Error> {
        let threshold = Threshold::from_word(level);
        let reset = level.eq_ignore_ascii_case("default");
        if threshold.is_none() && !reset {
            return Err(Error::BadRequest(format!(
                "level \"{level}\" is not debug, info, warn, error, off or default"
            )));
        }
        let or_usual = threshold.unwrap_or(Threshold::Info);
        match name {
            access::LOGGER => self.access.set_threshold(or_usual),
            model_log::LOGGER => self.model.set_threshold(or_usual),
            _ => {
                let target = match name {
                    ROOT | "" => "",
                    name if name == SERVER.0 => SERVER.1,
                    name => name,
                };
                self.set_target(target, threshold, or_usual)?;
            }
        }
        tracing::info!("the level of logger {name} is {level} now");
        Ok(())
    }

    fn set_target(
        &self,
        target: &str,
        threshold: Option<Threshold>,
        or_usual: Threshold,
    ) -> Result<(), Error> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_:.-".contains(&byte);
        if target.len() > 128 || !target.bytes().all(is_name) {
            return Err(Error::BadRequest(format!(
                "logger \"{}\" is not a name of at most 128 letters, digits, \"_\", \"-\", \".\" \
                 and \":\"",
                target.chars().take(128).collect::<String>()
            )));
        }
        let mut levels = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        match threshold {
            None if !target.is_empty() => {
                levels.remove(target);
            }
            _ if levels.len() >= MOST_TARGETS && !levels.contains_key(target) => {
                return Err(Error::BadRequest(format!(
                    "more than {MOST_TARGETS} loggers have a level of their own"
                )));
            }
            _ => {
                levels.insert(target.to_owned(), or_usual.as_str().to_owned());
            }
        }
        let filter = EnvFilter::try_new(render(&levels))
            .map_err(|error| Error::BadRequest(format!("logger \"{target}\": {error}")))?;
        match self.filter.as_ref().map(|handle| handle.reload(filter)) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Error::Internal(error.to_string())),
        }
    }
}

/// `info,tserve_frontend=debug` by targets. What looks otherwise is kept as it is.
fn parse(directives: &str) -> BTreeMap<String, String> {
    let parts = directives.split(',').map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| match part.rsplit_once('=') {
            Some((target, level)) => (target.to_owned(), level.to_owned()),
            None if Threshold::from_word(part).is_some() => (String::new(), part.to_owned()),
            None => (part.to_owned(), "debug".to_owned()),
        })
        .collect()
}

fn render(levels: &BTreeMap<String, String>) -> String {
    let parts = levels.iter().map(|(target, level)| {
        if target.is_empty() {
            level.clone()
        } else {
            format!("{target}={level}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::reload;

    use super::super::Telemetry;
    use super::*;

    #[test]
    fn levels_change_at_once_and_can_be_taken_back() {
        let (filter, handle) = reload::Layer::new(EnvFilter::new("info"));
        let subscriber = tracing_subscriber::registry().with(filter);
        let quiet = Telemetry::disabled();
        let loggers = Loggers::new(quiet.access, quiet.model, "info", Some(handle));
        tracing::subscriber::with_default(subscriber, || {
            let is_on =
                || tracing::enabled!(target: "tserve_frontend::worker", tracing::Level::DEBUG);
            assert!(!is_on());
            loggers.set("org.pytorch.serve", "DEBUG").unwrap();
            assert!(is_on());
            loggers.set("tserve_frontend::worker", "warn").unwrap();
            assert!(!is_on());
            loggers.set("tserve_frontend::worker", "default").unwrap();
            assert!(is_on());
        });
        loggers.set("ACCESS_LOG", "off").unwrap();
        let levels: Vec<_> = loggers
            .list()
            .into_iter()
            .map(|it| (it.name, it.level))
            .collect();
        let expected = [
            ("ACCESS_LOG", "off"),
            ("MODEL_LOG", "off"),
            ("root", "info"),
            ("org.pytorch.serve", "debug"),
        ];
        assert_eq!(levels, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        let quiet = Telemetry::disabled();
        let loggers = Loggers::new(quiet.access, quiet.model, "info,a::b=trace", None);
        let before = loggers.list();
        for (name, level) in [("root", "loud"), ("a=b", "info"), ("a,b", "info"), ("", "")] {
            assert!(loggers.set(name, level).is_err(), "{name} {level}");
        }
        assert_eq!(loggers.list(), before);
        for number in 0..MOST_TARGETS - 2 {
            loggers.set(&format!("t{number}"), "info").unwrap();
        }
        assert!(loggers.set("one_more", "info").is_err());
    }
}
