//! How much each log holds: `--log-config` and `TSERVE_LOG`.
//!
//! A log4j2 file describes appenders and layouts that only exist in Java. What operators mostly
//! use it for, though, is to silence a logger; so the levels of the three loggers that tserve has
//! are read from its XML, and everything else in it is left alone.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use tracing_subscriber::EnvFilter;

use super::TelemetryError;
use super::rotation::Rotation;

/// A `<Logger>` or `<Root>` element and its attributes.
static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?is)<(?:Async)?(Root|Logger)\b([^>]*)>").expect("the pattern is constant")
});

/// One attribute.
static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?is)\b(name|level)\s*=\s*["']([^"']*)["']"#).expect("the pattern is constant")
});

/// The least important level that a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Threshold {
    Debug,
    Info,
    Warn,
    Error,
    Off,
}

impl Threshold {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    /// The threshold with this number.
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Debug,
            1 => Self::Info,
            2 => Self::Warn,
            3 => Self::Error,
            _ => Self::Off,
        }
    }

    /// The threshold that a person names; as in log4j2, in any case of letters.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        Some(match word.trim().to_ascii_lowercase().as_str() {
            "all" | "trace" | "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "fatal" => Self::Error,
            "off" => Self::Off,
            _ => return None,
        })
    }
}

/// How much each log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    pub server: Threshold,
    pub model: Threshold,
    pub access: Threshold,
    /// When files are put aside, which the same file says.
    pub rotation: Rotation,
}

impl Levels {
    const DEFAULT: Self = Self {
        server: Threshold::Info,
        model: Threshold::Info,
        access: Threshold::Info,
        rotation: Rotation::USUAL,
    };

    /// The levels of a log4j2 file, or the usual ones, and what the operator should know.
    pub(super) fn find(file: Option<&Path>) -> (Self, Vec<String>) {
        let Some(file) = file else {
            return (Self::DEFAULT, Vec::new());
        };
        let shown = file.display();
        let text = std::fs::read(file).unwrap_or_default();
        match Self::read(&String::from_utf8_lossy(&text)) {
            Some(levels) => (
                levels,
                vec![format!(
                    "--log-config {shown}: the levels of ACCESS_LOG, MODEL_LOG, org.pytorch.serve \
                     and Root are used, and the sizes and numbers of rolling files; other loggers, \
                     layouts and names of files have no effect"
                )],
            ),
            None => (
                Self::DEFAULT,
                vec![format!(
                    "--log-config {shown} has no effect: it is not a log4j2 file in XML with \
                     levels of loggers"
                )],
            ),
        }
    }

    fn read(xml: &str) -> Option<Self> {
        let mut levels = Self {
            rotation: Rotation::read(xml),
            ..Self::DEFAULT
        };
        let mut root = None;
        let mut server = None;
        let mut is_any = false;
        for element in ELEMENT.captures_iter(xml) {
            let (_, [kind, attributes]) = element.extract();
            let value = |wanted: &str| {
                ATTRIBUTE
                    .captures_iter(attributes)
                    .map(|attribute| attribute.extract().1)
                    .find_map(|[name, value]| name.eq_ignore_ascii_case(wanted).then_some(value))
            };
            let Some(level) = value("level").and_then(threshold) else {
                continue;
            };
            is_any = true;
            match value("name") {
                None if kind.eq_ignore_ascii_case("root") => root = Some(level),
                Some("ACCESS_LOG") => levels.access = level,
                Some("MODEL_LOG") => levels.model = level,
                Some("org.pytorch.serve") => server = Some(level),
                _ => {}
            }
        }
        levels.server = server.or(root).unwrap_or(Self::DEFAULT.server);
        is_any.then_some(levels)
    }

    /// What the server log lets through: `TSERVE_LOG` when set, else `log_level`.
    pub(super) fn directives(
        self,
        variable: Option<String>,
        setting: Option<&str>,
    ) -> Result<String, TelemetryError> {
        let variable = variable.filter(|it| !it.is_empty());
        let text = variable.unwrap_or_else(|| {
            let usual = match self.server {
                Threshold::Debug => "info,tserve_frontend=debug",
                other => other.as_str(),
            };
            setting.unwrap_or(usual).to_owned()
        });
        match EnvFilter::try_new(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(TelemetryError::Filter {
                text,
                problem: error.to_string(),
            }),
        }
    }
}

/// A level of log4j2. Its `debug` is what the original's own file asks of its server, and means
/// "as usual"; only `trace` and `all` ask for more than that.
fn threshold(level: &str) -> Option<Threshold> {
    Some(match level.trim().to_ascii_lowercase().as_str() {
        "all" | "trace" => Threshold::Debug,
        "debug" | "info" => Threshold::Info,
        "warn" => Threshold::Warn,
        "error" | "fatal" => Threshold::Error,
        "off" => Threshold::Off,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_known_loggers_are_read() {
        let xml = r#"<Configuration><Loggers>
            <Logger name="ACCESS_LOG" level="warn"><AppenderRef ref="a"/></Logger>
            <AsyncLogger level='error'
                name='MODEL_LOG'/>
            <Logger name="org.pytorch.serve" level="trace"/>
            <Logger name="org.apache" level="off"/>
            <Root level="error"/></Loggers></Configuration>"#;
        let levels = Levels::read(xml).unwrap();
        assert_eq!(
            levels,
            Levels {
                server: Threshold::Debug,
                model: Threshold::Error,
                access: Threshold::Warn,
                rotation: Rotation::USUAL,
            }
        );
    }

    #[test]
    fn the_file_of_the_original_changes_nothing() {
        let xml = r#"<Logger name="org.pytorch.serve" level="debug"/><Root level="info"/>
            <Logger name="ACCESS_LOG" level="info"/><Logger name="MODEL_LOG" level="info"/>"#;
        assert_eq!(Levels::read(xml), Some(Levels::DEFAULT));
    }

    #[test]
    fn a_file_of_another_kind_is_mentioned() {
        assert_eq!(Levels::read("rootLogger.level = warn"), None);
        let (levels, notes) = Levels::find(Some(Path::new("/no/such/file")));
        assert_eq!(levels, Levels::DEFAULT);
        assert!(notes[0].contains("has no effect"), "{notes:?}");
    }

    #[test]
    fn the_variable_decides_and_must_be_well_formed() {
        let variable = "warn,tserve_frontend=trace".to_owned();
        let of = |variable: Option<String>, setting| {
            Levels::DEFAULT.directives(variable, setting).unwrap()
        };
        assert_eq!(of(Some(variable.clone()), Some("error")), variable);
        assert_eq!(of(Some(String::new()), Some("error")), "error");
        assert_eq!(of(None, None), "info");
        let error = Levels::DEFAULT
            .directives(Some("a=b=c".into()), None)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("\"a=b=c\" is not"), "{error}");
    }
}
