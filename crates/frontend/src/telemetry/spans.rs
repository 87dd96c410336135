//! Spans of requests, sent to an OpenTelemetry collector where one is configured.
//!
//! The context of a request comes from `traceparent` and `tracestate` as the W3C has them; sampling,
//! batching and sending are the SDK's, and so is the meaning of the `OTEL_*` variables. Spans end
//! after the answer is on its way, and one that finds too many others waiting is dropped and counted.

mod gate;
mod request;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use thiserror::Error;

pub use self::gate::SpanLosses;
pub use self::request::{Asked, RequestSpan, Sampled};
pub use self::trace::Trace;

use self::gate::Gate;

/// Where spans go when nothing else is said, as the variables of the standard have it.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// How they get there.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// Path of a collector's HTTP endpoint for spans.
const TRACES: &str = "v1/traces";

/// Longest wait for the last spans when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there are no spans although somebody wants them.
#[derive(Debug, Error)]
#[error("spans cannot be sent: {0}")]
pub struct SpansError(#[from] ExporterBuildError);

/// Makes the spans of requests.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// Spans that were lost.
    losses: Arc<SpanLosses>,
}

impl Spans {
    /// Prepares for sending where `endpoint` or the environment name a collector. To be called on
    /// the runtime, which gRPC connections are made on.
    ///
    /// # Errors
    /// What is configured makes no sense.
    pub fn start(
        endpoint: Option<&str>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SpansError> {
        let said = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let is_disabled = said("OTEL_SDK_DISABLED")
            .is_some_and(|it| it.eq_ignore_ascii_case("true"))
            || said("OTEL_TRACES_EXPORTER").is_some_and(|it| it.eq_ignore_ascii_case("none"));
        let is_named = endpoint.is_some() || ENDPOINTS.iter().any(|name| said(name).is_some());
        if is_disabled || !is_named {
            return Ok(None);
        }
        let is_grpc = PROTOCOLS
            .iter()
            .find_map(|name| said(name))
            .is_some_and(|protocol| protocol.trim() == "grpc");
        let exporter = match endpoint {
            None => SpanExporter::builder().build()?,
            Some(endpoint) if is_grpc => {
                let builder = SpanExporter::builder().with_tonic();
                builder.with_endpoint(endpoint).build()?
            }
            Some(endpoint) => {
                let builder = SpanExporter::builder().with_http();
                builder.with_endpoint(traces_url(endpoint)).build()?
            }
        };
        let has_name = said("OTEL_SERVICE_NAME").is_some()
            || said("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|it| it.contains("service.name="));
        let mut resource = Resource::builder();
        if !has_name {
            resource = resource.with_service_name("tserve");
        }
        let (gate, losses) = Gate::before(exporter, &said);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(gate)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self {
            tracer: provider.tracer("tserve"),
            provider,
            losses,
        }))
    }

    /// Spans that were lost since the server started.
    pub fn losses(&self) -> Arc<SpanLosses> {
        Arc::clone(&self.losses)
    }

    /// Sends what is left, for as long as a server that ends has time for it. Blocks.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FAREWELL) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The endpoint of a collector with the path of spans, if it has no path of its own.
fn traces_url(endpoint: &str) -> String {
    let after_scheme = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    match after_scheme.split_once('/') {
        Some((_, path)) if !path.is_empty() => endpoint.to_owned(),
        _ => format!("{}/{TRACES}", endpoint.trim_end_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        let none = |_: &str| None;
        assert!(Spans::start(None, &none).unwrap().is_none());
        let disabled = |name: &str| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned());
        let found = Spans::start(Some("http://127.0.0.1:1"), &disabled).unwrap();
        assert!(found.is_none());
    }

    #[test]
    fn the_path_of_spans_is_added_to_a_bare_address() {
        for (endpoint, url) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("http://c/own/path", "http://c/own/path"),
        ] {
            assert_eq!(traces_url(endpoint), url);
        }
    }
}
