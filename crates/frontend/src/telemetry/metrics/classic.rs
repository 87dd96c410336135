//! The metrics of TorchServe on their page and in their logs.
//!
//! The original logs every increment of every counter. Here the increments of half a second are one
//! line: their sum is the same, and a request costs no line of its own.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of metrics are floats for everybody"
)]

use std::sync::atomic::Ordering;

use super::definitions::Definition;
use super::families::Refusal;
use super::line::Line;
use super::model::ModelMetrics;
use super::text::{Page, number};
use super::{Metrics, UNSET, lock};
use crate::config::MetricsMode;
use crate::telemetry::{Queue, Stages, nanos_between, timestamp};

/// Shown in mode `legacy`.
const LEGACY: [&str; 3] = [
    "ts_inference_requests_total",
    "ts_inference_latency_microseconds",
    "ts_queue_latency_microseconds",
];

/// Least milliseconds between two lines of the same model's `PredictionTime`.
const PREDICTION_PAUSE: u64 = 250;

/// What the server itself has counted: metric, values of its labels, value.
type Counted = (&'static str, Vec<String>, f64);

impl Metrics {
    /// Adds the metrics of TorchServe to a page, as far as the mode shows them.
    pub fn render_classic(&self, page: &mut Page) {
        if self.mode == MetricsMode::Log {
            return;
        }
        let mut families = lock(&self.families);
        for (name, labels, value) in self.counted() {
            if let Some(family) = families.host(name) {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                family.set(&labels, value);
            }
        }
        for model in &*lock(&self.models) {
            let nanos = model.prediction_nanos.load(Ordering::Relaxed);
            if nanos != UNSET
                && let Some(family) = families.model("PredictionTime")
            {
                family.set(&[&model.name, "Model", &self.host], millis(nanos));
            }
        }
        let shows_all = self.mode == MetricsMode::Prometheus;
        families.render(page, |it: &Definition| {
            shows_all || LEGACY.contains(&it.name.as_str())
        });
    }

    /// Sets a gauge of the server; the host's name is added to the labels.
    pub(super) fn record_host(&self, name: &str, labels: &[&str], value: f64) {
        let labels: Vec<&str> = labels.iter().copied().chain([&*self.host]).collect();
        let mut families = lock(&self.families);
        let Some(family) = families.host(name) else {
            return;
        };
        match &self.logs {
            None => family.record(&labels, value),
            Some([log, _]) => log_values(log, &family.definition, &labels, value, ""),
        }
    }

    /// Logs what the server has counted since the last call.
    pub(super) fn log_counted(&self) {
        let Some([log, _]) = &self.logs else { return };
        let mut families = lock(&self.families);
        let mut logged = lock(&self.logged);
        for (name, labels, value) in self.counted() {
            if self.mode == MetricsMode::Legacy && LEGACY.contains(&name) {
                continue;
            }
            let Some(family) = families.host(name) else {
                continue;
            };
            let is_gauge = name.ends_with("Time");
            let before = logged.insert((name, labels.clone()), value);
            if before == Some(value) {
                continue;
            }
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let value = match before {
                Some(before) if !is_gauge => value - before,
                _ => value,
            };
            log_values(log, &family.definition, &labels, value, "");
        }
    }

    /// Logs a measurement of a handler.
    pub(super) fn log_line(&self, line: &Line<'_>) -> Result<(), Refusal> {
        let Some([_, log]) = &self.logs else {
            return Ok(());
        };
        let mut families = lock(&self.families);
        let definition = families.of_line(line)?;
        let labels = line.labels.iter().map(|it| it.1);
        let labels: Vec<&str> = labels.chain([&*self.host]).collect();
        log_values(log, definition, &labels, line.value, line.request_ids);
        Ok(())
    }

    pub(super) fn log_prediction(
        &self,
        model: &ModelMetrics,
        stages: &Stages,
        ids: impl FnOnce() -> String,
    ) {
        let Some([_, log]) = &self.logs else { return };
        // Never 0, which means that there was none.
        let now = nanos_between(self.started, stages.replied()) / 1_000_000 + 1;
        let last = model.prediction_logged_at.load(Ordering::Relaxed);
        if last != 0 && now < last + PREDICTION_PAUSE {
            return;
        }
        model.prediction_logged_at.store(now, Ordering::Relaxed);
        let mut families = lock(&self.families);
        if let Some(family) = families.model("PredictionTime") {
            let labels = [&*model.name, "Model", &*self.host];
            log_values(
                log,
                &family.definition,
                &labels,
                millis(stages.handler_ns),
                &ids(),
            );
        }
    }

    /// What the server has counted of requests. Series that have not begun are left out.
    fn counted(&self) -> Vec<Counted> {
        let mut all = Vec::new();
        let host = || vec!["Host".to_owned(), self.host.clone()];
        let names = ["Requests2XX", "Requests4XX", "Requests5XX"];
        for (name, count) in names.into_iter().zip(&self.responses) {
            if count.get() > 0 {
                all.push((name, host(), count.get() as f64));
            }
        }
        for (name, last) in [
            ("QueueTime", &self.queue_time),
            ("WorkerThreadTime", &self.worker_thread_time),
        ] {
            let last = last.load(Ordering::Relaxed);
            if last != UNSET {
                all.push((name, host(), last as f64));
            }
        }
        let models = lock(&self.models);
        let mut sums: std::collections::BTreeMap<(&str, &str), [u64; 3]> =
            std::collections::BTreeMap::new();
        for model in &*models {
            for (classic, version) in model.classic.iter().zip(["default", &model.version]) {
                let sum = sums.entry((&model.name, version)).or_default();
                for (sum, count) in sum.iter_mut().zip([
                    &classic.requests,
                    &classic.latency_nanos,
                    &classic.queue_nanos,
                ]) {
                    *sum += count.get();
                }
            }
        }
        for ((model, version), [requests, latency, queue]) in sums {
            let labels = vec![model.to_owned(), version.to_owned(), self.host.clone()];
            if requests > 0 {
                all.push((LEGACY[0], labels.clone(), requests as f64));
            }
            if latency > 0 {
                all.push((LEGACY[1], labels.clone(), latency as f64 / 1e3));
                all.push((LEGACY[2], labels, queue as f64 / 1e3));
            }
        }
        all
    }
}

/// Milliseconds with two decimals.
fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1e4).round() / 1e2
}

/// Writes one line in the original's form. The last label is the host.
fn log_values(
    log: &Queue,
    definition: &Definition,
    labels: &[&str],
    value: f64,
    request_ids: &str,
) {
    let Some((host, labels)) = labels.split_last() else {
        return;
    };
    if labels.len() + 1 != definition.labels.len() {
        return;
    }
    let mut text = String::new();
    text.push_str(&definition.name);
    text.push('.');
    text.push_str(&definition.unit);
    text.push(':');
    number(&mut text, value);
    text.push_str("|#");
    for (place, (name, value)) in definition.labels.iter().zip(labels).enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.extend([name, ":", value]);
    }
    text.extend(["|#hostname:", host]);
    if !request_ids.is_empty() {
        text.extend([",requestID:", request_ids]);
    }
    text.push_str(",timestamp:");
    text.push_str(&jiff::Timestamp::now().as_second().to_string());
    let mut line = log.buffer();
    timestamp::append(&mut line);
    line.extend_from_slice(b" - ");
    line.extend(text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    log.send(line);
}
