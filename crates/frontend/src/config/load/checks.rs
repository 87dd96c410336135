//! Rules that concern several keys at once.

use std::path::PathBuf;

use super::ConfigError;
use crate::config::Address;
use crate::config::draft::Draft;

/// Refuses what cannot work.
pub(super) fn check(draft: &Draft) -> Result<(), ConfigError> {
    let listeners = listeners(draft);
    tls_material_is_complete(draft, &listeners)
}

fn listeners(draft: &Draft) -> Vec<(&'static str, &Address)> {
    let mut listeners = vec![
        ("inference_address", &draft.config.inference_address),
        ("management_address", &draft.config.management_address),
    ];
    if draft.enable_metrics_api {
        listeners.push(("metrics_address", &draft.metrics_address));
    }
    listeners
}

fn tls_material_is_complete(
    draft: &Draft,
    listeners: &[(&str, &Address)],
) -> Result<(), ConfigError> {
    let https = listeners.iter().find(|(_, address)| address.is_tls());
    let need = match https {
        Some((name, _)) => format!("{name} is an https address"),
        None if draft.config.grpc_tls => "enable_grpc_ssl is true".to_owned(),
        None => return Ok(()),
    };
    if let Some(keystore) = &draft.keystore {
        return must_be_there(&need, &[keystore]);
    }
    let problem = match (&draft.private_key, &draft.certificate) {
        (Some(_), None) => "private_key_file is set without certificate_file",
        (None, Some(_)) => "certificate_file is set without private_key_file",
        (Some(key), Some(certificate)) => return must_be_there(&need, &[key, certificate]),
        (None, None) => return Ok(()),
    };
    Err(useless(&need, problem))
}

fn must_be_there(need: &str, files: &[&PathBuf]) -> Result<(), ConfigError> {
    match files.iter().find(|it| !it.is_file()) {
        Some(missing) => Err(useless(
            need,
            &format!("{} is not a file", missing.display()),
        )),
        None => Ok(()),
    }
}

fn useless(need: &str, problem: &str) -> ConfigError {
    ConfigError::Conflict(format!("{need}, but {problem}"))
}
