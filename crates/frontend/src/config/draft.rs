//! A configuration while its keys are applied one by one.

use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::{
    Address, Config, Cors, DownloadLimits, GrpcListener, KeyMaterial, KeyStoreFile, LogSettings,
    MetricsMode, ModelSnapshot, Patience, PingSemantics, Platform, PlatformName, Properties,
    Secret, StartupModels, StaticTokens, TlsFiles,
};

/// The configuration so far, and what only makes sense once every key is known.
#[derive(Debug)]
pub(super) struct Draft {
    pub config: Config,
    pub metrics_address: Address,
    pub enable_metrics_api: bool,
    pub private_key: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub keystore: Option<PathBuf>,
    pub keystore_password: Secret,
    pub number_of_gpu: Option<u32>,
    pub platform: PlatformName,
    pub enable_envvars_config: bool,
    pub use_env_allowed_urls: bool,
    /// The models of a snapshot.
    pub restored: Option<ModelSnapshot>,
    /// What was left out, to be reported with the place it was written at.
    pub warnings: Vec<String>,
}

impl Draft {
    /// Every key at its default, as the table of keys has it.
    pub(super) fn with_defaults() -> Self {
        let mut draft = Self::unset();
        for key in keys::all() {
            if let Some(default) = key.default {
                let applied = (key.apply)(&mut draft, default);
                debug_assert_eq!(applied, Ok(()), "default of {}", key.name);
            }
        }
        draft
    }

    /// The finished configuration.
    pub(super) fn into_config(self) -> Config {
        let mut config = self.config;
        config.metrics_address = self.enable_metrics_api.then_some(self.metrics_address);
        config.number_of_gpu = self.number_of_gpu.unwrap_or(0);
        config.tls = match (self.keystore, self.private_key, self.certificate) {
            (Some(file), ..) => KeyMaterial::KeyStore(KeyStoreFile {
                file,
                password: self.keystore_password,
            }),
            (None, Some(private_key), Some(certificate)) => KeyMaterial::Pem(TlsFiles {
                private_key,
                certificate,
            }),
            _ => KeyMaterial::SelfSigned,
        };
        config
    }

    /// Placeholders that the defaults in the table replace.
    fn unset() -> Self {
        let nowhere = Address::Unix(PathBuf::new());
        Self {
            config: Config {
                inference_address: nowhere.clone(),
                management_address: nowhere.clone(),
                metrics_address: None,
                grpc_inference: GrpcListener::default(),
                grpc_management: GrpcListener::default(),
                grpc_tls: false,
                tls: KeyMaterial::SelfSigned,
                patience: Patience {
                    head: Duration::ZERO,
                    idle: Duration::ZERO,
                    progress: Duration::ZERO,
                },
                cors: Cors::default(),
                model_store: None,
                startup_models: StartupModels::None,
                model_overrides: Vec::new(),
                default_workers_per_model: 0,
                default_response_timeout: Duration::ZERO,
                default_startup_timeout: Duration::ZERO,
                unregister_model_timeout: Duration::ZERO,
                drain_timeout: Duration::ZERO,
                stream_stall_timeout: Duration::ZERO,
                fixed_batch_delay: false,
                ping_semantics: PingSemantics::Compat,
                platform: Platform::None,
                job_queue_size: 0,
                max_request_size: 0,
                max_response_size: 0,
                error_detail: false,
                decode_input_request: false,
                isolate_gpus: false,
                limit_max_image_pixels: false,
                default_service_handler: None,
                open_inference: false,
                service_envelope: None,
                install_py_dep_per_model: false,
                wheel_folder: None,
                venv_folder: None,
                allowed_urls: Vec::new(),
                downloads: DownloadLimits {
                    max_bytes: 0,
                    connect_timeout: Duration::ZERO,
                    stall_timeout: Duration::ZERO,
                    allow_private: false,
                },
                enable_model_api: false,
                disable_token_authorization: false,
                token_lifetime: Duration::ZERO,
                static_tokens: StaticTokens::default(),
                blacklist_env_vars: None,
                number_of_gpu: 0,
                initial_worker_port: 0,
                metrics_mode: MetricsMode::default(),
                metrics_config: None,
                model_metrics_auto_detect: false,
                disable_system_metrics: false,
                metric_time_interval: Duration::ZERO,
                system_metrics_cmd: None,
                extended_metrics: false,
                request_metrics: true,
                server_timing: false,
                worker_threads: 0,
                python: None,
                sequence_headers: [String::new(), String::new(), String::new()],
                ipex_enable: false,
                ipex_gpu_enable: false,
                log_config: None,
                otlp_endpoint: None,
                use_client_request_id: false,
                logs: LogSettings::default(),
                log_location: PathBuf::from("logs"),
                metrics_location: PathBuf::from("logs"),
                temp_dir: std::env::temp_dir(),
                snapshot_folder: None,
                properties: Properties::default(),
            },
            metrics_address: nowhere,
            enable_metrics_api: false,
            private_key: None,
            certificate: None,
            keystore: None,
            keystore_password: Secret::new(String::new()),
            number_of_gpu: None,
            platform: PlatformName::None,
            enable_envvars_config: false,
            use_env_allowed_urls: false,
            restored: None,
            warnings: Vec::new(),
        }
    }
}
