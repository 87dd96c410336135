//! Server, access and model logs in TorchServe's files and line formats.
//!
//! Callers format a line into a used buffer and leave it in a bounded lock-free queue; a thread of
//! its own writes files and standard output. Nobody ever waits for a disk or a terminal: lines that
//! find a full queue are dropped and counted, and the server log says how many.

mod access;
mod form;
mod levels;
mod loggers;
mod losses;
mod metrics;
mod model_log;
mod queue;
mod repeats;
mod rotation;
mod sampling;
mod server_log;
mod sink;
mod spans;
mod stages;
mod timestamp;
mod timing;
mod writer;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{EnvFilter, reload};

pub use self::access::{AccessLine, AccessLog};
pub use self::loggers::{LoggerLevel, Loggers};
pub use self::losses::Losses;
pub use self::metrics::{
    Loss, Metrics, ModelFigures, ModelMetrics, Outcome, Page, WorkerFigures, run as run_metrics,
};
pub use self::model_log::{ModelLog, Stream};
pub use self::spans::{Asked, RequestSpan, Sampled, SpanLosses, Spans, SpansError, Trace};
pub use self::stages::{Release, Stages, nanos_between};
pub use self::timing::ServerTiming;
pub use self::writer::Guard;

use self::levels::{Levels, Threshold};
use self::queue::{Bell, Queue};
use self::sampling::Sampling;
use self::sink::Folders;
use self::writer::{Manner, Queues};
use crate::config::{Config, LogForm, LogSettings};

/// Lines that may wait in each queue; they take memory only while they do. Enough for the time in
/// which a large file is compressed.
const LINES: usize = 1 << 19;

/// Bytes that may wait in each queue.
const BYTES: usize = 64 << 20;

/// Handles to the logs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// `access_log.log`.
    pub access: Arc<AccessLog>,
    /// `model_log.log`.
    pub model: Arc<ModelLog>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Levels, to look at and to change.
    pub loggers: Arc<Loggers>,
    /// How many lines were lost: `tserve_log_lines_dropped_total`.
    pub losses: Arc<Losses>,
    /// Spans, where a collector is configured.
    pub spans: Option<Arc<Spans>>,
}

/// Why there are no logs.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The threads that write cannot be started.
    #[error("the log writer cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// `TSERVE_LOG` or `log_level` is not a list of levels.
    #[error(
        "\"{text}\" is not a list of levels such as \"info\" \
             or \"info,tserve_frontend::worker=debug\", which environment variable TSERVE_LOG and \
             log_level have to be: {problem}"
    )]
    Filter {
        /// The variable.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// This process logs already.
    #[error("the server log is started already: {0}")]
    AlreadyStarted(#[from] TryInitError),
}

impl Telemetry {
    /// Opens the logs and makes the server log the one that this process traces to.
    ///
    /// A folder that cannot be written costs its files, not the server: what would be in them is
    /// on standard output too.
    ///
    /// # Errors
    /// The process logs already, `TSERVE_LOG` is malformed, or threads cannot be started.
    pub fn start(config: &Config) -> Result<(Self, Guard), TelemetryError> {
        let (levels, notes) = Levels::find(config.log_config.as_deref());
        let settings = &config.logs;
        let variable = std::env::var("TSERVE_LOG").ok();
        let directives = levels.directives(variable, settings.level.as_deref())?;
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&directives));
        let folders = Folders {
            logs: config.log_location.clone(),
            metrics: config.metrics_location.clone(),
        };
        let (bell, losses) = (Arc::new(Bell::default()), Arc::new(Losses::default()));
        let queues = Queues::new(&bell, &losses, LINES, BYTES);
        let logs = Self::over(&queues, &losses, levels, settings);
        let metric_logs = [&queues.server_metrics, &queues.model_metrics].map(Arc::clone);
        let (mut metrics, problem) = Metrics::new(config, Some(metric_logs));
        metrics.losses = Arc::clone(&losses);
        let loggers = Loggers::new(
            Arc::clone(&logs.access),
            Arc::clone(&logs.model),
            &directives,
            Some(handle),
        );
        let telemetry = Self {
            loggers: Arc::new(loggers),
            metrics: Arc::new(metrics),
            ..logs
        };
        let server_log = server_log::layer(Arc::clone(&queues.server), settings.form);
        let manner = Manner {
            form: settings.form,
            rotation: levels.rotation.with(settings),
            repeat_limit: settings.repeat_limit,
        };
        let (guard, problems) =
            writer::spawn(&folders, manner, queues, (bell, losses), io::stdout())?;
        let subscriber = tracing_subscriber::registry().with(filter).with(server_log);
        tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;
        server_log::include_panics();
        for note in notes.iter().chain(&problems).chain(&problem) {
            tracing::warn!("{note}");
        }
        Ok((telemetry, guard))
    }

    /// Logs that go nowhere, for tests of what uses them.
    pub fn disabled() -> Self {
        let access = AccessLog::new(None, LogForm::Text, None, Threshold::Off);
        let model = ModelLog::new(None, LogForm::Text, Threshold::Off);
        Self::of(access, model, &Arc::default())
    }

    fn over(queues: &Queues, losses: &Arc<Losses>, levels: Levels, settings: &LogSettings) -> Self {
        let form = settings.form;
        let sampling = Sampling::new(settings.access_sampling);
        let access = Some(Arc::clone(&queues.access));
        let model = Some(Arc::clone(&queues.model));
        Self::of(
            AccessLog::new(access, form, sampling, levels.access),
            ModelLog::new(model, form, levels.model),
            losses,
        )
    }

    fn of(access: AccessLog, model: ModelLog, losses: &Arc<Losses>) -> Self {
        let (access, model) = (Arc::new(access), Arc::new(model));
        let loggers = Loggers::new(Arc::clone(&access), Arc::clone(&model), "info", None);
        Self {
            access,
            model,
            loggers: Arc::new(loggers),
            losses: Arc::clone(losses),
            metrics: Arc::new(Metrics::disabled()),
            spans: None,
        }
    }
}

/// Calls back with the name of the calling thread.
fn with_thread_name<T>(then: impl FnOnce(&str) -> T) -> T {
    then(std::thread::current().name().unwrap_or("unnamed"))
}

#[cfg(test)]
mod tests;
