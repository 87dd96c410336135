//! Rules that concern several keys at once.

use super::ConfigError;
use crate::config::draft::Draft;
use crate::config::{Address, Config};

/// Refuses what cannot work or would not be safe; notes what the operator should know.
pub(super) fn check(draft: &Draft, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let listeners = listeners(draft);
    metrics_listen_apart(draft)?;
    tls_material_is_complete(draft, &listeners)?;
    tokens_are_not_missed(&draft.config, &listeners, warnings)
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

/// Inference and management may share a listener; metrics always have their own.
fn metrics_listen_apart(draft: &Draft) -> Result<(), ConfigError> {
    let metrics = &draft.metrics_address;
    let is_any_port = matches!(metrics, Address::Tcp { port: 0, .. });
    if !draft.enable_metrics_api || is_any_port {
        return Ok(());
    }
    for (name, address) in [
        ("inference_address", &draft.config.inference_address),
        ("management_address", &draft.config.management_address),
    ] {
        if address == metrics {
            return Err(ConfigError::Conflict(format!(
                "metrics_address and {name} are both {metrics}: metrics need an address of their \
                 own, or enable_metrics_api=false"
            )));
        }
    }
    Ok(())
}

fn tls_material_is_complete(
    draft: &Draft,
    listeners: &[(&str, &Address)],
) -> Result<(), ConfigError> {
    let Some((name, _)) = listeners.iter().find(|(_, address)| address.is_tls()) else {
        return Ok(());
    };
    let problem = match (&draft.private_key, &draft.certificate) {
        (Some(_), None) => "private_key_file is set without certificate_file".to_owned(),
        (None, Some(_)) => "certificate_file is set without private_key_file".to_owned(),
        // A self-signed certificate in place of the operator's own would break every client.
        (None, None) if draft.keystore.is_some() => "keystore is set, which cannot be read yet: \
             convert it with `openssl pkcs12` and name private_key_file and certificate_file"
            .to_owned(),
        (Some(key), Some(certificate)) => {
            let Some(missing) = [key, certificate].into_iter().find(|it| !it.is_file()) else {
                return Ok(());
            };
            format!("{} is not a file", missing.display())
        }
        (None, None) => return Ok(()),
    };
    Err(ConfigError::Conflict(format!(
        "{name} is an https address, but {problem}"
    )))
}

/// Tokens are on by default and not built yet: such a server must not be reachable from elsewhere.
fn tokens_are_not_missed(
    config: &Config,
    listeners: &[(&str, &Address)],
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    const SWITCH: &str =
        "disable_token_authorization=true in the config file or --disable-token-auth";
    if config.disable_token_authorization {
        return Ok(());
    }
    if let Some((name, address)) = listeners.iter().find(|(_, address)| !address.is_local()) {
        return Err(ConfigError::Conflict(format!(
            "{name} is {address}, which other machines can reach, but token authorization is not \
             built yet and nothing would be protected: use an address such as \
             http://127.0.0.1:8080, or allow requests without token with {SWITCH}"
        )));
    }
    warnings.push(format!(
        "token authorization is not built yet: every program on this machine can use the server \
         without a token; say that this is wanted with {SWITCH}"
    ));
    Ok(())
}
