//! The settings of a model version one by one, each with who said so: for `tserve config show`.

use super::archive_config::ArchiveConfig;
use super::{DeviceType, Origin, Settings};
use crate::config::Config;

/// One setting as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its name in `model-config.yaml`, or the parameter of a registration.
    pub key: &'static str,
    /// Its value; `None` = not set.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
    /// The key of the server's configuration that speaks when nobody else does, if there is one.
    pub server_key: Option<&'static str>,
}

/// Workers of a model that is loaded at start and names no number: the configured number, else one
/// per GPU, else one per processor.
pub fn default_workers(config: &Config) -> u32 {
    match (config.default_workers_per_model, config.number_of_gpu) {
        (0, 0) => std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        (0, gpus) => gpus,
        (workers, _) => workers,
    }
}

impl Settings {
    /// Every setting of a model that is loaded at start. `archive` is what its own configuration
    /// says, if it has one.
    pub fn explain(&self, archive: Option<&ArchiveConfig>, config: &Config) -> Vec<Explained> {
        let nothing = ArchiveConfig::default();
        let archive = archive.unwrap_or(&nothing);
        let mut all = self.of_many(config).to_vec();
        all.extend(self.of_archive(archive));
        all.extend(self.of_modes(archive));
        all
    }

    /// Settings that several sources may name.
    fn of_many(&self, config: &Config) -> [Explained; 9] {
        let origins = &self.origins;
        let default = default_workers(config);
        let ((min, max), workers) = match self.workers {
            Some(pair) => (pair, origins.workers),
            None => ((default, default), Origin::Server),
        };
        let delay = self.max_batch_delay.as_millis();
        let response = self.response_timeout.as_secs();
        let startup = self.startup_timeout.as_secs();
        let handler = self.handler.clone();
        [
            said("minWorkers", min, workers).or("default_workers_per_model"),
            said("maxWorkers", max, workers).or("default_workers_per_model"),
            said("batchSize", self.batch_size, origins.batch_size),
            said("maxBatchDelay", delay, origins.max_batch_delay),
            said("responseTimeout", response, origins.response_timeout)
                .or("default_response_timeout"),
            said("startupTimeout", startup, origins.startup_timeout).or("default_startup_timeout"),
            said("jobQueueSize", self.job_queue_size, origins.job_queue_size).or("job_queue_size"),
            optional("handler", handler, origins.handler).or("default_service_handler"),
            said("runtimeType", self.runtime.as_str(), origins.runtime),
        ]
    }

    /// Settings of workers and queue that only the archive can name.
    fn of_archive(&self, archive: &ArchiveConfig) -> [Explained; 6] {
        let retry = self.max_retry_timeout.as_secs();
        let client = self.client_timeout.map_or(0, |it| it.as_millis());
        let device = self.device_type.map(|it| match it {
            DeviceType::Cpu => "cpu".to_owned(),
            DeviceType::Gpu => "gpu".to_owned(),
        });
        let ids: Vec<_> = self.device_ids.iter().map(ToString::to_string).collect();
        let ids = (!ids.is_empty()).then(|| ids.join(","));
        let (has_device, has_ids) = (device.is_some(), ids.is_some());
        [
            own(
                "maxRetryTimeoutInSec",
                retry,
                archive.max_retry_timeout.is_some(),
            ),
            own(
                "clientTimeoutInMills",
                client,
                archive.client_timeout.is_some(),
            ),
            own("useJobTicket", self.use_job_ticket, archive.use_job_ticket),
            own("useVenv", self.declared.use_venv, archive.use_venv),
            optional("deviceType", device, by_archive(has_device)),
            optional("deviceIds", ids, by_archive(has_ids)),
        ]
    }

    /// Modes of batching and of workers that only the archive can name.
    fn of_modes(&self, archive: &ArchiveConfig) -> [Explained; 9] {
        let declared = &self.declared;
        let level = declared.parallel_level;
        let kind = Some(declared.parallel_type.clone()).filter(|it| !it.is_empty());
        let (idle, limit) = (
            declared.sequence_max_idle_msec,
            declared.sequence_timeout_msec,
        );
        let (most, queue) = (
            declared.max_num_sequence,
            declared.max_sequence_job_queue_size,
        );
        let has_queue = archive.max_sequence_job_queue_size.is_some();
        [
            optional(
                "parallelType",
                kind,
                by_archive(archive.parallel_type.is_some()),
            ),
            own("parallelLevel", level, level > 0),
            own(
                "continuousBatching",
                declared.continuous_batching,
                archive.continuous_batching,
            ),
            own(
                "asyncCommunication",
                declared.async_communication,
                archive.async_communication,
            ),
            own(
                "sequenceBatching",
                declared.sequence_batching,
                archive.sequence_batching,
            ),
            own(
                "sequenceMaxIdleMSec",
                idle,
                archive.sequence_max_idle.is_some(),
            ),
            own(
                "sequenceTimeoutMSec",
                limit,
                archive.sequence_timeout.is_some(),
            ),
            own("maxNumSequence", most, archive.max_num_sequence.is_some()),
            own("maxSequenceJobQueueSize", queue, has_queue),
        ]
    }
}

impl Explained {
    fn or(mut self, server_key: &'static str) -> Self {
        self.server_key = Some(server_key);
        self
    }
}

fn by_archive(is_named: bool) -> Origin {
    if is_named {
        Origin::Archive
    } else {
        Origin::BuiltIn
    }
}

/// A setting that only the archive can name.
fn own(key: &'static str, value: impl ToString, is_named: bool) -> Explained {
    said(key, value, by_archive(is_named))
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and words")]
fn said(key: &'static str, value: impl ToString, origin: Origin) -> Explained {
    optional(key, Some(value.to_string()), origin)
}

fn optional(key: &'static str, value: Option<String>, origin: Origin) -> Explained {
    Explained {
        key,
        value,
        origin,
        server_key: None,
    }
}
