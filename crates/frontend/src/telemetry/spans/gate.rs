//! How many spans may wait to be sent: beyond that they are dropped and counted, whatever the
//! collector does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

/// Spans that may wait, where `OTEL_BSP_MAX_QUEUE_SIZE` does not say otherwise; the SDK's own default.
const QUEUE: usize = 2048;

/// Spans that were lost; only ever grows.
#[derive(Debug, Default)]
pub struct SpanLosses {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    unsent: AtomicU64,
}

impl SpanLosses {
    /// Dropped because too many others were waiting.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Refused by the collector, or sent to one that was not there.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }
}

/// Stands before the SDK's processor.
#[derive(Debug)]
pub(super) struct Gate {
    behind: BatchSpanProcessor,
    losses: Arc<SpanLosses>,
    most: usize,
}

impl Gate {
    /// A gate, and the processor and exporter behind it.
    pub(super) fn before(
        exporter: impl SpanExporter + 'static,
        said: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Arc<SpanLosses>) {
        let losses = Arc::new(SpanLosses::default());
        let most = said("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|text| text.trim().parse().ok());
        let counted = Counted {
            exporter,
            losses: Arc::clone(&losses),
        };
        let gate = Self {
            behind: BatchSpanProcessor::builder(counted).build(),
            losses: Arc::clone(&losses),
            most: most.unwrap_or(QUEUE),
        };
        (gate, losses)
    }
}

impl SpanProcessor for Gate {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.behind.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let before = self.losses.waiting.fetch_add(1, Ordering::Relaxed);
        if before < self.most {
            self.behind.on_end(span);
        } else {
            self.losses.waiting.fetch_sub(1, Ordering::Relaxed);
            self.losses.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.behind.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.behind.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.behind.set_resource(resource);
    }
}

/// Counts what leaves, and what does not arrive.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    losses: Arc<SpanLosses>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.losses.waiting.fetch_sub(spans, Ordering::Relaxed);
        if let Err(error) = &outcome {
            let before = self
                .losses
                .unsent
                .fetch_add(spans as u64, Ordering::Relaxed);
            // The log counts what is repeated.
            tracing::warn!(%error, "spans were not taken by the collector");
            tracing::debug!(spans, before, "spans were lost");
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
