//! What a hosting platform asks of its containers: other defaults, and paths that it calls.

use std::path::Path;

use super::super::{Platform, PlatformName};
use super::{ConfigError, Merge, Place, Sources};
use crate::config::keys;

/// Where `SageMaker` puts the model of an endpoint.
const SAGEMAKER_MODEL: &str = "/opt/ml/model";
/// Where `SageMaker` puts the models of a multi-model endpoint.
const SAGEMAKER_MODELS: &str = "/opt/ml/models";
/// Where `KServe` puts what the storage URI of a service holds.
const KSERVE_MODELS: &str = "/mnt/models";
/// Where the archives are in there, beside `config`.
const KSERVE_STORE: &str = "/mnt/models/model-store";
/// The port that all platforms call unless they say otherwise.
const USUAL_PORT: &str = "8080";

/// Sets what nobody has set as the platform needs it: its requests come from outside of the
/// container, to the port that it names, and have no token.
pub(super) fn apply(merge: &mut Merge, sources: &Sources<'_>) -> Result<(), ConfigError> {
    let variable = |name: &str| (sources.environment)(name).filter(|it| !it.is_empty());
    let address = |port: &str| {
        let port = variable(port).unwrap_or_else(|| USUAL_PORT.to_owned());
        format!("http://0.0.0.0:{port}")
    };
    let yes = || "true".to_owned();
    let name = merge.draft.platform;
    let defaults = match name {
        PlatformName::None => return Ok(()),
        PlatformName::SageMaker => {
            let is_multi_model = variable("SAGEMAKER_MULTI_MODEL")
                .is_some_and(|value| value.eq_ignore_ascii_case("true"));
            let address = address("SAGEMAKER_BIND_TO_PORT");
            merge.draft.config.platform = Platform::SageMaker;
            let mut defaults = vec![
                ("inference_address", address.clone()),
                ("management_address", address),
                ("disable_token_authorization", yes()),
                ("ping_semantics", "strict".to_owned()),
            ];
            defaults.extend(if is_multi_model {
                [
                    ("model_store", SAGEMAKER_MODELS.to_owned()),
                    ("enable_model_api", yes()),
                ]
            } else {
                [
                    ("model_store", SAGEMAKER_MODEL.to_owned()),
                    ("load_models", "all".to_owned()),
                ]
            });
            defaults
        }
        PlatformName::Vertex => {
            let route = |name| variable(name).map(|path| path.trim_matches('/').to_owned());
            merge.draft.config.platform = Platform::Vertex {
                health: route("AIP_HEALTH_ROUTE"),
                predict: route("AIP_PREDICT_ROUTE"),
            };
            vec![
                ("inference_address", address("AIP_HTTP_PORT")),
                ("disable_token_authorization", yes()),
                ("ping_semantics", "strict".to_owned()),
            ]
        }
        PlatformName::KServe => {
            let is_v2 = variable("PROTOCOL_VERSION").is_some_and(|it| it.ends_with("v2"));
            let store = [KSERVE_STORE, KSERVE_MODELS]
                .into_iter()
                .find(|it| Path::new(it).is_dir());
            vec![
                ("inference_address", address("PORT")),
                ("grpc_inference_address", "0.0.0.0".to_owned()),
                ("metrics_address", "http://0.0.0.0:8082".to_owned()),
                ("disable_token_authorization", yes()),
                ("ping_semantics", "strict".to_owned()),
                ("ts_open_inference_protocol", yes()),
                (
                    "service_envelope",
                    if is_v2 { "kservev2" } else { "kserve" }.to_owned(),
                ),
                ("model_store", store.unwrap_or(KSERVE_STORE).to_owned()),
                ("load_models", "all".to_owned()),
            ]
        }
    };
    for (key, value) in defaults {
        if merge.said.contains_key(key) {
            continue;
        }
        if let Some(key) = keys::find(key) {
            merge.apply(key, &value, Place::Platform(name.text()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Override, load};
    use crate::config::{Config, StartupModels};

    fn loaded(platform: &str, environment: &[(&str, &str)], flags: &[Override]) -> Config {
        let mut flags = flags.to_vec();
        flags.push(Override {
            flag: "--test",
            key: "platform",
            value: platform.to_owned(),
        });
        let sources = Sources {
            file: None,
            flags: &flags,
            environment: &|name| {
                let found = environment.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            count_gpus: &|| 0,
        };
        load(&sources).unwrap().config
    }

    #[test]
    fn sagemaker_calls_one_port_without_a_token() {
        let config = loaded("sagemaker", &[("SAGEMAKER_BIND_TO_PORT", "9999")], &[]);
        assert_eq!(config.platform, Platform::SageMaker);
        assert_eq!(config.inference_address.to_string(), "http://0.0.0.0:9999");
        assert_eq!(config.management_address, config.inference_address);
        assert!(config.disable_token_authorization && !config.enable_model_api);
        assert_eq!(config.startup_models, StartupModels::All);
        let multi = loaded("sagemaker", &[("SAGEMAKER_MULTI_MODEL", "true")], &[]);
        assert_eq!(multi.inference_address.to_string(), "http://0.0.0.0:8080");
        assert!(multi.enable_model_api);
        assert_eq!(multi.startup_models, StartupModels::None);
    }

    #[test]
    fn vertex_says_which_paths_it_calls() {
        let environment = [
            ("AIP_HTTP_PORT", "7080"),
            ("AIP_HEALTH_ROUTE", "/v1/endpoints/1/deployedModels/2"),
            (
                "AIP_PREDICT_ROUTE",
                "/v1/endpoints/1/deployedModels/2:predict",
            ),
        ];
        let config = loaded("vertex", &environment, &[]);
        assert_eq!(
            config.platform,
            Platform::Vertex {
                health: Some("v1/endpoints/1/deployedModels/2".to_owned()),
                predict: Some("v1/endpoints/1/deployedModels/2:predict".to_owned()),
            }
        );
        assert_eq!(config.inference_address.to_string(), "http://0.0.0.0:7080");
        assert_eq!(
            config.management_address.to_string(),
            "http://127.0.0.1:8081"
        );
    }

    #[test]
    fn kserve_calls_both_protocols_without_a_token() {
        let environment = [("PORT", "8085"), ("PROTOCOL_VERSION", "grpc-v2")];
        let config = loaded("kserve", &environment, &[]);
        assert_eq!(config.inference_address.to_string(), "http://0.0.0.0:8085");
        assert_eq!(config.grpc_inference.host, "0.0.0.0");
        assert!(config.disable_token_authorization && config.open_inference);
        assert_eq!(config.service_envelope.as_deref(), Some("kservev2"));
        assert_eq!(config.startup_models, StartupModels::All);
        assert_eq!(config.platform, Platform::None);
        let v1 = loaded("kserve", &[], &[]);
        assert_eq!(v1.service_envelope.as_deref(), Some("kserve"));
        assert_eq!(v1.inference_address.to_string(), "http://0.0.0.0:8080");
    }

    #[test]
    fn what_somebody_has_set_stays() {
        let flags = [Override {
            flag: "--other",
            key: "disable_token_authorization",
            value: "false".to_owned(),
        }];
        assert!(!loaded("sagemaker", &[], &flags).disable_token_authorization);
        let none = loaded(
            "none",
            &[("AIP_HTTP_PORT", "1"), ("SAGEMAKER_BIND_TO_PORT", "2")],
            &[],
        );
        assert_eq!(none.platform, Platform::None);
        assert_eq!(none.inference_address.to_string(), "http://127.0.0.1:8080");
    }
}
