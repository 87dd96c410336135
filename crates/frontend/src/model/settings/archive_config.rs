//! `model-config.yaml`: the keys that concern the server. Handlers read the file themselves.
//!
//! A value of the wrong type is reported and then as good as absent; keys that are unknown here
//! belong to handlers and are not even looked into.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;
use thiserror::Error as ThisError;
use tracing::{error, warn};

use super::DeviceType;
use crate::model::archive::UnpackedArchive;
use crate::model::signature::Signature;

/// A configuration is a few hundred bytes; this only keeps a hostile one from filling the memory.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What an archive says about how it wants to be served. `None` means it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    missing_docs,
    clippy::struct_excessive_bools,
    reason = "the names and types are those of the YAML keys"
)]
pub struct ArchiveConfig {
    pub min_workers: Option<u32>,
    pub max_workers: Option<u32>,
    pub batch_size: Option<u32>,
    pub max_batch_delay: Option<Duration>,
    pub response_timeout: Option<Duration>,
    pub startup_timeout: Option<Duration>,
    pub device_type: Option<DeviceType>,
    pub device_ids: Vec<i64>,
    pub parallel_type: Option<ParallelType>,
    pub parallel_level: Option<u32>,
    pub torchrun: Option<Torchrun>,
    pub max_retry_timeout: Option<Duration>,
    pub client_timeout: Option<Duration>,
    pub job_queue_size: Option<u32>,
    pub use_job_ticket: bool,
    pub sequence_batching: bool,
    pub sequence_max_idle: Option<Duration>,
    pub sequence_timeout: Option<Duration>,
    pub max_num_sequence: Option<u32>,
    pub max_sequence_job_queue_size: Option<u32>,
    pub continuous_batching: bool,
    pub async_communication: bool,
    pub use_venv: bool,
    pub worker_template: Option<TemplateDepth>,
    pub open_inference: Signature,
}

/// What the template of a model's workers does before it is forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateDepth {
    /// It imports the handler's module.
    Imports,
    /// It loads the whole model.
    Model,
}

/// How the workers of a model share several devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the values")]
pub enum ParallelType {
    Pipeline,
    Tensor,
    PipelineTensor,
    Custom,
}

impl ParallelType {
    /// The value as written and as describe shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pp",
            Self::Tensor => "tp",
            Self::PipelineTensor => "pptp",
            Self::Custom => "custom",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            Self::Pipeline,
            Self::Tensor,
            Self::PipelineTensor,
            Self::Custom,
        ]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

/// The `torchrun` map.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the YAML keys")]
pub struct Torchrun {
    pub nnodes: u32,
    pub nproc_per_node: u32,
    pub rdzv_backend: String,
    pub rdzv_endpoint: Option<String>,
    pub omp_number_threads: u32,
}

impl Default for Torchrun {
    fn default() -> Self {
        Self {
            nnodes: 1,
            nproc_per_node: 1,
            rdzv_backend: "c10d".to_owned(),
            rdzv_endpoint: None,
            omp_number_threads: 1,
        }
    }
}

/// The file is not YAML, or not a map.
#[derive(Debug, ThisError)]
#[error("{0}")]
pub struct SyntaxError(String);

const KEYS: [&str; 25] = [
    "minWorkers",
    "maxWorkers",
    "batchSize",
    "maxBatchDelay",
    "responseTimeout",
    "startupTimeout",
    "deviceType",
    "deviceIds",
    "parallelType",
    "parallelLevel",
    "torchrun",
    "maxRetryTimeoutInSec",
    "clientTimeoutInMills",
    "jobQueueSize",
    "useJobTicket",
    "sequenceBatching",
    "sequenceMaxIdleMSec",
    "sequenceTimeoutMSec",
    "maxNumSequence",
    "maxSequenceJobQueueSize",
    "continuousBatching",
    "asyncCommunication",
    "useVenv",
    "workerTemplate",
    "openInference",
];

impl ArchiveConfig {
    /// Reads the configuration that an archive names. `None` when it names none, and also, with
    /// an error in the log, when the file is missing or does not parse.
    pub fn read(archive: &UnpackedArchive) -> Option<Self> {
        let name = archive.manifest()?.config_file.as_deref()?;
        let parsed = archive
            .member(name)
            .ok_or_else(|| SyntaxError("it lies outside the archive".to_owned()))
            .and_then(|path| {
                let text = read_text(&path).map_err(|error| SyntaxError(error.to_string()))?;
                Self::parse(&text)
            });
        parsed
            .inspect_err(|reason| {
                error!(file = name, %reason, "Failed to parse model config file {name}");
            })
            .ok()
    }

    /// Parses the text of a configuration; an empty one is a configuration that says nothing.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is not a YAML map.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let Entries(entries) =
            serde_yaml_ng::from_str(text).map_err(|error| SyntaxError(error.to_string()))?;
        let mut config = Self::default();
        for (key, value) in &entries {
            config.set(key, value);
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &Value) {
        match key {
            "minWorkers" => set(&mut self.min_workers, at_least(1, key, value)),
            "maxWorkers" => set(&mut self.max_workers, if_at_least(0, key, value)),
            "batchSize" => set(&mut self.batch_size, at_least(1, key, value)),
            "maxBatchDelay" => set(
                &mut self.max_batch_delay,
                if_at_least(0, key, value).map(ms),
            ),
            "responseTimeout" => set(
                &mut self.response_timeout,
                if_at_least(1, key, value).map(secs),
            ),
            "startupTimeout" => set(
                &mut self.startup_timeout,
                if_at_least(1, key, value).map(secs),
            ),
            "deviceType" => set(&mut self.device_type, device_type(value)),
            "deviceIds" => self.device_ids = device_ids(value),
            "parallelType" => set(&mut self.parallel_type, parallel_type(value)),
            "parallelLevel" => set(&mut self.parallel_level, if_at_least(0, key, value)),
            "torchrun" => set(&mut self.torchrun, torchrun(value)),
            "maxRetryTimeoutInSec" => set(
                &mut self.max_retry_timeout,
                at_least(0, key, value).map(secs),
            ),
            "clientTimeoutInMills" => {
                set(&mut self.client_timeout, at_least(0, key, value).map(ms));
            }
            "jobQueueSize" => set(&mut self.job_queue_size, at_least(0, key, value)),
            "useJobTicket" => self.use_job_ticket = truth(key, value),
            "sequenceBatching" => self.sequence_batching = truth(key, value),
            "sequenceMaxIdleMSec" => {
                set(&mut self.sequence_max_idle, at_least(0, key, value).map(ms));
            }
            "sequenceTimeoutMSec" => {
                set(&mut self.sequence_timeout, at_least(0, key, value).map(ms));
            }
            "maxNumSequence" => set(&mut self.max_num_sequence, at_least(1, key, value)),
            "maxSequenceJobQueueSize" => {
                set(
                    &mut self.max_sequence_job_queue_size,
                    at_least(1, key, value),
                );
            }
            "continuousBatching" => self.continuous_batching = truth(key, value),
            "asyncCommunication" => self.async_communication = truth(key, value),
            "useVenv" => self.use_venv = truth(key, value),
            "workerTemplate" => self.worker_template = template_depth(value),
            "openInference" => self.open_inference = signature(key, value),
            _ => {}
        }
    }
}

fn read_text(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_CONFIG_BYTES + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than {MAX_CONFIG_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// The entries of the document's map that concern the server, in order. As in the original, a key
/// may occur twice; the last one counts.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of settings")
    }

    fn visit_unit<E>(self) -> Result<Entries, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_none<E>(self) -> Result<Entries, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Value>()? {
            match key {
                Value::String(key) if KEYS.contains(&key.as_str()) => {
                    entries.push((key, map.next_value()?));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Entries(entries))
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn complain(key: &str, value: &Value, expected: &str) {
    let shown = serde_yaml_ng::to_string(value).unwrap_or_default();
    let shown: String = shown.trim().chars().take(80).collect();
    warn!("Invalid {key}: {shown}, should be {expected}");
}

/// A 32-bit integer; text that holds digits is none.
fn integer(key: &str, value: &Value) -> Option<i32> {
    let found = value.as_i64().and_then(|found| i32::try_from(found).ok());
    if found.is_none() {
        complain(key, value, "an integer");
    }
    found
}

/// An integer, raised to `least` when it is smaller.
fn at_least(least: u32, key: &str, value: &Value) -> Option<u32> {
    integer(key, value).map(|found| u32::try_from(found).unwrap_or(0).max(least))
}

/// An integer, or nothing when it is smaller than `least`.
fn if_at_least(least: u32, key: &str, value: &Value) -> Option<u32> {
    let found = u32::try_from(integer(key, value)?).ok();
    let found = found.filter(|found| *found >= least);
    if found.is_none() {
        complain(key, value, &format!("at least {least}"));
    }
    found
}

/// A boolean; `yes`, `no`, `on` and `off` are ones in the YAML that the original reads.
fn truth(key: &str, value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) if ["yes", "on"].iter().any(|t| text.eq_ignore_ascii_case(t)) => true,
        Value::String(text) if ["no", "off"].iter().any(|t| text.eq_ignore_ascii_case(t)) => false,
        _ => {
            complain(key, value, "true or false");
            false
        }
    }
}

fn device_type(value: &Value) -> Option<DeviceType> {
    match value.as_str() {
        Some(name) if name.eq_ignore_ascii_case("cpu") => Some(DeviceType::Cpu),
        Some(name) if name.eq_ignore_ascii_case("gpu") => Some(DeviceType::Gpu),
        _ => {
            complain("deviceType", value, "cpu or gpu");
            None
        }
    }
}

fn device_ids(value: &Value) -> Vec<i64> {
    let ids = value
        .as_sequence()
        .and_then(|ids| ids.iter().map(Value::as_i64).collect());
    ids.unwrap_or_else(|| {
        complain("deviceIds", value, "a list of integers");
        Vec::new()
    })
}

fn parallel_type(value: &Value) -> Option<ParallelType> {
    let found = value.as_str().and_then(ParallelType::from_name);
    if found.is_none() {
        complain("parallelType", value, "pp, tp, pptp or custom");
    }
    found
}

fn template_depth(value: &Value) -> Option<TemplateDepth> {
    match value.as_str() {
        Some("imports") => Some(TemplateDepth::Imports),
        Some("model") => Some(TemplateDepth::Model),
        Some("none") => None,
        _ => {
            complain("workerTemplate", value, "none, imports or model");
            None
        }
    }
}

fn signature(key: &str, value: &Value) -> Signature {
    Signature::read(value).unwrap_or_else(|error| {
        complain(key, value, &format!("names of inputs and outputs: {error}"));
        Signature::default()
    })
}

fn torchrun(value: &Value) -> Option<Torchrun> {
    let Some(map) = value.as_mapping() else {
        complain("torchrun", value, "a map");
        return None;
    };
    let mut torchrun = Torchrun::default();
    for (key, value) in map {
        let Some(key) = key.as_str() else { continue };
        let text = || value.as_str().map(str::to_owned);
        match key {
            "nnodes" => torchrun.nnodes = at_least(1, key, value).unwrap_or(1),
            "nproc-per-node" => torchrun.nproc_per_node = at_least(1, key, value).unwrap_or(1),
            "OMP_NUMBER_THREADS" => {
                torchrun.omp_number_threads = at_least(1, key, value).unwrap_or(1);
            }
            "rdzv-backend" => torchrun.rdzv_backend = text().unwrap_or(torchrun.rdzv_backend),
            "rdzv-endpoint" => torchrun.rdzv_endpoint = text(),
            // Read and never used by the original.
            "rdzv-conf" | "monitor-interval" | "node-rank" => {}
            _ => warn!("unsupported parameter {key} of torchrun"),
        }
    }
    Some(torchrun)
}

fn secs(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn ms(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}
