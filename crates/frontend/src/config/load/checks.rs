//! Rules that concern several keys at once.

use super::ConfigError;
use crate::config::Address;
use crate::config::draft::Draft;

/// Refuses what cannot work.
pub(super) fn check(draft: &Draft) -> Result<(), ConfigError> {
    let listeners = listeners(draft);
    metrics_listen_apart(draft)?;
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
