//! Registering, scaling, describing and removing models.

mod describe;
mod register;
mod restore;
mod startup;

use std::sync::Arc;

use serde::Serialize;

use super::snapshot::SnapshotOf;
use super::state::ServerState;
use super::{InferenceReply, ServedModel};
use crate::error::Error;
use crate::worker::{LastFailure, StopMode};

/// Most models one page of the list shows.
const MAX_PAGE: usize = 100;

/// Parameters of a registration. `None` means the client did not say.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are those of the API's parameters")]
pub struct RegisterRequest {
    pub url: Option<String>,
    pub model_name: Option<String>,
    pub handler: Option<String>,
    pub runtime: Option<String>,
    pub batch_size: Option<i64>,
    pub max_batch_delay: Option<i64>,
    pub initial_workers: Option<i64>,
    pub synchronous: bool,
    pub response_timeout: Option<i64>,
    pub startup_timeout: Option<i64>,
    pub s3_sse_kms: bool,
    pub checksum: Option<String>,
}

/// Parameters of a scaling operation.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are those of the API's parameters")]
pub struct ScaleRequest {
    pub model: String,
    pub version: Option<String>,
    pub min_worker: Option<i64>,
    pub max_worker: Option<i64>,
    pub synchronous: bool,
}

/// Parameters of a description.
#[derive(Debug, Clone, Default)]
pub struct DescribeRequest {
    /// Model name.
    pub model: String,
    /// Version, `all`, or `None` for the default version.
    pub version: Option<String>,
    /// Whether the handler is asked for its own metadata.
    pub customized: bool,
    /// Headers for the handler, when it is asked.
    pub headers: Vec<(String, String)>,
}

/// The answer of an operation: an HTTP-like status and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReply {
    /// 200, 202 or 206.
    pub code: u16,
    /// The sentence of the status object.
    pub status: String,
}

/// One page of the model list.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ModelList {
    /// Where the next page starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// Models in name order.
    pub models: Vec<ModelListItem>,
}

/// One model of the list.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ModelListItem {
    /// Model name.
    pub model_name: String,
    /// Where its default version came from.
    pub model_url: String,
}

/// A description: the JSON array, and the handler's reply when it was asked for metadata.
#[derive(Debug, Clone)]
pub struct Description {
    /// One element per version described.
    pub json: serde_json::Value,
    /// Status, phrase and headers of the handler's reply; the body is already in `json`.
    pub customized: Option<InferenceReply>,
}

/// Management of registered models.
#[derive(Debug, Clone)]
pub struct ManagementService {
    pub(super) state: Arc<ServerState>,
}

impl ManagementService {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    /// Models come and go over the API only where the operator allows it.
    fn require_model_api(&self) -> Result<(), Error> {
        if self.state.config.enable_model_api {
            Ok(())
        } else {
            Err(Error::MethodNotAllowed)
        }
    }

    /// Changes the number of workers.
    ///
    /// # Errors
    /// Unknown model or version, impossible numbers, or, when the client waits, workers that do
    /// not load.
    pub async fn scale(&self, request: ScaleRequest) -> Result<StatusReply, Error> {
        let version = request.version.as_deref();
        let model = self.state.registry.get(&request.model, version)?;
        let min = request.min_worker.unwrap_or(1);
        let max = request.max_worker.unwrap_or(min);
        let at_least_zero = |value: i64, name: &str| {
            u32::try_from(value)
                .map_err(|_| Error::BadRequest(format!("{name} must be 0 or more, not {value}.")))
        };
        if max < min {
            return Err(Error::BadRequest(
                "max_worker cannot be less than min_worker.".to_owned(),
            ));
        }
        let (min, max) = (
            at_least_zero(min, "min_worker")?,
            at_least_zero(max, "max_worker")?,
        );
        let outcome = model.pool.scale(min, max);
        self.save_snapshot(SnapshotOf::Change).await;
        if !request.synchronous {
            return Ok(accepted());
        }
        outcome.wait().await.map_err(|failure| {
            failed_to_start(&failure, &request.model, version.unwrap_or("null"))
        })?;
        let of_version = version
            .map(|version| format!(", version: {version}"))
            .unwrap_or_default();
        Ok(done(format!(
            "Workers scaled to {min} for model: {}{of_version}",
            request.model
        )))
    }

    /// Removes one version (`None`: the default one). Requests that run or wait are answered
    /// first, for as long as `drain_timeout` allows.
    ///
    /// # Errors
    /// Unknown model or version; the default version while others exist; workers that do not end.
    pub async fn unregister(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<StatusReply, Error> {
        self.require_model_api()?;
        let (_, served) = self.state.registry.remove(model, version)?;
        self.save_snapshot(SnapshotOf::Change).await;
        let limit = self.state.config.unregister_model_timeout;
        if tokio::time::timeout(limit, retire(&served)).await.is_err() {
            served.pool.hurry();
            return Err(Error::OperationTimeout(format!(
                "Timed out while cleaning resources: {model}"
            )));
        }
        served.located.discard().await;
        Ok(done(format!("Model \"{model}\" unregistered")))
    }

    /// Makes a version the default one.
    ///
    /// # Errors
    /// Unknown model or version.
    pub async fn set_default(&self, model: &str, version: &str) -> Result<StatusReply, Error> {
        self.state.registry.set_default(model, version)?;
        self.save_snapshot(SnapshotOf::Change).await;
        Ok(done(format!(
            "Default version successfully updated for model \"{model}\" to \"{version}\""
        )))
    }

    /// One page of models in name order; at most 100, from place `offset` on.
    pub fn list(&self, limit: usize, offset: usize) -> ModelList {
        let page = self
            .state
            .registry
            .page(limit.min(MAX_PAGE), offset, |_| true);
        let models = page.models.into_iter().map(|(name, model)| ModelListItem {
            model_name: name.to_string(),
            model_url: model.url().to_owned(),
        });
        ModelList {
            next_page_token: page.next.map(|next| next.to_string()),
            models: models.collect(),
        }
    }

    /// Removes every model, the requests that run or wait being answered first, unless
    /// [`Self::hurry`] is called meanwhile.
    pub async fn stop(&self) {
        let models = self.state.registry.drain();
        let retiring: Vec<_> = models
            .into_iter()
            .map(|(_, _, model)| {
                let mut hurry = self.state.hurry.subscribe();
                tokio::spawn(async move {
                    let mut retiring = std::pin::pin!(retire(&model));
                    tokio::select! {
                        () = &mut retiring => return,
                        Ok(_) = hurry.wait_for(|hurry| *hurry) => model.pool.hurry(),
                    }
                    retiring.await;
                })
            })
            .collect();
        for model in retiring {
            let _ = model.await;
        }
    }

    /// Ends the workers of a [`Self::stop`] at once.
    pub fn hurry(&self) {
        self.state.hurry.send_replace(true);
    }
}

/// Answers what waits, lets what runs finish, and ends the workers.
async fn retire(model: &ServedModel) {
    let context = model.context();
    // Requests that wait get their turn first, as long as a worker makes headway.
    let deadline = tokio::time::Instant::now() + context.config.drain_timeout;
    while context.dispatcher.waiting() > 0
        && model.pool.is_serving()
        && !model.pool.is_hurried()
        && tokio::time::Instant::now() < deadline
    {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    context.dispatcher.close(Error::Unavailable(format!(
        "Model \"{}\" is being removed; the request was not run.",
        model.name()
    )));
    model.pool.stop(StopMode::Drain).await;
}

/// What a client that waits is told when workers do not load.
fn failed_to_start(failure: &LastFailure, model: &str, version: &str) -> Error {
    Error::Worker {
        status: failure.status,
        message: format!("Failed to start workers for model {model} version: {version}"),
    }
}

fn done(status: String) -> StatusReply {
    StatusReply { code: 200, status }
}

fn accepted() -> StatusReply {
    StatusReply {
        code: 202,
        status: "Processing worker updates...".to_owned(),
    }
}
