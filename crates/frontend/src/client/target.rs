//! Where the server is and which token it wants.

use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use super::arguments::Connection;
use crate::config::{self, Address, ConfigError, KEY_FILE};

/// Which API is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Inference,
    Management,
}

impl Api {
    /// The key of the configuration that names its address.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Inference => "inference_address",
            Self::Management => "management_address",
        }
    }

    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Inference => "--inference-address",
            Self::Management => "--management-address",
        }
    }

    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Inference => "TS_INFERENCE_ADDRESS",
            Self::Management => "TS_MANAGEMENT_ADDRESS",
        }
    }

    /// Its name in the key file.
    fn token_name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Management => "management",
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

/// The address to ask: of the flag, the variable, the config file, or the default one.
pub(super) fn address(
    connection: &Connection,
    api: Api,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Address, TargetError> {
    let flag = match api {
        Api::Inference => connection.inference_address.clone(),
        Api::Management => connection.management_address.clone(),
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
        None => config::address_in_file(api.key(), environment)?,
    };
    if matches!(address, Address::Tcp { port: 0, .. }) {
        return Err(TargetError::AnyPort {
            key: api.key(),
            flag: api.flag(),
        });
    }
    Ok(reachable(address))
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

/// The token to send, if there is one. That of the key file is this machine's business and goes
/// to no other.
pub(super) fn token(
    api: Api,
    address: &Address,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let named = environment("TSERVE_TOKEN").filter(|token| !token.is_empty());
    if named.is_some() || !address.is_local() {
        return named;
    }
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
        let mut connection = Connection::default();
        let found = address(&connection, Api::Inference, &environment).unwrap();
        assert_eq!(found, tcp("127.0.0.1", 7));
        connection.inference_address = Some("http://h:9".to_owned());
        let found = address(&connection, Api::Inference, &environment).unwrap();
        assert_eq!(found, tcp("h", 9));
        for bad in ["h:9", "http://127.0.0.1:0"] {
            connection.inference_address = Some(bad.to_owned());
            let error = address(&connection, Api::Inference, &environment).unwrap_err();
            assert!(error.to_string().contains("--inference-address"), "{error}");
        }
    }

    #[test]
    fn tokens_of_the_key_file_stay_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let keys = br#"{"management":{"key":"m"},"inference":{"key":"i"},"API":{"key":"a"}}"#;
        let nothing = |_: &str| None;
        let here = tcp("127.0.0.1", 1);
        assert_eq!(token(Api::Inference, &here, folder.path(), &nothing), None);
        std::fs::write(folder.path().join(KEY_FILE), keys).unwrap();
        let ask = |api, address| token(api, address, folder.path(), &nothing);
        assert_eq!(ask(Api::Inference, &here).as_deref(), Some("i"));
        assert_eq!(ask(Api::Management, &here).as_deref(), Some("m"));
        assert_eq!(ask(Api::Management, &tcp("example.test", 1)), None);
        let named = |_: &str| Some("t".to_owned());
        let there = tcp("example.test", 1);
        let found = token(Api::Management, &there, folder.path(), &named);
        assert_eq!(found.as_deref(), Some("t"));
    }
}
