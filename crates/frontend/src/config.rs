//! The effective configuration: plain values, defaults and their meaning. No parsing here.
//!
//! `config/keys.rs` lists every key of `config.properties` with its environment name and turns
//! text into these fields; `config/load.rs` finds the sources and merges them.

mod draft;
mod gpu;
mod keys;
mod load;
mod logs;
mod overrides;
mod reference;
mod secret;
mod snapshot;
mod value;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use self::gpu::count as count_gpus;
pub use self::load::{
    ConfigError, Effective, Loaded, Override, Place, Sources, address_in_file, default_address,
    load, read_address,
};
pub use self::logs::{LogForm, LogSettings};
pub use self::reference::page as reference_page;
pub use self::secret::{Secret, StaticTokens};
pub use self::snapshot::{
    ModelSnapshot, VersionSnapshot, newest as newest_snapshot, stamp as snapshot_stamp,
    write_property,
};

/// Where servers with tokens leave their keys: in the folder they were started in.
pub const KEY_FILE: &str = "key_file.json";

/// Where a REST listener binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `http://host:port` or, with `tls`, `https://host:port`.
    Tcp {
        /// Host as written; resolved when bound.
        host: String,
        /// Port; 0 lets the kernel choose.
        port: u16,
        /// Whether the listener speaks TLS.
        tls: bool,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach a listener there; a name other than `localhost` counts
    /// as reachable from elsewhere.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => host
                .parse::<IpAddr>()
                .map_or(host.eq_ignore_ascii_case("localhost"), |ip| {
                    ip.is_loopback()
                }),
            Self::Unix(_) => true,
        }
    }

    /// Whether a listener there speaks TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    write!(formatter, "{scheme}://[{host}]:{port}")
                } else {
                    write!(formatter, "{scheme}://{host}:{port}")
                }
            }
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Where a gRPC listener binds, and how long its connections live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrpcListener {
    /// Host; resolved when bound.
    pub host: String,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
    /// Longest life of a connection.
    pub max_connection_age: Option<Duration>,
    /// Time that calls which still run get then; `None` = as long as they take.
    pub max_connection_age_grace: Option<Duration>,
}

/// How `/metrics` and the metric logs share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricsMode {
    /// Everything to log files; `/metrics` is empty.
    #[default]
    Log,
    /// Everything at `/metrics`.
    Prometheus,
    /// Three counters at `/metrics`, everything else to log files.
    Legacy,
}

/// What `/ping` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PingSemantics {
    /// As in the original: workers that are loading or restarting count.
    #[default]
    Compat,
    /// The same as `/readyz`.
    Strict,
}

/// The hosting platform whose contract the server follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Platform {
    /// None in particular.
    #[default]
    None,
    /// Amazon `SageMaker`.
    SageMaker,
    /// Vertex AI; paths without their outer slashes.
    Vertex {
        /// Path of its health checks.
        health: Option<String>,
        /// Path of its predictions.
        predict: Option<String>,
    },
}

/// A platform as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlatformName {
    None,
    SageMaker,
    Vertex,
    KServe,
}

impl PlatformName {
    fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SageMaker => "sagemaker",
            Self::Vertex => "vertex",
            Self::KServe => "kserve",
        }
    }
}

/// One entry of `load_models`: `[name=]location`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupModel {
    /// Name given before `=`, if any.
    pub name: Option<String>,
    /// Archive file name, directory or URL.
    pub location: String,
}

/// Which models are loaded when the server starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartupModels {
    /// None.
    #[default]
    None,
    /// Every archive and directory of the model store.
    All,
    /// These.
    List(Vec<StartupModel>),
    /// Those of a snapshot, as they were served when it was written.
    Restored(ModelSnapshot),
}

/// Settings of one version of one model in the `models` property. `None` means "not set".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    missing_docs,
    reason = "the names are those of the JSON keys in the `models` property"
)]
pub struct ModelOverrides {
    pub min_workers: Option<u32>,
    pub max_workers: Option<u32>,
    pub batch_size: Option<u32>,
    pub max_batch_delay: Option<Duration>,
    pub response_timeout: Option<Duration>,
    pub startup_timeout: Option<Duration>,
    pub runtime: Option<String>,
}

/// What a download of an archive may take, and reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadLimits {
    /// Largest archive, bytes.
    pub max_bytes: u64,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time in which next to nothing arrives, once connected.
    pub stall_timeout: Duration,
    /// Whether hosts in private networks and on this machine may be reached without being named
    /// in `allowed_urls`.
    pub allow_private: bool,
}

/// Where private key and certificate of the https listeners come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// Nowhere: they are made when the server starts.
    SelfSigned,
    /// From PEM files.
    Pem(TlsFiles),
    /// From a Java key store.
    KeyStore(KeyStoreFile),
}

/// PEM files of the https listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM private key, PKCS#8 or PKCS#1.
    pub private_key: PathBuf,
    /// PEM certificate chain.
    pub certificate: PathBuf,
}

/// A PKCS#12 or JKS file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStoreFile {
    /// The file.
    pub file: PathBuf,
    /// Its password, which is also the one of the private key.
    pub password: Secret,
}

/// How long clients may keep the server waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the whole head of a request.
    pub head: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// For the next few kilobytes of a body or an answer.
    pub progress: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        draft::Draft::with_defaults().config.patience
    }
}

/// Values of the CORS response headers; unset ones are not sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the headers")]
pub struct Cors {
    pub allow_origin: Option<String>,
    pub allow_methods: Option<String>,
    pub allow_headers: Option<String>,
}

/// Keys that were set and their values, as a snapshot has them. Values are not printed by `Debug`:
/// there may be passwords among them.
#[derive(Clone, Default)]
pub struct Properties(pub Vec<(&'static str, String)>);

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

/// The effective configuration of one server.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the config file"
)]
pub struct Config {
    /// REST inference listener.
    pub inference_address: Address,
    /// REST management listener; equal to the inference address means one combined listener.
    pub management_address: Address,
    /// Metrics listener; `None` when `enable_metrics_api=false`.
    pub metrics_address: Option<Address>,
    /// gRPC inference listener.
    pub grpc_inference: GrpcListener,
    /// gRPC management listener.
    pub grpc_management: GrpcListener,
    /// Whether the gRPC listeners speak TLS.
    pub grpc_tls: bool,
    /// Private key and certificate of https listeners.
    pub tls: KeyMaterial,
    /// How long clients may keep the server waiting.
    pub patience: Patience,
    /// CORS headers added to every response.
    pub cors: Cors,
    /// Folder of archives; `None` only when no flag and no file names one.
    pub model_store: Option<PathBuf>,
    /// Models loaded at start.
    pub startup_models: StartupModels,
    /// The `models` property: (name, version, settings).
    pub model_overrides: Vec<(String, String, ModelOverrides)>,
    /// Workers of a model that names no number itself; 0 = one per GPU, else per CPU, for models
    /// loaded at start, and none for models registered later.
    pub default_workers_per_model: u32,
    /// Longest wait for a worker's answer.
    pub default_response_timeout: Duration,
    /// Longest wait for a worker to load its model.
    pub default_startup_timeout: Duration,
    /// Longest wait for the workers of an unregistered model to end.
    pub unregister_model_timeout: Duration,
    /// Longest wait for running and queued requests when the server, a model or a worker is stopped.
    pub drain_timeout: Duration,
    /// How long a client may take nothing of a stream that waits for it.
    pub stream_stall_timeout: Duration,
    /// Whether a batch that is not full waits for its whole delay even when nobody can add to it.
    pub fixed_batch_delay: bool,
    /// Waiting requests per model version.
    pub job_queue_size: usize,
    /// Largest request body, bytes, inclusive.
    pub max_request_size: u64,
    /// Largest single reply of a worker, bytes, inclusive.
    pub max_response_size: u64,
    /// Whether clients are told what a handler raised.
    pub error_detail: bool,
    /// Whether JSON and text bodies are decoded before the handler sees them.
    pub decode_input_request: bool,
    /// Whether a worker sees no other GPU than its own.
    pub isolate_gpus: bool,
    /// Whether image handlers keep Pillow's pixel limit.
    pub limit_max_image_pixels: bool,
    /// Handler of archives that name none.
    pub default_service_handler: Option<String>,
    /// Whether the Open Inference Protocol is served.
    pub open_inference: bool,
    /// Request envelope of every model.
    pub service_envelope: Option<String>,
    /// Whether an archive's requirements file is installed before its workers start.
    pub install_py_dep_per_model: bool,
    /// The only folder that packages may be installed from.
    pub wheel_folder: Option<PathBuf>,
    /// Where virtual environments of models are kept; `None` = in the server's own folder.
    pub venv_folder: Option<PathBuf>,
    /// Patterns (full match, case-insensitive) of the URLs that models may be fetched from.
    pub allowed_urls: Vec<regex::Regex>,
    /// What a download of an archive may take, and reach.
    pub downloads: DownloadLimits,
    /// Whether models may be registered and unregistered over the API.
    pub enable_model_api: bool,
    /// Whether requests need no token.
    pub disable_token_authorization: bool,
    /// How long a key that the server makes is valid.
    pub token_lifetime: Duration,
    /// Tokens of the operator's own.
    pub static_tokens: StaticTokens,
    /// Environment names hidden from workers (full match).
    pub blacklist_env_vars: Option<regex::Regex>,
    /// GPUs that workers are spread over.
    pub number_of_gpu: u32,
    /// First worker id; ids only ever grow.
    pub initial_worker_port: u32,
    /// Metrics mode.
    pub metrics_mode: MetricsMode,
    /// Metric definitions, passed to workers.
    pub metrics_config: Option<PathBuf>,
    /// Whether handlers may report metrics that no definition names.
    pub model_metrics_auto_detect: bool,
    /// Whether figures of the machine are left out.
    pub disable_system_metrics: bool,
    /// How often figures of the machine are taken.
    pub metric_time_interval: Duration,
    /// Arguments of the interpreter that takes them instead of the server.
    pub system_metrics_cmd: Option<String>,
    /// Whether `/metrics` shows the metrics of tserve too.
    pub extended_metrics: bool,
    /// Whether requests are counted and timed.
    pub request_metrics: bool,
    /// Whether predictions are answered with a header that says where the time went.
    pub server_timing: bool,
    /// What `/ping` means.
    pub ping_semantics: PingSemantics,
    /// Whose contract it follows.
    pub platform: Platform,
    /// Threads of the server; 0 = one per CPU.
    pub worker_threads: usize,
    /// Interpreter that runs the workers; `None` = look for one.
    pub python: Option<PathBuf>,
    /// Names of the sequence headers, passed to workers: id, start, end.
    pub sequence_headers: [String; 3],
    /// Exported to workers as `TS_IPEX_ENABLE`.
    pub ipex_enable: bool,
    /// Exported to workers as `TS_IPEX_GPU_ENABLE`.
    pub ipex_gpu_enable: bool,
    /// Logging configuration given by `--log-config`.
    pub log_config: Option<PathBuf>,
    /// Where spans are sent to, if the environment does not say it.
    pub otlp_endpoint: Option<String>,
    /// Whether a client may name its request's id.
    pub use_client_request_id: bool,
    /// How logs are written.
    pub logs: LogSettings,
    /// Folder of access, model and server logs.
    pub log_location: PathBuf,
    /// Folder of the metric logs.
    pub metrics_location: PathBuf,
    /// Folder under which the server makes its own runtime folder (unpacked models).
    pub temp_dir: PathBuf,
    /// Folder that snapshots are written to; `None` = none are written.
    pub snapshot_folder: Option<PathBuf>,
    /// What was set, for snapshots.
    pub properties: Properties,
}

/// Addresses that the listeners really got; ports are known here even when 0 was asked for.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "one field per listener")]
pub struct BoundAddresses {
    pub inference: Option<SocketAddr>,
    pub management: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

impl Default for Config {
    /// The configuration of a server that was told nothing: every key at its default.
    fn default() -> Self {
        draft::Draft::with_defaults().into_config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_are_written() {
        for (host, port, tls, text) in [
            ("127.0.0.1", 8080, false, "http://127.0.0.1:8080"),
            ("::1", 8443, true, "https://[::1]:8443"),
        ] {
            let host = host.to_owned();
            assert_eq!(Address::Tcp { host, port, tls }.to_string(), text);
        }
        assert_eq!(Address::Unix("/a".into()).to_string(), "unix:/a");
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let local = |host: &str| {
            Address::Tcp {
                host: host.to_owned(),
                port: 1,
                tls: false,
            }
            .is_local()
        };
        assert!(local("127.0.0.9") && local("::1") && local("LocalHost"));
        assert!(!local("0.0.0.0") && !local("::") && !local("example.test"));
        assert!(Address::Unix("/a".into()).is_local());
    }
}
