//! What a hosting platform may send, and how fast.

use serde::Serialize;

use super::InferenceService;

/// How a batch transform job of `SageMaker` is to use this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ExecutionParameters {
    /// Requests that can run at the same time.
    pub max_concurrent_transforms: u64,
    /// Whether a request may hold several records; as in TorchServe, it may.
    pub batch_strategy: &'static str,
    /// Largest request, MiB.
    #[serde(rename = "MaxPayloadInMB")]
    pub max_payload_in_mb: u64,
}

impl InferenceService {
    /// What the models and limits of this server allow.
    pub fn execution_parameters(&self) -> ExecutionParameters {
        let state = self.state();
        let places = state.registry.models().into_iter().map(|(_, versions)| {
            let model = versions.default_model();
            let (_, most_workers) = model.pool.bounds();
            u64::from(most_workers) * u64::from(model.context().settings.batch_size)
        });
        ExecutionParameters {
            max_concurrent_transforms: places.max().unwrap_or(0).max(1),
            batch_strategy: "MULTI_RECORD",
            max_payload_in_mb: (state.config.max_request_size >> 20).max(1),
        }
    }
}
