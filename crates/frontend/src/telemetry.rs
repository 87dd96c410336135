//! Server, access and model logs in TorchServe's files and line formats.
//!
//! Callers format a line into a used buffer and leave it in a bounded lock-free queue; a thread of
//! its own writes files and standard output. Nobody ever waits for a disk or a terminal: lines that
//! find a full queue are dropped and counted, and the server log says how many.

mod access;
mod levels;
mod metrics;
mod model_log;
mod queue;
mod server_log;
mod sink;
mod stages;
mod timestamp;
mod writer;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::TryInitError;

pub use self::access::{AccessLine, AccessLog};
pub use self::metrics::{
    Loss, Metrics, ModelFigures, ModelMetrics, Outcome, Page, WorkerFigures, run as run_metrics,
};
pub use self::model_log::{ModelLog, Stream};
pub use self::stages::{Release, Stages};
pub use self::writer::Guard;

use self::levels::Levels;
use self::queue::{Bell, Queue};
use self::sink::Folders;
use self::writer::Queues;
use crate::config::Config;

/// Lines that may wait in each queue.
const LINES: usize = 1 << 16;

/// Bytes that may wait in each queue.
const BYTES: usize = 32 << 20;

/// Handles to the logs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// `access_log.log`.
    pub access: Arc<AccessLog>,
    /// `model_log.log`.
    pub model: Arc<ModelLog>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why there are no logs.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The threads that write cannot be started.
    #[error("the log writer cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// `TSERVE_LOG` is not a list of levels.
    #[error(
        "environment variable TSERVE_LOG: \"{text}\" is not a list of levels such as \"info\" \
             or \"info,tserve_frontend::worker=debug\": {problem}"
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
        let filter = levels.filter(std::env::var("TSERVE_LOG").ok())?;
        let folders = Folders {
            logs: config.log_location.clone(),
            metrics: config.metrics_location.clone(),
        };
        let bell = Arc::new(Bell::default());
        let queues = Queues::new(&bell, LINES, BYTES);
        let mut telemetry = Self::over(&queues, levels);
        let logs = [&queues.server_metrics, &queues.model_metrics].map(Arc::clone);
        let (metrics, problem) = Metrics::new(config, Some(logs));
        telemetry.metrics = Arc::new(metrics);
        let server_log = server_log::layer(Arc::clone(&queues.server));
        let (guard, problems) = writer::spawn(&folders, queues, bell, io::stdout())?;
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
        Self {
            access: Arc::new(AccessLog::new(None)),
            model: Arc::new(ModelLog::new(None, levels::Threshold::Off)),
            metrics: Arc::new(Metrics::disabled()),
        }
    }

    fn over(queues: &Queues, levels: Levels) -> Self {
        let access = levels.access.then(|| Arc::clone(&queues.access));
        Self {
            access: Arc::new(AccessLog::new(access)),
            model: Arc::new(ModelLog::new(Some(Arc::clone(&queues.model)), levels.model)),
            metrics: Arc::new(Metrics::disabled()),
        }
    }
}

/// Appends `<timestamp> [<level>] <thread> <logger> - ` to a line.
fn prefix(line: &mut Vec<u8>, level: &str, thread: &[&str], logger: &str) {
    timestamp::append(line);
    for part in [" [", level, "] "] {
        line.extend_from_slice(part.as_bytes());
    }
    for part in thread {
        line.extend_from_slice(part.as_bytes());
    }
    for part in [" ", logger, " - "] {
        line.extend_from_slice(part.as_bytes());
    }
}

/// Calls back with the name of the calling thread.
fn with_thread_name<T>(then: impl FnOnce(&str) -> T) -> T {
    then(std::thread::current().name().unwrap_or("unnamed"))
}

#[cfg(test)]
mod tests;
