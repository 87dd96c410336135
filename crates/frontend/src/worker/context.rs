//! What every worker of one model version needs.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use tokio::net::unix::pipe::Receiver;
use tserve_shm::{Arena, LinkConfig, WorkerFds};

use super::control::ToWorker;
use super::device::Assigned;
use super::history::FailureHistory;
use super::output;
use super::process::{Process, WorkerEnvironment};
use super::schemas::Schemas;
use super::template::{Template, TemplateError};
use crate::config::Config;
use crate::dispatch::{Dispatcher, ReplyLimits};
use crate::model::dependencies::Venv;
use crate::model::settings::Settings;
use crate::telemetry::{ModelMetrics, Stream, Telemetry};

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
    /// What its workers are forked from, if they are.
    pub template: Template,
    /// What the handler's type hints say, once a worker has loaded it.
    pub schemas: OnceLock<Schemas>,
    /// Why its workers and its handler failed lately.
    pub failures: Arc<FailureHistory>,
    /// Logs.
    pub telemetry: Telemetry,
    /// Its figures.
    pub metrics: Arc<ModelMetrics>,
    /// What its handler takes; not known before a worker has loaded it.
    pub input_kind: OnceLock<InputKind>,
}

/// How a handler wants tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// As TorchServe's envelope gives them.
    Plain,
    /// As views of shared memory: it has set `typed_inputs`.
    Typed(JsonNumbers),
}

/// What a handler with typed inputs wants of numbers in plain JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonNumbers {
    /// As `numpy.array`: int64 where all are whole, else float64.
    #[default]
    Numpy,
    /// As `torch.tensor`: int64 where all are whole, else float32.
    Torch,
    /// All as float32.
    Float32,
    /// All as float64.
    Float64,
    /// All as int64; others are refused.
    Int64,
}

impl ModelContext {
    /// What its handler takes, once a worker has loaded it.
    pub fn input_kind(&self) -> Option<InputKind> {
        self.input_kind.get().copied()
    }

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

    /// What a worker with these devices is told to load.
    pub(super) fn load_message(&self, assigned: &Assigned) -> ToWorker<'_> {
        let settings = &self.settings;
        ToWorker::Load {
            model_name: &self.name,
            model_dir: &self.directory,
            link_parent: self.link_parent.as_deref(),
            handler: settings.handler.as_deref(),
            gpu_id: assigned.inside(),
            batch_size: settings.batch_size,
            envelope: self.config.service_envelope.as_deref(),
            limit_max_image_pixels: self.config.limit_max_image_pixels,
            metrics_config: self.config.metrics_config.as_deref(),
            async_communication: settings.declared.async_communication,
            group_size: settings.parallel.ranks,
            forward_requests: settings.parallel.forwards,
            depth: settings.template,
        }
    }

    /// Whether a worker with these devices is a fork: CUDA does not survive one, nor do event loops,
    /// and ranks are started by their leader.
    pub(super) fn uses_template(&self, assigned: &Assigned) -> bool {
        let settings = &self.settings;
        let is_simple = settings.parallel.ranks == 1 && !settings.declared.async_communication;
        settings.template.is_some() && assigned.gpu.is_none() && is_simple
    }

    /// Forks a worker from the template. What failed comes with the link, for another try.
    pub(super) async fn fork(
        self: &Arc<Self>,
        link: WorkerFds,
        arena: OwnedFd,
        name: &Arc<str>,
    ) -> Result<(Process, UnixStream), (TemplateError, WorkerFds)> {
        let prepare = || -> io::Result<_> {
            let (ours, theirs) = UnixStream::pair()?;
            let (stdout, to_stdout) = io::pipe()?;
            let (stderr, to_stderr) = io::pipe()?;
            let stdout = Receiver::from_owned_fd(stdout.into())?;
            let stderr = Receiver::from_owned_fd(stderr.into())?;
            let descriptors = vec![
                link.link.try_clone()?,
                arena,
                link.wake.try_clone()?,
                theirs.into(),
                to_stdout.into(),
                to_stderr.into(),
            ];
            Ok((ours, stdout, stderr, descriptors))
        };
        let (control, stdout, stderr, descriptors) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return Err((error.into(), link)),
        };
        let forked = match self.template.fork(self, descriptors).await {
            Ok(forked) => forked,
            Err(error) => return Err((error, link)),
        };
        output::pump(stdout, Arc::clone(self), Arc::clone(name), Stream::Stdout);
        output::pump(stderr, Arc::clone(self), Arc::clone(name), Stream::Stderr);
        Ok((Process::Forked(forked), control))
    }

    /// What a worker finds in its environment beside what all workers do.
    pub(super) fn variables(&self, assigned: &Assigned) -> Vec<(&'static str, String)> {
        let mut variables = Vec::new();
        if !assigned.visible.is_empty() {
            let visible = self.environment.visible_devices(&assigned.visible);
            variables.push(("CUDA_VISIBLE_DEVICES", visible));
        }
        if let Some(threads) = self.settings.parallel.omp_threads {
            variables.push(("OMP_NUM_THREADS", threads.to_string()));
        }
        variables
    }

    pub(super) fn reply_limits(&self) -> ReplyLimits {
        ReplyLimits {
            max_response_size: self.config.max_response_size,
            error_detail: self.config.error_detail,
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
