//! The rules of the server, once for all protocols.
//!
//! Adapters resolve a model, hand over neutral requests and render neutral replies; whether a
//! request is admitted, when it ends and what its error is, is decided here.

mod health;
mod identity;
mod inference;
mod management;
mod memory;
mod metrics;
mod open_inference;
mod platform;
mod served;
mod snapshot;
mod state;
mod token;
mod typed;

pub use self::health::{Health, HealthService, NotReady, Readiness};
pub use self::identity::{Identity, RequestLine};
pub use self::inference::{
    Body, InferenceReply, InferenceRequest, InferenceService, Input, PendingReply, Value,
};
pub use self::management::{
    DescribeRequest, Description, ManagementService, ModelList, RegisterRequest, ScaleRequest,
    StatusReply,
};
pub use self::memory::BodyBlock;
pub use self::metrics::MetricsService;
pub use self::open_inference::{
    Asked, Datatype, InferBody, InferCall, InferError, InferRequest, InferResponse, InputTensor,
    ModelMetadata, OutputTensor, RequestedOutput, ServerMetadata, Strings, Tensor,
};
pub use self::platform::ExecutionParameters;
pub use self::served::ServedModel;
pub use self::snapshot::SnapshotOf;
pub use self::token::{KeyFileError, Rotation, Scope, TokenService};
pub use crate::dispatch::{Begun, Client, ReplyStream, WaitingClient};
pub use crate::worker::Schemas;

use std::sync::Arc;

use tokio::sync::watch;

use self::state::ServerState;
use crate::config::Config;
use crate::model::runtime_dir::RuntimeDir;
use crate::telemetry::Telemetry;
use crate::worker::WorkerEnvironment;

/// Everything a protocol adapter may use.
#[derive(Debug, Clone)]
pub struct Services {
    /// Predictions.
    pub inference: InferenceService,
    /// Registering, scaling, describing, removing models.
    pub management: ManagementService,
    /// Liveness and health.
    pub health: HealthService,
    /// Pages of metrics.
    pub metrics: MetricsService,
    /// Who may.
    pub tokens: TokenService,
    /// The effective configuration.
    pub config: Arc<Config>,
    /// Logs.
    pub telemetry: Telemetry,
    state: Arc<ServerState>,
}

impl Services {
    /// The services of one server.
    pub fn new(
        config: Arc<Config>,
        telemetry: Telemetry,
        runtime_dir: RuntimeDir,
        environment: WorkerEnvironment,
        tokens: TokenService,
    ) -> Self {
        let state = Arc::new(ServerState::new(
            Arc::clone(&config),
            telemetry.clone(),
            runtime_dir,
            environment,
        ));
        Self {
            inference: InferenceService::new(Arc::clone(&state)),
            management: ManagementService::new(Arc::clone(&state)),
            health: HealthService::new(Arc::clone(&state)),
            metrics: MetricsService::new(Arc::clone(&state)),
            tokens,
            config,
            telemetry,
            state,
        }
    }

    /// Lets clients in, or keeps all but probes waiting.
    pub fn set_open(&self, is_open: bool) {
        self.state.is_open.send_replace(is_open);
    }

    /// Whether clients are let in.
    pub fn is_open(&self) -> watch::Receiver<bool> {
        self.state.is_open.subscribe()
    }
}
