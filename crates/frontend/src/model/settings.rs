//! Effective settings of one model version and where each came from.
//!
//! The order in which sources win is the original's, setting by setting, because archives and
//! deployments rely on it; [`Settings::merge`] has the table. It differs from the original in
//! three places, where the original drops what somebody plainly asked for:
//!
//! - `maxBatchDelay: 0` in `model-config.yaml` means no waiting (there: as if absent).
//! - A registration with a JSON body and no `max_batch_delay` leaves the delay to the other
//!   sources (there: -10000, which beats them all).
//! - A `model-config.yaml` without a time-out leaves it to the `models` property and the server's
//!   configuration (there: 120 s). The time-outs of the registration stay ignored when there is a
//!   `model-config.yaml`, as in the original, with a warning.

pub mod archive_config;
mod explain;
mod parallel;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tracing::warn;

pub use self::archive_config::TemplateDepth;
use self::archive_config::{ArchiveConfig, ParallelType};
pub use self::explain::{Explained, default_workers};
pub use self::parallel::Parallel;
use super::manifest::{Manifest, Runtime};
use super::signature::Signature;
use crate::config::{Config, ModelOverrides, VersionSnapshot};
use crate::error::Error;

/// `batch_size` of a registration that does not say.
const UNSET_BATCH_SIZE: i64 = -1;
/// `max_batch_delay` of a registration by query that does not say.
const UNSET_DELAY: i64 = -100;
/// `max_batch_delay` of a registration by JSON body that does not say; describe shows it.
pub const JSON_UNSET_DELAY: i64 = -10_000;

const DEFAULT_BATCH_DELAY: Duration = Duration::from_millis(100);
const DEFAULT_MAX_RETRY: Duration = Duration::from_secs(300);

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
    /// `(min, max)` workers named by the archive's configuration or, at start, by the `models`
    /// property; they win over the number that a registration asks for.
    pub workers: Option<(u32, u32)>,
    /// `cpu` or `gpu` when the configuration says so.
    pub device_type: Option<DeviceType>,
    /// GPUs this model may use, in round-robin order; empty = all.
    pub device_ids: Vec<u32>,
    /// Processes and devices of each worker.
    pub parallel: Parallel,
    /// Whether workers are forks of a template, and what that has done already.
    pub template: Option<TemplateDepth>,
    /// Handler string.
    pub handler: Option<String>,
    /// Interpreter choice.
    pub runtime: Runtime,
    /// The tensors that it takes and gives, where that is declared.
    pub signature: Signature,
    /// Values shown by describe: as they were asked for, or for features that are built later.
    pub declared: Declared,
    /// Where the values came from.
    pub origins: Origins,
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
#[expect(
    missing_docs,
    clippy::struct_excessive_bools,
    reason = "the names and types are those of the configuration keys"
)]
pub struct Declared {
    /// `batch_size` as registered; the one in effect is at least 1.
    pub batch_size: i64,
    /// `max_batch_delay` as registered, milliseconds; the one in effect is at least 0.
    pub max_batch_delay: i64,
    pub parallel_type: String,
    pub parallel_level: u32,
    pub continuous_batching: bool,
    pub sequence_batching: bool,
    pub async_communication: bool,
    pub use_venv: bool,
    pub sequence_max_idle_msec: u64,
    pub sequence_timeout_msec: u64,
    pub max_num_sequence: u32,
    pub max_sequence_job_queue_size: u32,
}

/// Who said what a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody: the value is built in.
    #[default]
    BuiltIn,
    /// The server's configuration, or the default of the key there.
    Server,
    /// The `models` property.
    Models,
    /// `MAR-INF/MANIFEST.json`.
    Manifest,
    /// `model-config.yaml`.
    Archive,
    /// The registration.
    Request,
}

/// The origin of each setting that has more than one possible source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the settings")]
pub struct Origins {
    pub batch_size: Origin,
    pub max_batch_delay: Origin,
    pub response_timeout: Origin,
    pub startup_timeout: Origin,
    pub job_queue_size: Origin,
    pub workers: Origin,
    pub handler: Origin,
    pub runtime: Origin,
}

/// What a registration says. `None`, and the numbers that clients send for "unset", mean it does
/// not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegisterParams {
    /// `batch_size`; -1 is unset.
    pub batch_size: Option<i64>,
    /// `max_batch_delay`, milliseconds; -100 is unset, and so is [`JSON_UNSET_DELAY`].
    pub max_batch_delay: Option<i64>,
    /// `response_timeout`, seconds; 0 and less are unset.
    pub response_timeout: Option<i64>,
    /// `startup_timeout`, seconds; 0 and less are unset.
    pub startup_timeout: Option<i64>,
    /// `handler`.
    pub handler: Option<String>,
    /// `runtime`.
    pub runtime: Option<Runtime>,
}

impl RegisterParams {
    /// What the registration said that a snapshot tells of.
    ///
    /// # Errors
    /// A runtime that does not exist.
    pub fn saved(version: &VersionSnapshot) -> Result<Self, Error> {
        let runtime = version.runtime_type.as_deref();
        Ok(Self {
            batch_size: version.batch_size,
            max_batch_delay: version.max_batch_delay,
            response_timeout: version.response_timeout,
            startup_timeout: version.startup_timeout,
            handler: version.handler.clone(),
            runtime: runtime.map(Runtime::from_parameter).transpose()?,
        })
    }
}

/// Everything that has a say in the settings of one model version.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The registration; empty for models loaded at start.
    pub request: &'a RegisterParams,
    /// The archive's manifest, or the default one.
    pub manifest: &'a Manifest,
    /// `model-config.yaml`, when there is a readable one.
    pub archive: Option<&'a ArchiveConfig>,
    /// The entry of the `models` property for this name and version.
    pub overrides: Option<&'a ModelOverrides>,
    /// The server's configuration.
    pub config: &'a Config,
    /// Whether the model is loaded at start.
    pub is_startup: bool,
}

impl Settings {
    /// Merges all sources.
    ///
    /// | setting | from the strongest to the weakest |
    /// |---|---|
    /// | batch size, batch delay | request, archive, models, built in (1, 100 ms) |
    /// | time-outs, archive has a configuration | archive, models, server |
    /// | time-outs, it has none | models, request, server |
    /// | workers | archive, models (at start only) |
    /// | runtime | models, request, manifest |
    /// | handler | request, manifest, server |
    /// | job queue | archive, server |
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the `models` property names a runtime that does not exist, or when
    /// the archive wants workers of several processes that cannot be.
    pub fn merge(sources: &Sources<'_>) -> Result<Self, Error> {
        let archive = sources.archive.cloned().unwrap_or_default();
        let (batch_size, shown_batch_size, batch_size_origin) = sources.batch_size(&archive);
        let (max_batch_delay, shown_delay, delay_origin) = sources.batch_delay(&archive);
        let (response_timeout, response_origin) = sources.response_timeout(&archive);
        let (startup_timeout, startup_origin) = sources.startup_timeout(&archive);
        let (workers, workers_origin) = sources.workers(&archive);
        let (runtime, runtime_origin) = sources.runtime()?;
        let (handler, handler_origin) = sources.handler();
        let (job_queue_size, queue_origin) = match archive.job_queue_size {
            Some(size) if size > 0 => (size as usize, Origin::Archive),
            _ => (sources.config.job_queue_size, Origin::Server),
        };
        Ok(Self {
            batch_size,
            max_batch_delay,
            response_timeout,
            startup_timeout,
            max_retry_timeout: archive.max_retry_timeout.unwrap_or(DEFAULT_MAX_RETRY),
            client_timeout: archive.client_timeout.filter(|limit| !limit.is_zero()),
            job_queue_size,
            use_job_ticket: archive.use_job_ticket,
            workers,
            device_type: archive.device_type,
            device_ids: device_ids(&archive.device_ids, sources.config.number_of_gpu),
            parallel: Parallel::of(&archive, sources.config)?,
            template: archive.worker_template,
            signature: archive.open_inference.clone(),
            handler,
            runtime,
            declared: declared(&archive, shown_batch_size, shown_delay),
            origins: Origins {
                batch_size: batch_size_origin,
                max_batch_delay: delay_origin,
                response_timeout: response_origin,
                startup_timeout: startup_origin,
                job_queue_size: queue_origin,
                workers: workers_origin,
                handler: handler_origin,
                runtime: runtime_origin,
            },
        })
    }
}

impl Sources<'_> {
    /// In effect, as shown, origin.
    fn batch_size(&self, archive: &ArchiveConfig) -> (u32, i64, Origin) {
        let requested = self.request.batch_size;
        if let Some(size) = requested.filter(|size| *size != UNSET_BATCH_SIZE) {
            return (bounded(size).max(1), size, Origin::Request);
        }
        let (size, origin) = first([
            (archive.batch_size, Origin::Archive),
            (self.of_models(|models| models.batch_size), Origin::Models),
        ])
        .unwrap_or((1, Origin::BuiltIn));
        (size.max(1), size.into(), origin)
    }

    /// In effect, as shown (milliseconds), origin.
    fn batch_delay(&self, archive: &ArchiveConfig) -> (Duration, i64, Origin) {
        let requested = self.request.max_batch_delay;
        let is_set = |delay: &i64| ![UNSET_DELAY, JSON_UNSET_DELAY].contains(delay);
        if let Some(delay) = requested.filter(is_set) {
            let in_effect = Duration::from_millis(bounded(delay).into());
            return (in_effect, delay, Origin::Request);
        }
        let found = first([
            (archive.max_batch_delay, Origin::Archive),
            (
                self.of_models(|models| models.max_batch_delay),
                Origin::Models,
            ),
        ]);
        let shown = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        match found {
            Some((delay, origin)) => (delay, shown(delay), origin),
            // Clients of the original see this number; batches wait as the manual says.
            None if requested == Some(JSON_UNSET_DELAY) => {
                (DEFAULT_BATCH_DELAY, JSON_UNSET_DELAY, Origin::BuiltIn)
            }
            None => (
                DEFAULT_BATCH_DELAY,
                shown(DEFAULT_BATCH_DELAY),
                Origin::BuiltIn,
            ),
        }
    }

    fn response_timeout(&self, archive: &ArchiveConfig) -> (Duration, Origin) {
        self.timeout(
            "response_timeout",
            archive.response_timeout,
            self.of_models(|models| models.response_timeout),
            self.request.response_timeout,
            self.config.default_response_timeout,
        )
    }

    fn startup_timeout(&self, archive: &ArchiveConfig) -> (Duration, Origin) {
        self.timeout(
            "startup_timeout",
            archive.startup_timeout,
            self.of_models(|models| models.startup_timeout),
            self.request.startup_timeout,
            self.config.default_startup_timeout,
        )
    }

    fn timeout(
        &self,
        name: &str,
        archive: Option<Duration>,
        models: Option<Duration>,
        request: Option<i64>,
        server: Duration,
    ) -> (Duration, Origin) {
        let requested = request
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(bounded(seconds).into()));
        let heard = requested.filter(|_| self.archive.is_none());
        let found = first([
            (archive, Origin::Archive),
            (models, Origin::Models),
            (heard, Origin::Request),
        ])
        .unwrap_or((server, Origin::Server));
        if heard != requested && requested != Some(found.0) {
            warn!(
                "{name} of the registration is not used: the archive has a configuration of its \
                 own, which decides"
            );
        }
        found
    }

    fn workers(&self, archive: &ArchiveConfig) -> (Option<(u32, u32)>, Origin) {
        let min = archive.min_workers.unwrap_or(0);
        let max = archive.max_workers.unwrap_or(0);
        if min > 0 && max >= min {
            return (Some((min, max)), Origin::Archive);
        }
        if min > 0 || max > 0 {
            warn!("Invalid model config in mar, minWorkers:{min}, maxWorkers:{max}");
        }
        let models = self.overrides.filter(|_| self.is_startup);
        match models.and_then(|models| Some((models.min_workers?, models.max_workers))) {
            Some((min, max)) => (Some((min, max.unwrap_or(min).max(min))), Origin::Models),
            None => (None, Origin::BuiltIn),
        }
    }

    fn runtime(&self) -> Result<(Runtime, Origin), Error> {
        let models = self
            .overrides
            .and_then(|models| models.runtime.as_deref())
            .map(Runtime::from_parameter)
            .transpose()?;
        let found = first([
            (models, Origin::Models),
            (self.request.runtime, Origin::Request),
            (self.manifest.runtime, Origin::Manifest),
        ]);
        Ok(found.unwrap_or((Runtime::default(), Origin::BuiltIn)))
    }

    fn handler(&self) -> (Option<String>, Origin) {
        let sources = [
            (&self.request.handler, Origin::Request),
            (&self.manifest.handler, Origin::Manifest),
            (&self.config.default_service_handler, Origin::Server),
        ];
        let named = sources
            .into_iter()
            .filter_map(|(handler, origin)| Some((handler.as_ref()?, origin)))
            .find(|(handler, _)| !handler.is_empty());
        match named {
            Some((handler, origin)) => (Some(handler.clone()), origin),
            None => (None, Origin::BuiltIn),
        }
    }

    fn of_models<T>(&self, field: impl FnOnce(&ModelOverrides) -> Option<T>) -> Option<T> {
        self.overrides.and_then(field)
    }
}

/// The strongest source that says something.
fn first<T, const N: usize>(sources: [(Option<T>, Origin); N]) -> Option<(T, Origin)> {
    sources
        .into_iter()
        .find_map(|(value, origin)| Some((value?, origin)))
}

/// A number from a client as one that sums of times can bear: the original's were 32 bits wide.
fn bounded(number: i64) -> u32 {
    const MOST: u32 = i32::MAX as u32;
    u32::try_from(number.max(0)).map_or(MOST, |number| number.min(MOST))
}

fn device_ids(wanted: &[i64], number_of_gpu: u32) -> Vec<u32> {
    let mut ids = Vec::with_capacity(wanted.len());
    for id in wanted {
        match u32::try_from(*id) {
            Ok(id) if id < number_of_gpu => ids.push(id),
            _ => {
                warn!("Invalid deviceId:{id}, ignore deviceIds list");
                return Vec::new();
            }
        }
    }
    ids
}

fn declared(archive: &ArchiveConfig, batch_size: i64, max_batch_delay: i64) -> Declared {
    let millis = |time: Option<Duration>| time.map_or(0, |time| time.as_millis() as u64);
    let mut declared = Declared {
        batch_size,
        max_batch_delay,
        parallel_type: archive
            .parallel_type
            .map_or("", ParallelType::as_str)
            .to_owned(),
        continuous_batching: archive.continuous_batching,
        sequence_batching: archive.sequence_batching,
        async_communication: archive.async_communication,
        use_venv: archive.use_venv,
        ..Declared::default()
    };
    if archive.parallel_type.is_some() {
        declared.parallel_level = match &archive.torchrun {
            Some(torchrun) => torchrun.nproc_per_node,
            None => archive.parallel_level.unwrap_or(0),
        };
    }
    // Without an idle time there are no sequences, and describe shows zeros.
    if millis(archive.sequence_max_idle) > 0 {
        declared.sequence_max_idle_msec = millis(archive.sequence_max_idle);
        declared.sequence_timeout_msec = millis(archive.sequence_timeout);
        declared.max_num_sequence = archive.max_num_sequence.unwrap_or(1);
        declared.max_sequence_job_queue_size = archive.max_sequence_job_queue_size.unwrap_or(1);
    }
    declared
}
