//! Health as TorchServe's `/ping` defines it.

use std::sync::Arc;

use super::state::ServerState;
use crate::error::Error;

/// What `/ping` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every default version has its minimum of workers that have not been given up.
    Healthy,
    /// Some model has not.
    Unhealthy,
}

/// Health of the server and its models.
#[derive(Debug, Clone)]
pub struct HealthService {
    state: Arc<ServerState>,
}

impl HealthService {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    /// Health over the default versions of all models. A worker that is loading or waits for its
    /// restart counts as healthy, as in the original; one that was given up does not.
    pub fn ping(&self) -> Health {
        let all_healthy = self
            .state
            .registry
            .models()
            .into_iter()
            .all(|(_, versions)| {
                let model = versions.default_model();
                let (min, _) = model.pool.bounds();
                model.pool.healthy() >= min as usize
            });
        if all_healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        }
    }

    /// KServe v1 readiness: whether the default version has a worker.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`].
    pub fn model_has_workers(&self, model: &str) -> Result<bool, Error> {
        Ok(self.state.registry.get(model, None)?.pool.count() > 0)
    }
}
