//! Registering, scaling, describing and removing models.

mod describe;
mod register;
mod restore;
mod startup;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::snapshot::SnapshotOf;
use super::state::ServerState;
use super::{InferenceReply, ServedModel};
use crate::error::Error;
use crate::worker::{LastFailure, Scaled};

/// Most models one page of the list shows.
const MAX_PAGE: usize = 100;

/// Most workers a client may ask for. Each is a process; a slip of the finger must not take the
/// machine down.
const MAX_WORKERS: u32 = 1024;

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
    /// Seconds that workers which stop may take for what they run; see [`patience`].
    pub timeout: Option<i64>,
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
    /// Whether the last failures are listed.
    pub failures: bool,
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

    /// Changes the number of workers. It goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// Unknown model or version, impossible numbers, or, when the client waits, workers that do
    /// not load; the model then has the workers it had before.
    pub async fn scale(&self, request: ScaleRequest) -> Result<StatusReply, Error> {
        let service = self.clone();
        uninterrupted(async move { service.scale_now(&request).await }).await
    }

    async fn scale_now(&self, request: &ScaleRequest) -> Result<StatusReply, Error> {
        let version = request.version.as_deref();
        let model = self.state.registry.get(&request.model, version)?;
        let min = request.min_worker.unwrap_or(1);
        let max = request.max_worker.unwrap_or(min);
        if max < min {
            return Err(Error::BadRequest(
                "max_worker cannot be less than min_worker.".to_owned(),
            ));
        }
        let (min, max) = (
            worker_count("min_worker", min)?,
            worker_count("max_worker", max)?,
        );
        let patience = self.patience(request.timeout);
        let removed = || Error::unknown_model(&request.model);
        let outcome = model.pool.scale(min, max, patience).ok_or_else(removed)?;
        self.save_snapshot(SnapshotOf::Change).await;
        if !request.synchronous {
            return Ok(accepted());
        }
        let undo = outcome.undo();
        match outcome.wait().await {
            Ok(Scaled::Done) => {}
            Ok(Scaled::Overtaken) if model.pool.is_closed() => {
                return Err(removed_meanwhile(&request.model, model.version()));
            }
            Ok(Scaled::Overtaken) => return Ok(in_progress()),
            Err(failure) => {
                model.pool.undo(undo, patience).await;
                self.save_snapshot(SnapshotOf::Change).await;
                let version = version.unwrap_or("null");
                return Err(failed_to_start(&failure, &request.model, version));
            }
        }
        let of_version = version
            .map(|version| format!(", version: {version}"))
            .unwrap_or_default();
        Ok(done(format!(
            "Workers scaled to {min} for model: {}{of_version}",
            request.model
        )))
    }

    /// Removes one version (`None`: the default one). Requests that run or wait are answered
    /// first, for as long as `timeout` seconds or `drain_timeout` allow. It goes on when nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// Unknown model or version; the default version while others exist; workers that do not end.
    pub async fn unregister(
        &self,
        model: &str,
        version: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<StatusReply, Error> {
        self.require_model_api()?;
        let (_, served) = self.state.registry.remove(model, version)?;
        let pool = Arc::clone(&served.pool);
        let (service, patience) = (self.clone(), self.patience(timeout));
        let removing = tokio::spawn(async move {
            service.save_snapshot(SnapshotOf::Change).await;
            remove(served, patience).await;
        });
        let limit = self.state.config.unregister_model_timeout;
        if tokio::time::timeout(limit, removing).await.is_err() {
            pool.hurry();
            return Err(Error::OperationTimeout(format!(
                "Timed out while cleaning resources: {model}"
            )));
        }
        Ok(done(format!("Model \"{model}\" unregistered")))
    }

    /// How long workers may take for what they run and what waits: what the client says in
    /// seconds, or `drain_timeout` when it says nothing, or -1.
    fn patience(&self, timeout: Option<i64>) -> Duration {
        let said = timeout.and_then(|seconds| u64::try_from(seconds).ok());
        said.map_or(self.state.config.drain_timeout, Duration::from_secs)
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
    /// [`Self::hurry`] is called meanwhile. No model comes after it.
    pub async fn stop(&self) {
        let patience = self.state.config.drain_timeout;
        let models = self.state.registry.close();
        let retiring: Vec<_> = models
            .into_iter()
            .map(|(_, _, model)| {
                let mut hurry = self.state.hurry.subscribe();
                tokio::spawn(async move {
                    let mut retiring = std::pin::pin!(retire(&model, patience));
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

    /// Ends the workers of a [`Self::stop`] at once, or of one that comes later.
    pub fn hurry(&self) {
        self.state.hurry.send_replace(true);
    }

    /// Resolves when [`Self::hurry`] has been called.
    pub async fn hurried(&self) {
        let _ = self.state.hurry.subscribe().wait_for(|hurry| *hurry).await;
    }
}

/// Runs an operation to its end, whether or not somebody still waits for it: a client that hangs
/// up must not leave one half done.
async fn uninterrupted<T: Send + 'static>(
    operation: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let outcome = tokio::spawn(operation).await;
    outcome.unwrap_or_else(|error| Err(Error::Internal(format!("The operation failed: {error}"))))
}

/// Answers what waits, lets what runs finish, and ends the workers.
async fn retire(model: &ServedModel, patience: Duration) {
    let error = Error::Unavailable(format!(
        "Model \"{}\" is being removed; the request was not run.",
        model.name()
    ));
    model.pool.stop(patience, error).await;
}

/// Ends a version that is no longer registered, with everything that belongs to it.
async fn remove(model: Arc<ServedModel>, patience: Duration) {
    retire(&model, patience).await;
    model.located.discard().await;
    // Its folder goes with it, which may take a while.
    let _ = tokio::task::spawn_blocking(move || drop(model)).await;
}

fn worker_count(name: &str, value: i64) -> Result<u32, Error> {
    let count = u32::try_from(value).ok().filter(|it| *it <= MAX_WORKERS);
    count.ok_or_else(|| {
        Error::BadRequest(format!(
            "{name} must be between 0 and {MAX_WORKERS}, not {value}."
        ))
    })
}

/// What a client is told whose operation on a model was overtaken by the model's removal.
fn removed_meanwhile(model: &str, version: &str) -> Error {
    Error::Conflict(format!(
        "Model \"{model}\" Version: {version} was unregistered while its workers were loading."
    ))
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

fn in_progress() -> StatusReply {
    StatusReply {
        code: 206,
        status: "Workers scaling in progress...".to_owned(),
    }
}
