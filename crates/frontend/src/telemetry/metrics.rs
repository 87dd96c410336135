//! The metrics of the server: those of TorchServe, and its own.
//!
//! What a request touches are atomics ([`ModelMetrics`]); pages and log lines are made from them
//! when somebody looks, or twice a second. Locks guard only what handlers, workers and scrapes do.

mod cells;
mod classic;
mod definitions;
mod families;
mod gpu;
mod line;
mod model;
mod own;
mod system;
mod text;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use self::model::{Loss, ModelMetrics, Outcome};
pub use self::own::{ModelFigures, WorkerFigures};
pub use self::system::run;
pub use self::text::Page;

use self::cells::Count;
use self::families::{Families, Refusal};
use self::line::Line;
use super::{Losses, Queue, SpanLosses, Spans};
use crate::config::{Config, MetricsMode};

/// Models whose counters are kept after they were removed.
const MOST_MODELS: usize = 1024;

/// No value yet.
const UNSET: u64 = u64::MAX;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    mode: MetricsMode,
    /// Whether requests are counted.
    counts_requests: bool,
    host: String,
    started: Instant,
    families: Mutex<Families>,
    models: Mutex<Vec<Arc<ModelMetrics>>>,
    /// REST answers of 2xx, 4xx and all others.
    responses: [Count; 3],
    /// Last values in milliseconds.
    queue_time: AtomicU64,
    worker_thread_time: AtomicU64,
    /// Where lines for `ts_metrics.log` and `model_metrics.log` go; none in mode `prometheus`.
    logs: Option<[Arc<Queue>; 2]>,
    /// GPUs as they were seen last.
    devices: Mutex<Vec<gpu::Device>>,
    /// Log lines that were lost.
    pub(super) losses: Arc<Losses>,
    /// Spans that were lost, where spans are made.
    span_losses: OnceLock<Arc<SpanLosses>>,
    /// Counters as they were logged last.
    logged: Mutex<HashMap<(&'static str, Vec<String>), f64>>,
}

impl Metrics {
    /// No requests yet. A configuration that cannot be used is described: there are no metrics of
    /// TorchServe then.
    pub(super) fn new(config: &Config, logs: Option<[Arc<Queue>; 2]>) -> (Self, Option<String>) {
        let (definitions, problem) = match definitions::read(config.metrics_config.as_deref()) {
            Ok(definitions) => (definitions, None),
            Err(error) => (
                Vec::new(),
                Some(format!(
                    "metrics_config cannot be used, so that there are no metrics of TorchServe: {error}"
                )),
            ),
        };
        let metrics = Self {
            mode: config.metrics_mode,
            counts_requests: config.request_metrics,
            families: Mutex::new(Families::new(definitions, config.model_metrics_auto_detect)),
            logs: logs.filter(|_| config.metrics_mode != MetricsMode::Prometheus),
            ..Self::disabled()
        };
        (metrics, problem)
    }

    /// Metrics that nobody reads, for tests of what counts.
    pub fn disabled() -> Self {
        let host = hostname::get().unwrap_or_default();
        Self {
            mode: MetricsMode::Prometheus,
            counts_requests: true,
            host: host.to_string_lossy().into_owned(),
            started: Instant::now(),
            families: Mutex::default(),
            models: Mutex::default(),
            responses: Default::default(),
            queue_time: AtomicU64::new(UNSET),
            worker_thread_time: AtomicU64::new(UNSET),
            logs: None,
            devices: Mutex::default(),
            losses: Arc::default(),
            span_losses: OnceLock::new(),
            logged: Mutex::default(),
        }
    }

    /// Counts spans that are lost from now on.
    pub fn watch(&self, spans: &Spans) {
        self.span_losses.set(spans.losses()).ok();
    }

    /// The figures of a model version, which go on where those of an earlier registration ended.
    pub fn model(&self, name: &str, version: &str) -> Arc<ModelMetrics> {
        let mut models = lock(&self.models);
        let known = models
            .iter()
            .find(|it| &*it.name == name && it.version == version);
        if let Some(known) = known {
            return Arc::clone(known);
        }
        if models.len() >= MOST_MODELS
            && let Some(unused) = models.iter().position(|it| Arc::strong_count(it) == 1)
        {
            models.remove(unused);
        }
        let model = Arc::new(ModelMetrics::new(name, version, self.counts_requests));
        models.push(Arc::clone(&model));
        model
    }

    /// Counts an answer over REST.
    pub fn count_response(&self, status: u16) {
        if self.counts_requests {
            self.responses[class(status)].add(1);
        }
    }

    /// A worker has answered a batch: what the original takes its gauges from. `ids` are asked for
    /// when a line is logged.
    pub fn note_batch(
        &self,
        model: &ModelMetrics,
        stages: &super::Stages,
        ids: impl FnOnce() -> String,
    ) {
        const MILLI: u64 = 1_000_000;
        self.queue_time
            .store(stages.waited_ns() / MILLI, Ordering::Relaxed);
        self.worker_thread_time
            .store(stages.transport_ns / MILLI, Ordering::Relaxed);
        model.note_prediction(stages.handler_ns);
        if self.logs.is_some() {
            self.log_prediction(model, stages, ids);
        }
    }

    /// A worker has loaded its model, `after` it was created.
    pub fn worker_loaded(&self, worker: &str, after: Duration) {
        self.record_host(
            "WorkerLoadTime",
            &[worker, "Host"],
            (after.as_secs_f64() * 1e3).floor(),
        );
    }

    /// A line that a worker has printed. Returns whether it was a measurement, good or bad.
    pub fn printed(&self, model: &ModelMetrics, line: &str) -> bool {
        let text = line::marked(line);
        if let Some(text) = text {
            self.measured(model, text);
        }
        text.is_some()
    }

    /// A measurement that a handler reports.
    pub fn measured(&self, model: &ModelMetrics, text: &str) {
        let outcome = match Line::parse(text) {
            None => Err(Refusal::Malformed),
            Some(line) if self.logs.is_some() => self.log_line(&line),
            Some(line) => lock(&self.families).apply_line(&model.name, &line, &self.host),
        };
        if let Err(refusal) = outcome {
            model.refused_lines[refusal as usize].add(1);
            tracing::debug!(model = %model.name, ?refusal, text, "a measurement was refused");
        }
    }
}

/// The counter that a status belongs to.
fn class(status: u16) -> usize {
    match status {
        200..=299 => 0,
        400..=499 => 1,
        _ => 2,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
