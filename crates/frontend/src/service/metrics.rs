//! Pages of metrics: what is counted, and what is known of models and workers at the moment.

use std::sync::Arc;

use super::ServedModel;
use super::state::ServerState;
use crate::model::manifest::Runtime;
use crate::telemetry::{self, ModelFigures, Page, WorkerFigures};
use crate::worker::WorkerStatus;

/// Metrics for those who ask.
#[derive(Debug, Clone)]
pub struct MetricsService {
    state: Arc<ServerState>,
}

impl MetricsService {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    /// Begins to take figures of the machine and to write the metric logs.
    pub fn start(&self) {
        let python = self.state.environment.interpreter(Runtime::Python);
        telemetry::run_metrics(
            &self.state.telemetry.metrics,
            Arc::clone(&self.state.config),
            python.to_owned(),
        );
    }

    /// The page that the original has: its metrics as `metrics_mode` shows them. With
    /// `extended_metrics`, or when samples of such names are asked for, those of tserve are there
    /// as well. `wanted` are names of samples; none means all.
    pub fn page(&self, wanted: Vec<String>) -> String {
        let is_extended = self.state.config.extended_metrics
            || wanted.iter().any(|name| name.starts_with("tserve_"));
        let mut page = Page::new(wanted);
        self.state.telemetry.metrics.render_classic(&mut page);
        if is_extended {
            self.render_own(&mut page);
        }
        page.finish()
    }

    /// The page with the metrics of tserve.
    pub fn own_page(&self, wanted: Vec<String>) -> String {
        let mut page = Page::new(wanted);
        self.render_own(&mut page);
        page.finish()
    }

    fn render_own(&self, page: &mut Page) {
        let models = self.state.registry.models();
        let versions = models.iter().flat_map(|(_, versions)| versions.iter());
        let figures: Vec<_> = versions.map(|(_, model)| figures(model)).collect();
        self.state.telemetry.metrics.render_own(page, &figures);
    }
}

fn figures(model: &ServedModel) -> ModelFigures {
    let context = model.context();
    let dispatcher = &context.dispatcher;
    let workers = model.pool.statuses();
    ModelFigures {
        metrics: Arc::clone(&context.metrics),
        queue: (dispatcher.waiting(), dispatcher.capacity()),
        oldest: dispatcher.oldest_age(),
        memory: (context.arena.used_bytes(), context.arena.capacity_bytes()),
        workers: workers.iter().map(|it| worker(it)).collect(),
    }
}

fn worker(status: &WorkerStatus) -> WorkerFigures {
    WorkerFigures {
        id: status.id,
        state: status.state().as_str(),
        resident_bytes: status.memory_bytes(),
        proportional_bytes: status.proportional_bytes(),
    }
}
