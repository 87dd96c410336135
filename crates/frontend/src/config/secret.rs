//! Tokens of the operator's own: text that must not be shown, and where it comes from.

use std::fmt;

use super::load::ConfigError;

/// Variables that name a token; with [`FILE_SUFFIX`], a file that holds it.
const INFERENCE: &str = "TSERVE_INFERENCE_TOKEN";
const MANAGEMENT: &str = "TSERVE_MANAGEMENT_TOKEN";
const FILE_SUFFIX: &str = "_FILE";

/// A token that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for comparing.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Tokens that are valid as long as the server runs, beside the ones it makes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticTokens {
    /// For inference.
    pub inference: Option<Secret>,
    /// For management.
    pub management: Option<Secret>,
}

impl StaticTokens {
    /// The variables that hold tokens and passwords, or name files of them. They are no business of
    /// the processes that run a model's code.
    pub const VARIABLES: [&str; 6] = [
        INFERENCE,
        MANAGEMENT,
        "TSERVE_INFERENCE_TOKEN_FILE",
        "TSERVE_MANAGEMENT_TOKEN_FILE",
        "TSERVE_TOKEN",
        "TS_KEYSTORE_PASS",
    ];

    /// Reads the variables and the files that they name.
    pub(super) fn from_environment(
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            inference: token(INFERENCE, environment)?,
            management: token(MANAGEMENT, environment)?,
        })
    }
}

fn token(
    name: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, ConfigError> {
    let wrong = |problem: String| ConfigError::Conflict(format!("environment variable {problem}"));
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let file_name = format!("{name}{FILE_SUFFIX}");
    let (place, text) = match (set(name), set(&file_name)) {
        (Some(_), Some(_)) => {
            return Err(wrong(format!(
                "{name}: {file_name} is set as well: one of the two"
            )));
        }
        (None, None) => return Ok(None),
        (Some(text), None) => (name.to_owned(), text),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| wrong(format!("{file_name}: {path}: cannot be read: {error}")))?;
            (format!("{file_name}: {path}"), text)
        }
    };
    // Files usually end with a line end. The value itself is not part of any message.
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(format!(
            "{place}: holds no token: one word of visible ASCII characters"
        )));
    }
    Ok(Some(Secret::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<StaticTokens, String> {
        let environment = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        };
        StaticTokens::from_environment(&environment).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_come_from_variables_or_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-file\n").unwrap();
        let path = path.to_str().unwrap();
        let tokens = read(&[
            ("TSERVE_INFERENCE_TOKEN", "direct"),
            ("TSERVE_MANAGEMENT_TOKEN_FILE", path),
        ])
        .unwrap();
        assert_eq!(tokens.inference, Some(Secret::new("direct".to_owned())));
        assert_eq!(tokens.management, Some(Secret::new("from-file".to_owned())));
        assert_eq!(format!("{:?}", tokens.inference), "Some(Secret)");
        let none = read(&[("TSERVE_INFERENCE_TOKEN", "")]).unwrap();
        assert_eq!(none, StaticTokens::default());
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for (variables, expected) in [
            (
                &[
                    ("TSERVE_INFERENCE_TOKEN", "a"),
                    ("TSERVE_INFERENCE_TOKEN_FILE", "b"),
                ][..],
                "environment variable TSERVE_INFERENCE_TOKEN: TSERVE_INFERENCE_TOKEN_FILE is set",
            ),
            (
                &[("TSERVE_MANAGEMENT_TOKEN", "two words")],
                "environment variable TSERVE_MANAGEMENT_TOKEN: holds no token",
            ),
            (
                &[("TSERVE_MANAGEMENT_TOKEN_FILE", "/nonexistent/file")],
                "environment variable TSERVE_MANAGEMENT_TOKEN_FILE: /nonexistent/file: cannot be",
            ),
            (
                &[("TSERVE_INFERENCE_TOKEN_FILE", "/dev/null")],
                "environment variable TSERVE_INFERENCE_TOKEN_FILE: /dev/null: holds no token",
            ),
        ] {
            let error = read(variables).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("two words"));
        }
    }
}
