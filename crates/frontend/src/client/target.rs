//! Where the server is and which token it wants.
//!
//! What nobody says is found out: from the files in the working folder, as a server started there
//! would, and then from those of the server that runs on this machine.

use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::arguments::Connection;
use crate::config::{self, Address, ConfigError, KEY_FILE};

/// Read by a server that is told of no other.
const CONFIG_FILE: &str = "config.properties";

/// The folders whose files tell about the server.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where this command was called.
    pub(super) here: PathBuf,
    /// Where the server of this machine works, and the config file that it was told of.
    pub(super) server: Option<(PathBuf, Option<PathBuf>)>,
}

/// Which API is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Inference,
    Management,
    Metrics,
}

impl Api {
    /// The key of the configuration that names its address.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Inference => "inference_address",
            Self::Management => "management_address",
            Self::Metrics => "metrics_address",
        }
    }

    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Inference => "--inference-address",
            Self::Management => "--management-address",
            Self::Metrics => "--metrics-address",
        }
    }

    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Inference => "TS_INFERENCE_ADDRESS",
            Self::Management => "TS_MANAGEMENT_ADDRESS",
            Self::Metrics => "TS_METRICS_ADDRESS",
        }
    }

    /// Its name in the key file.
    fn token_name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            // Metrics need no token; where they share a listener, none of it harms.
            Self::Management | Self::Metrics => "management",
        }
    }
}

/// Why the server's address is not known.
#[derive(Debug, Error)]
pub(super) enum TargetError {
    #[error("{place}: \"{text}\" {problem}")]
    Address {
        place: &'static str,
        text: String,
        problem: String,
    },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{key} has port 0, which lets the server choose one: name the real one with {flag}")]
    AnyPort {
        key: &'static str,
        flag: &'static str,
    },
}

/// The address to ask: of the flag, the variable, a config file or snapshot, or the default one.
pub(super) fn address(
    connection: &Connection,
    api: Api,
    places: &Places,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, TargetError> {
    let flag = match api {
        Api::Inference => connection.inference_address.clone(),
        Api::Management => connection.management_address.clone(),
        Api::Metrics => connection.metrics_address.clone(),
    };
    let variable = environment(api.variable()).filter(|text| !text.is_empty());
    let said = flag
        .map(|text| (api.flag(), text))
        .or(variable.map(|text| (api.variable(), text)));
    let address = match said {
        Some((place, text)) => {
            config::read_address(api.key(), &text).map_err(|problem| TargetError::Address {
                place,
                text,
                problem,
            })?
        }
        None => configured(api.key(), places, environment)?,
    };
    if matches!(address, Address::Tcp { port: 0, .. }) {
        return Err(TargetError::AnyPort {
            key: api.key(),
            flag: api.flag(),
        });
    }
    Ok(reachable(address))
}

/// The address in the first file that has one.
fn configured(
    key: &str,
    places: &Places,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, ConfigError> {
    let named = environment("TS_CONFIG_FILE").filter(|name| !name.is_empty());
    let mut files: Vec<PathBuf> = Vec::new();
    match named {
        Some(name) => files.push(name.into()),
        None => files.extend(files_in(&places.here, environment)),
    }
    if let Some((folder, config)) = &places.server {
        match config {
            Some(config) => files.push(config.clone()),
            None => files.extend(files_in(folder, environment)),
        }
    }
    for file in files {
        if let Some(address) = config::address_in_file(key, &file, environment)? {
            return Ok(address);
        }
    }
    Ok(config::default_address(key))
}

/// What a server that starts in a folder reads: its config file, if there is one, and the newest
/// snapshot. A config file that somebody wrote is believed before a snapshot, which may be of a
/// server that is no more.
fn files_in(folder: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let logs = environment("LOG_LOCATION").filter(|logs| !logs.is_empty());
    let logs = folder.join(logs.as_deref().unwrap_or("logs"));
    let config = Some(folder.join(CONFIG_FILE)).filter(|file| file.exists());
    let snapshot = config::newest_snapshot(&logs.join("config"));
    config.into_iter().chain(snapshot).collect()
}

/// A server that listens on every address of a machine is asked on its loopback.
fn reachable(address: Address) -> Address {
    match address {
        Address::Tcp { host, port, tls } => Address::Tcp {
            host: match host.as_str() {
                "0.0.0.0" => "127.0.0.1".to_owned(),
                "::" => "::1".to_owned(),
                _ => host,
            },
            port,
            tls,
        },
        Address::Unix(path) => Address::Unix(path),
    }
}

/// The token to send, if there is one. That of a key file is this machine's business and goes to
/// no other.
pub(super) fn token(
    api: Api,
    address: &Address,
    places: &Places,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let named = environment("TSERVE_TOKEN").filter(|token| !token.is_empty());
    if named.is_some() || !address.is_local() {
        return named;
    }
    let server = places.server.as_ref().map(|(folder, _)| folder);
    [Some(&places.here), server]
        .into_iter()
        .flatten()
        .find_map(|folder| key_in(folder, api))
}

fn key_in(folder: &Path, api: Api) -> Option<String> {
    let text = std::fs::read(folder.join(KEY_FILE)).ok()?;
    let keys: Value = serde_json::from_slice(&text).ok()?;
    keys[api.token_name()]["key"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
            tls: false,
        }
    }

    #[test]
    fn flags_go_before_variables() {
        let environment =
            |name: &str| (name == "TS_INFERENCE_ADDRESS").then(|| "http://0.0.0.0:7".to_owned());
        let found = |connection: &Connection| {
            address(connection, Api::Inference, &Places::default(), &environment)
        };
        let mut connection = Connection::default();
        assert_eq!(found(&connection).unwrap(), tcp("127.0.0.1", 7));
        connection.inference_address = Some("http://h:9".to_owned());
        assert_eq!(found(&connection).unwrap(), tcp("h", 9));
        for bad in ["h:9", "http://127.0.0.1:0"] {
            connection.inference_address = Some(bad.to_owned());
            let error = found(&connection).unwrap_err();
            assert!(error.to_string().contains("--inference-address"), "{error}");
        }
    }

    #[test]
    fn files_are_asked_in_order() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, name: &str, port: u16| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("inference_address=http://127.0.0.1:{port}\n")).unwrap();
        };
        let mut places = Places {
            here: here.path().to_path_buf(),
            server: Some((there.path().to_path_buf(), None)),
        };
        let port =
            |places: &Places| match address(&Connection::default(), Api::Inference, places, &|_| {
                None
            })
            .unwrap()
            {
                Address::Tcp { port, .. } => port,
                Address::Unix(_) => panic!(),
            };
        assert_eq!(port(&places), 8080);
        write(there.path(), "logs/config/20260101000000000-startup.cfg", 1);
        assert_eq!(port(&places), 1);
        write(there.path(), CONFIG_FILE, 2);
        assert_eq!(port(&places), 2);
        write(there.path(), "own.properties", 3);
        places.server = Some((
            there.path().into(),
            Some(there.path().join("own.properties")),
        ));
        assert_eq!(port(&places), 3);
        write(here.path(), "logs/config/20260101000000000-startup.cfg", 4);
        assert_eq!(port(&places), 4);
        write(here.path(), CONFIG_FILE, 5);
        assert_eq!(port(&places), 5);
    }

    #[test]
    fn tokens_of_the_key_file_stay_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let keys = br#"{"management":{"key":"m"},"inference":{"key":"i"},"API":{"key":"a"}}"#;
        let nothing = |_: &str| None;
        let here = tcp("127.0.0.1", 1);
        let places = Places {
            here: "/no/such/folder".into(),
            server: Some((folder.path().to_path_buf(), None)),
        };
        assert_eq!(token(Api::Inference, &here, &places, &nothing), None);
        std::fs::write(folder.path().join(KEY_FILE), keys).unwrap();
        let ask = |api, address| token(api, address, &places, &nothing);
        assert_eq!(ask(Api::Inference, &here).as_deref(), Some("i"));
        assert_eq!(ask(Api::Management, &here).as_deref(), Some("m"));
        assert_eq!(ask(Api::Management, &tcp("example.test", 1)), None);
        let named = |_: &str| Some("t".to_owned());
        let there = tcp("example.test", 1);
        let found = token(Api::Management, &there, &places, &named);
        assert_eq!(found.as_deref(), Some("t"));
    }
}
