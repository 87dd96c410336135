//! Effective settings of one model version and where each came from.

use std::time::Duration;

/// What a model version runs with, after `model-config.yaml`, the `models` property, request
/// parameters and defaults were merged.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Jobs per batch, at least 1.
    pub batch_size: u32,
    /// How long the first job of a batch may wait for others.
    pub max_batch_delay: Duration,
    /// Longest wait for a worker's answer.
    pub response_timeout: Duration,
    /// Longest wait for a worker to load.
    pub startup_timeout: Duration,
    /// How long a worker that keeps failing is restarted.
    pub max_retry_timeout: Duration,
    /// Longest time a client waits, queueing included; `None` = no limit.
    pub client_timeout: Option<Duration>,
    /// Waiting requests.
    pub job_queue_size: usize,
    /// Whether a request is only admitted when a worker is idle.
    pub use_job_ticket: bool,
    /// `(min, max)` workers named by the archive's configuration, when it names a usable pair.
    pub workers: Option<(u32, u32)>,
    /// `cpu` or `gpu` when the configuration says so.
    pub device_type: Option<DeviceType>,
    /// GPUs this model may use, in round-robin order; empty = all.
    pub device_ids: Vec<u32>,
    /// Handler string.
    pub handler: Option<String>,
    /// Interpreter choice.
    pub runtime: super::manifest::Runtime,
    /// Whether the model gets a virtual environment of its own.
    pub use_venv: bool,
    /// Values shown by describe for features that are built later: parallelType, parallelLevel and
    /// the batching kinds.
    pub declared: Declared,
}

/// Device of a model's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceType {
    /// Central processor only.
    Cpu,
    /// CUDA devices, falling back to the CPU when there is none.
    Gpu,
}

/// Settings that describe shows.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the configuration keys")]
pub struct Declared {
    pub parallel_type: String,
    pub parallel_level: u32,
    pub continuous_batching: bool,
    pub sequence_batching: bool,
    pub async_communication: bool,
    pub sequence_max_idle_msec: u64,
    pub sequence_timeout_msec: u64,
    pub max_num_sequence: u32,
    pub max_sequence_job_queue_size: u32,
}
