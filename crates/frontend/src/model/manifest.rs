//! `MAR-INF/MANIFEST.json`: what an archive says about itself.
//!
//! Reading is as tolerant as the original's: unknown keys are ignored, and numbers and booleans
//! stand for text where text is expected. What is missing is only judged by
//! [`Manifest::identify`], because a registration may fill it in.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};
use tracing::warn;

use crate::error::Error;

/// Where the manifest lies inside an archive.
pub const MANIFEST_PATH: &str = "MAR-INF/MANIFEST.json";

/// Version of a model whose manifest names none.
pub const DEFAULT_VERSION: &str = "1.0";

/// A manifest is a few hundred bytes; this only keeps a hostile one from filling the memory.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The manifest of an archive; every field may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the JSON keys")]
pub struct Manifest {
    pub model_name: Option<String>,
    pub model_version: Option<String>,
    pub handler: Option<String>,
    pub serialized_file: Option<String>,
    pub model_file: Option<String>,
    pub requirements_file: Option<String>,
    pub config_file: Option<String>,
    /// `None` when the manifest names a runtime that does not exist.
    pub runtime: Option<Runtime>,
    pub created_on: Option<String>,
    pub archiver_version: Option<String>,
    /// Whether there is a `model` object; it is also true when there is no manifest at all.
    pub has_model_entry: bool,
}

/// The manifest of an archive that holds none.
impl Default for Manifest {
    fn default() -> Self {
        Self {
            model_name: None,
            model_version: None,
            handler: None,
            serialized_file: None,
            model_file: None,
            requirements_file: None,
            config_file: None,
            runtime: Some(Runtime::default()),
            created_on: None,
            archiver_version: None,
            has_model_entry: true,
        }
    }
}

/// Which interpreter runs the handler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Runtime {
    /// The configured interpreter.
    #[default]
    Python,
    /// `python3` from PATH.
    Python3,
    /// C++ workers, which tserve does not run.
    Lsp,
}

impl Runtime {
    /// The name as the API shows it: `python`, `python3` or `LSP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Python3 => "python3",
            Self::Lsp => "LSP",
        }
    }

    /// The runtime of that name, spelled exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Python, Self::Python3, Self::Lsp]
            .into_iter()
            .find(|runtime| runtime.as_str() == name)
    }

    /// The runtime that a request parameter or the `models` property names.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for any other name.
    pub fn from_parameter(name: &str) -> Result<Self, Error> {
        Self::from_name(name)
            .ok_or_else(|| Error::BadRequest(format!("Invalid RuntimeType value: {name}")))
    }
}

/// What a model is registered as.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub struct Identity {
    pub name: String,
    pub version: String,
    pub runtime: Runtime,
}

/// Values from outside the archive that take part in naming a model. Empty names count as unset.
#[derive(Debug, Clone, Copy, Default)]
pub struct Naming<'a> {
    /// `model_name` of the registration, or the name before `=` in `load_models`.
    pub requested_name: Option<&'a str>,
    /// Name derived from the location, used last; only models loaded at start have one.
    pub fallback_name: Option<&'a str>,
    /// `runtime` of the registration or of the `models` property.
    pub requested_runtime: Option<Runtime>,
}

impl Manifest {
    /// Reads the manifest of an unpacked archive; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] when it is not the JSON of a manifest, [`Error::Internal`] when it
    /// cannot be read.
    pub fn read(directory: &Path) -> Result<Option<Self>, Error> {
        let file = match File::open(directory.join(MANIFEST_PATH)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&error))?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            warn!(limit_bytes = MAX_MANIFEST_BYTES, "manifest is too large");
            return Err(malformed());
        }
        Self::parse(&bytes).map(Some)
    }

    /// Parses the text of a manifest. Never panics, whatever the bytes are.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] when it is not a JSON object of the right shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let document: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            warn!(%error, "manifest does not parse");
            malformed()
        })?;
        let mut manifest = Self {
            runtime: match document.get("runtime") {
                None => Some(Runtime::default()),
                Some(value) => text(value)?.and_then(|name| Runtime::from_name(&name)),
            },
            created_on: field(&document, "createdOn")?,
            archiver_version: field(&document, "archiverVersion")?,
            ..Self::default()
        };
        match document.get("model") {
            None => {}
            // Unlike a missing entry, which counts as an empty one.
            Some(Value::Null) => manifest.has_model_entry = false,
            Some(Value::Object(model)) => {
                manifest.model_name = field(model, "modelName")?;
                manifest.model_version = field(model, "modelVersion")?;
                manifest.handler = field(model, "handler")?;
                manifest.serialized_file = field(model, "serializedFile")?;
                manifest.model_file = field(model, "modelFile")?;
                manifest.requirements_file = field(model, "requirementsFile")?;
                manifest.config_file = field(model, "configFile")?;
            }
            Some(_) => return Err(malformed()),
        }
        Ok(manifest)
    }

    /// What the archive is registered as.
    ///
    /// # Errors
    /// [`Error::InvalidModel`] when neither the archive nor `naming` says what is needed.
    pub fn identify(&self, naming: &Naming<'_>) -> Result<Identity, Error> {
        let invalid = |message: &str| Error::InvalidModel(message.to_owned());
        if !self.has_model_entry {
            return Err(invalid("Missing Model entry in manifest file."));
        }
        let name = [
            naming.requested_name,
            self.model_name.as_deref(),
            naming.fallback_name,
        ]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .ok_or_else(|| invalid("Model name is not defined."))?;
        let runtime = naming
            .requested_runtime
            .or(self.runtime)
            .ok_or_else(|| invalid("Runtime is not defined or invalid."))?;
        if self.archiver_version.is_none() || self.created_on.is_none() {
            warn!(
                model = name,
                "the manifest does not say when or by which archiver it was made"
            );
        }
        Ok(Identity {
            name: name.to_owned(),
            version: self
                .model_version
                .clone()
                .unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
            runtime,
        })
    }
}

fn malformed() -> Error {
    // The file was called so once; clients know the text.
    Error::InvalidModel("Failed to parse signature.json.".to_owned())
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::Internal(format!("Failed to read {MANIFEST_PATH}: {error}"))
}

fn field(object: &Map<String, Value>, key: &str) -> Result<Option<String>, Error> {
    object.get(key).map_or(Ok(None), text)
}

/// Text, or what the original takes for text.
fn text(value: &Value) -> Result<Option<String>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(truth) => Ok(Some(truth.to_string())),
        Value::Array(_) | Value::Object(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(result: Result<impl std::fmt::Debug, Error>) -> String {
        let error = result.expect_err("must be refused");
        assert!(matches!(error, Error::InvalidModel(_)), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_manifest_of_the_archiver_is_read_whole() {
        let manifest = Manifest::parse(
            br#"{"createdOn": "07/03/2025 14:05:09", "runtime": "python3",
                 "model": {"modelName": "toy", "serializedFile": "toy.pt",
                   "handler": "toy_handler.py", "modelFile": "net.py", "modelVersion": "2.1",
                   "requirementsFile": "reqs.txt", "configFile": "model-config.yaml",
                   "extensions": {"a": 1}},
                 "archiverVersion": "0.12.0", "somethingNew": [1, 2]}"#,
        )
        .unwrap();
        assert_eq!(manifest.model_name.as_deref(), Some("toy"));
        assert_eq!(manifest.requirements_file.as_deref(), Some("reqs.txt"));
        assert_eq!(manifest.config_file.as_deref(), Some("model-config.yaml"));
        let identity = manifest.identify(&Naming::default()).unwrap();
        assert_eq!(
            (identity.name.as_str(), identity.version.as_str()),
            ("toy", "2.1")
        );
        assert_eq!(identity.runtime, Runtime::Python3);
    }

    #[test]
    fn a_number_may_stand_for_text() {
        let manifest =
            Manifest::parse(br#"{"model": {"modelName": "m", "modelVersion": 1.0}}"#).unwrap();
        assert_eq!(manifest.model_version.as_deref(), Some("1.0"));
    }

    #[test]
    fn what_is_not_a_manifest_is_refused_with_the_text_clients_know() {
        for bytes in [&b"{not json"[..], b"", b"[]", b"null", br#"{"model": 3}"#] {
            assert_eq!(
                message(Manifest::parse(bytes)),
                "Failed to parse signature.json."
            );
        }
    }

    #[test]
    fn a_name_comes_from_the_request_then_the_manifest_then_the_location() {
        let named = Manifest::parse(br#"{"model": {"modelName": "inside"}}"#).unwrap();
        let nameless = Manifest::parse(br#"{"runtime": "python"}"#).unwrap();
        let naming = |requested, fallback| Naming {
            requested_name: requested,
            fallback_name: fallback,
            requested_runtime: None,
        };
        let name = |manifest: &Manifest, naming| manifest.identify(&naming).unwrap().name;
        assert_eq!(name(&named, naming(Some("asked"), None)), "asked");
        assert_eq!(name(&named, naming(Some(""), Some("file"))), "inside");
        assert_eq!(name(&nameless, naming(None, Some("file"))), "file");
        assert_eq!(
            message(nameless.identify(&naming(None, None))),
            "Model name is not defined."
        );
    }

    #[test]
    fn an_explicit_null_model_differs_from_a_missing_one() {
        let naming = Naming {
            requested_name: Some("x"),
            ..Naming::default()
        };
        let null = Manifest::parse(br#"{"model": null}"#).unwrap();
        assert_eq!(
            message(null.identify(&naming)),
            "Missing Model entry in manifest file."
        );
        let missing = Manifest::parse(b"{}").unwrap();
        assert_eq!(missing.identify(&naming).unwrap().version, "1.0");
    }

    #[test]
    fn an_unknown_runtime_is_refused_unless_the_request_names_one() {
        let manifest =
            Manifest::parse(br#"{"runtime": "cobol", "model": {"modelName": "m"}}"#).unwrap();
        assert_eq!(
            message(manifest.identify(&Naming::default())),
            "Runtime is not defined or invalid."
        );
        let naming = Naming {
            requested_runtime: Some(Runtime::Python),
            ..Naming::default()
        };
        assert!(manifest.identify(&naming).is_ok());
        assert_eq!(
            Runtime::from_parameter("cobol").unwrap_err().to_string(),
            "Invalid RuntimeType value: cobol"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&bytes);
        }

        #[test]
        fn no_json_makes_it_panic(text in r#"\{("(model|runtime|createdOn)": (null|1e400|-0|"x"|\[\]|\{"modelName": [0-9]{1,3}\}),? ?){0,3}\}"#) {
            if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
                let _ = manifest.identify(&Naming::default());
            }
        }
    }
}
