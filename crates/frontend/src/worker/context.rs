//! What every worker of one model version needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tserve_shm::{Arena, LinkConfig};

use super::process::WorkerEnvironment;
use crate::config::Config;
use crate::dispatch::{Dispatcher, ReplyLimits};
use crate::model::dependencies::Venv;
use crate::model::settings::Settings;
use crate::telemetry::{ModelMetrics, Telemetry};

/// What every worker of a model version needs.
#[derive(Debug)]
pub struct ModelContext {
    /// Registered name.
    pub name: String,
    /// Registered version.
    pub version: String,
    /// The unpacked archive.
    pub directory: PathBuf,
    /// Folder beside the link of a directory used in place.
    pub link_parent: Option<PathBuf>,
    /// The virtual environment of its workers, if they have one of their own.
    pub venv: Option<Venv>,
    /// Effective settings.
    pub settings: Settings,
    /// Effective server configuration.
    pub config: Arc<Config>,
    /// Where requests of this version are written.
    pub arena: Arena,
    /// Where its workers get their batches.
    pub dispatcher: Arc<Dispatcher>,
    /// How its workers are started.
    pub environment: Arc<WorkerEnvironment>,
    /// Logs.
    pub telemetry: Telemetry,
    /// Its figures.
    pub metrics: Arc<ModelMetrics>,
}

impl ModelContext {
    /// The interpreter of its workers.
    pub(super) fn python(&self) -> &Path {
        let own = self.venv.as_ref().map(Venv::python);
        own.unwrap_or_else(|| self.environment.interpreter(self.settings.runtime))
    }

    /// Counts what its handler reports.
    pub(super) fn measured(&self, lines: &[String]) {
        for line in lines {
            self.telemetry.metrics.measured(&self.metrics, line);
        }
    }

    pub(super) fn reply_limits(&self) -> ReplyLimits {
        ReplyLimits {
            max_response_size: self.config.max_response_size,
        }
    }

    /// Room for the replies of one batch and then some: the area is sparse, so that its size costs
    /// address space only.
    pub(super) fn link_config(&self) -> LinkConfig {
        let batch = u64::from(self.settings.batch_size);
        // Twice the limit, so that a reply that is too large arrives and is answered with the
        // reason instead of failing in the worker.
        let per_reply = self
            .config
            .max_response_size
            .saturating_mul(2)
            .saturating_add(1 << 20);
        let reply_bytes = per_reply.saturating_mul(batch).clamp(64 << 20, 1 << 38);
        LinkConfig {
            depth: self.dispatcher.kind().link_depth(),
            max_batch: self.settings.batch_size,
            reply_bytes,
        }
    }
}
