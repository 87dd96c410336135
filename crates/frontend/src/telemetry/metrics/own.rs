//! The metrics of tserve itself, which every server has, whatever the mode: each defined once, here.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of metrics are floats for everybody"
)]

use std::sync::Arc;
use std::time::Duration;

use super::cells::{Durations, SECONDS, SIZES};
use super::model::{Loss, ModelMetrics, Outcome};
use super::text::{Page, number};
use super::{Metrics, lock};
use crate::telemetry::Release;

/// One metric.
struct Own {
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
const HISTOGRAM: &str = "histogram";
const MODEL: &[&str] = &["model", "version"];

macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident $labels:expr, $help:literal;)*) => {
        $(static $id: Own = Own { name: $name, kind: $kind, labels: $labels, help: $help };)*
        /// All of them, in the order of the page.
        static ALL: &[&Own] = &[$(&$id),*];
    };
}

metrics! {
    BUILD = "tserve_build_info" GAUGE &["version"], "Always 1; the label is the server's version.";
    UPTIME = "tserve_uptime_seconds" GAUGE &[], "Time since the server started.";
    RESPONSES = "tserve_http_responses_total" COUNTER &["class"],
        "Answers over REST by class of status; `other` holds those of 5xx, 1xx and 3xx.";
    REQUESTS = "tserve_requests_total" COUNTER &["model", "version", "outcome"],
        "Predictions by how they ended: `answered`, `failed`, `rejected`, `expired`, `cancelled`.";
    IN_FLIGHT = "tserve_requests_in_flight" GAUGE MODEL,
        "Admitted predictions that have no answer yet; of a stream, no first part.";
    DURATION = "tserve_request_duration_seconds" HISTOGRAM MODEL,
        "From admission until the answer, or its first part, was there.";
    STAGE = "tserve_stage_duration_seconds" HISTOGRAM &["model", "version", "stage"],
        "The same by stage: `batch_wait`, `queue`, `transport` and `handler` add up; `preprocess`, \
         `inference` and `postprocess` are parts of `handler` for handlers that have these steps.";
    BATCH_SIZE = "tserve_batch_size" HISTOGRAM MODEL, "Requests per batch.";
    BATCHES = "tserve_batches_total" COUNTER &["model", "version", "reason"],
        "Batches by why they were closed: `full`, `delay` (maxBatchDelay was over), `eager` (no \
         client was left that could send more), `alone`, `retried` (their first worker went away).";
    QUEUE_DEPTH = "tserve_queue_depth" GAUGE MODEL, "Requests that wait for a worker.";
    QUEUE_CAPACITY = "tserve_queue_capacity" GAUGE MODEL, "Requests that may wait.";
    QUEUE_AGE = "tserve_queue_oldest_age_seconds" GAUGE MODEL,
        "How long the oldest of the requests that wait has waited; 0 when none does.";
    REQUEST_BYTES = "tserve_request_bytes_total" COUNTER MODEL,
        "Bytes of admitted requests in shared memory, headers included.";
    RESPONSE_BYTES = "tserve_response_bytes_total" COUNTER MODEL,
        "Bytes of answers that workers have sent, parts of streams included.";
    ARENA_USED = "tserve_request_memory_bytes" GAUGE MODEL,
        "Shared memory that requests take at the moment.";
    ARENA_LIMIT = "tserve_request_memory_limit_bytes" GAUGE MODEL,
        "Shared memory that requests may take.";
    WORKERS = "tserve_workers" GAUGE &["model", "version", "state"],
        "Workers by state: `loading`, `ready`, `backing_off`, `failed`, `stopping`.";
    LOSSES = "tserve_worker_failures_total" COUNTER &["model", "version", "reason"],
        "Workers lost: `load`, `exit` (the process ended), `timeout` (no response in time), \
         `protocol`. Each is started again after a back-off.";
    RESIDENT = "tserve_worker_resident_bytes" GAUGE &["model", "version", "worker"],
        "Resident memory of a worker's process, what it shares with others included.";
    PROPORTIONAL = "tserve_worker_proportional_bytes" GAUGE &["model", "version", "worker"],
        "The same with shared pages divided by those who share them (PSS), where the kernel tells.";
    GPU_BUSY = "tserve_gpu_utilization_ratio" GAUGE &["device"],
        "Part of the time in which a GPU computed, as of the last look (metric_time_interval); only \
         where the driver can be asked.";
    GPU_MEMORY = "tserve_gpu_memory_used_bytes" GAUGE &["device"], "Memory of a GPU in use.";
    GPU_TOTAL = "tserve_gpu_memory_total_bytes" GAUGE &["device"], "Memory of a GPU.";
    LOG_LINES = "tserve_log_lines_dropped_total" COUNTER &["place"],
        "Log lines that were dropped: `queue` (the disk was too slow), `file` (it could not be \
         written), `stdout` (nobody read it).";
    SPANS = "tserve_spans_dropped_total" COUNTER &["reason"],
        "Spans that no collector got: `full` (too many others were waiting), `unsent` (it was not \
         there, or refused them).";
    REFUSED = "tserve_handler_measurements_refused_total" COUNTER &["model", "version", "reason"],
        "Measurements of handlers that were not counted: `malformed`, `unknown` (not in \
         metrics_config), `too_many` (series of the model, or metrics).";
}

/// What is known of a model version at the moment.
#[derive(Debug)]
pub struct ModelFigures {
    /// Its counters.
    pub metrics: Arc<ModelMetrics>,
    /// Requests that wait, and that may.
    pub queue: (usize, usize),
    /// How long the oldest one has waited.
    pub oldest: Option<Duration>,
    /// Bytes of shared memory that requests take, and may take.
    pub memory: (u64, u64),
    /// Its workers.
    pub workers: Vec<WorkerFigures>,
}

/// What is known of a worker at the moment.
#[derive(Debug)]
pub struct WorkerFigures {
    /// Its id.
    pub id: u64,
    /// Its state, in capitals.
    pub state: &'static str,
    /// Resident bytes; 0 when there is no process.
    pub resident_bytes: u64,
    /// Its share of what it uses, where the kernel tells.
    pub proportional_bytes: Option<u64>,
}

const STATES: [&str; 5] = ["LOADING", "READY", "BACKING_OFF", "FAILED", "STOPPING"];
const REFUSALS: [&str; 3] = ["malformed", "unknown", "too_many"];

impl Metrics {
    /// Adds the metrics of tserve itself to a page.
    pub fn render_own(&self, page: &mut Page, models: &[ModelFigures]) {
        for own in ALL {
            page.family(own.name, own.kind, own.help);
            self.render_server(own, page);
            for figures in models {
                let labels = [
                    ("model", &*figures.metrics.name),
                    ("version", &*figures.metrics.version),
                ];
                figures.render(own, page, labels);
            }
        }
    }

    fn render_server(&self, own: &Own, page: &mut Page) {
        match own.name {
            name if name == BUILD.name => {
                page.sample(name, "", [("version", env!("CARGO_PKG_VERSION"))], 1.0);
            }
            name if name == UPTIME.name => {
                page.sample(name, "", [], self.started.elapsed().as_secs_f64());
            }
            name if name == LOG_LINES.name => {
                for (place, lines) in self.losses.by_place() {
                    page.sample(name, "", [("place", place)], lines as f64);
                }
            }
            name if name == SPANS.name => {
                let lost = self.span_losses.get();
                let counts = [
                    ("full", lost.map_or(0, |it| it.dropped())),
                    ("unsent", lost.map_or(0, |it| it.unsent())),
                ];
                for (reason, spans) in counts {
                    page.sample(name, "", [("reason", reason)], spans as f64);
                }
            }
            name if name == RESPONSES.name => {
                for (class, count) in ["2xx", "4xx", "other"].into_iter().zip(&self.responses) {
                    page.sample(name, "", [("class", class)], count.get() as f64);
                }
            }
            name if [GPU_BUSY.name, GPU_MEMORY.name, GPU_TOTAL.name].contains(&name) => {
                for device in &*lock(&self.devices) {
                    let value = if name == GPU_BUSY.name {
                        device.busy
                    } else if name == GPU_MEMORY.name {
                        device.used_bytes as f64
                    } else {
                        device.total_bytes as f64
                    };
                    page.sample(
                        name,
                        "",
                        [(own.labels[0], &*device.index.to_string())],
                        value,
                    );
                }
            }
            _ => {}
        }
    }
}

type Labels<'a> = [(&'a str, &'a str); 2];

impl ModelFigures {
    fn render(&self, own: &Own, page: &mut Page, labels: Labels<'_>) {
        let name = own.name;
        let metrics = &*self.metrics;
        let value = if name == IN_FLIGHT.name {
            metrics.in_flight() as f64
        } else if name == QUEUE_DEPTH.name {
            self.queue.0 as f64
        } else if name == QUEUE_CAPACITY.name {
            self.queue.1 as f64
        } else if name == QUEUE_AGE.name {
            self.oldest.unwrap_or_default().as_secs_f64()
        } else if name == REQUEST_BYTES.name {
            metrics.request_bytes.get() as f64
        } else if name == RESPONSE_BYTES.name {
            metrics.response_bytes.get() as f64
        } else if name == ARENA_USED.name {
            self.memory.0 as f64
        } else if name == ARENA_LIMIT.name {
            self.memory.1 as f64
        } else {
            return self.render_many(own, page, labels);
        };
        page.sample(name, "", labels, value);
    }

    fn render_many(&self, own: &Own, page: &mut Page, labels: Labels<'_>) {
        let (name, metrics) = (own.name, &*self.metrics);
        let mut each = |values: &[(&str, f64)]| {
            let label = own.labels[MODEL.len()];
            for (word, value) in values {
                page.sample(name, "", labels.into_iter().chain([(label, *word)]), *value);
            }
        };
        if name == REQUESTS.name {
            let count = |it: Outcome| (it.as_str(), metrics.outcomes[it as usize].get() as f64);
            each(&Outcome::ALL.map(count));
        } else if name == BATCHES.name {
            let count = |it: Release| (it.as_str(), metrics.releases[it as usize].get() as f64);
            each(&Release::ALL.map(count));
        } else if name == LOSSES.name {
            let count = |it: Loss| (it.as_str(), metrics.losses[it as usize].get() as f64);
            each(&Loss::ALL.map(count));
        } else if name == REFUSED.name {
            let counts = metrics.refused_lines.iter().map(|it| it.get() as f64);
            each(&REFUSALS.into_iter().zip(counts).collect::<Vec<_>>());
        } else if name == WORKERS.name {
            for state in STATES {
                let count = self.workers.iter().filter(|it| it.state == state).count();
                each(&[(&state.to_ascii_lowercase(), count as f64)]);
            }
        } else if name == RESIDENT.name || name == PROPORTIONAL.name {
            for worker in self.workers.iter().filter(|it| it.resident_bytes > 0) {
                let bytes = if name == RESIDENT.name {
                    Some(worker.resident_bytes)
                } else {
                    worker.proportional_bytes
                };
                if let Some(bytes) = bytes {
                    each(&[(&worker.id.to_string(), bytes as f64)]);
                }
            }
        } else if name == DURATION.name {
            durations(page, name, &labels, &metrics.total);
        } else if name == BATCH_SIZE.name {
            histogram(page, name, &labels, &SIZES, &metrics.batch_sizes.read());
        } else if name == STAGE.name {
            let [preprocess, inference, postprocess] = &metrics.steps;
            for (stage, cell) in [
                ("batch_wait", &metrics.batch_wait),
                ("queue", &metrics.queue),
                ("transport", &metrics.transport),
                ("handler", &metrics.handler),
                ("preprocess", preprocess),
                ("inference", inference),
                ("postprocess", postprocess),
            ] {
                let [model, version] = labels;
                let stage = (own.labels[MODEL.len()], stage);
                durations(page, name, &[model, version, stage], cell);
            }
        }
    }
}

fn durations(page: &mut Page, name: &str, labels: &[(&str, &str)], cell: &Durations) {
    histogram(page, name, labels, &SECONDS, &cell.read());
}

fn histogram(
    page: &mut Page,
    name: &str,
    labels: &[(&str, &str)],
    bounds: &[f64],
    (counts, sum): &(Vec<u64>, f64),
) {
    let mut below = 0;
    for (place, count) in counts.iter().enumerate() {
        below += count;
        let mut bound = String::new();
        number(
            &mut bound,
            bounds.get(place).copied().unwrap_or(f64::INFINITY),
        );
        let labels = labels.iter().copied().chain([("le", bound.as_str())]);
        page.sample(name, "_bucket", labels, below as f64);
    }
    page.sample(name, "_sum", labels.iter().copied(), *sum);
    page.sample(name, "_count", labels.iter().copied(), below as f64);
}

/// The reference page.
#[cfg(test)]
fn reference() -> String {
    use std::fmt::Write as _;

    let mut page = String::from(
        "# Metrics of tserve\n\n<!-- Made from crates/frontend/src/telemetry/metrics/own.rs; \
         UPDATE_REFERENCE=1 cargo test -p tserve-frontend renews it. -->\n\n\
         `GET /metrics/tserve` on the metrics address shows these in every `metrics_mode`. With \
         `extended_metrics=true` they are on `/metrics` too, beside those of TorchServe. `name[]` \
         asks for single samples. Durations are in seconds, sizes in bytes.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for own in ALL {
        let labels: Vec<String> = own.labels.iter().map(|it| format!("`{it}`")).collect();
        let labels = labels.join(", ");
        let _ = writeln!(
            page,
            "| `{}` | {} | {labels} | {} |",
            own.name, own.kind, own.help
        );
    }
    page.push_str(
        "\n## Metrics of TorchServe\n\n`GET /metrics` shows TorchServe's own metrics under their \
         names, as far as `metrics_mode` says: all with `prometheus`, three with `legacy`, none \
         with `log`. They and those of handlers are configured with `metrics_config`.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::super::gpu::Device;
    use super::*;

    #[test]
    fn every_metric_that_is_defined_is_shown_with_its_labels() {
        let metrics = Metrics::disabled();
        let model = metrics.model("m", "1");
        let figures = ModelFigures {
            metrics: model,
            queue: (0, 1),
            oldest: None,
            memory: (0, 1),
            workers: vec![WorkerFigures {
                id: 9000,
                state: "READY",
                resident_bytes: 1,
                proportional_bytes: Some(1),
            }],
        };
        metrics.record_devices(vec![Device {
            index: 0,
            busy: 0.5,
            used_bytes: 1,
            total_bytes: 2,
        }]);
        let mut page = Page::default();
        metrics.render_own(&mut page, &[figures]);
        let text = page.finish();
        for own in ALL {
            let sample = text
                .lines()
                .find(|line| {
                    line.starts_with(&format!("{}{{", own.name))
                        || line.starts_with(&format!("{} ", own.name))
                        || line.starts_with(&format!("{}_bucket{{", own.name))
                })
                .unwrap_or_else(|| panic!("no sample of {}", own.name));
            for label in own.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample}");
            }
        }
    }

    #[test]
    fn the_reference_is_what_is_defined() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/metrics.md"
        );
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == reference(),
            "UPDATE_REFERENCE=1 renews docs/reference/metrics.md"
        );
    }
}
