//! Registering, scaling, describing and removing models.

use serde::Serialize;

use super::InferenceReply;
use crate::error::Error;

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
    _private: (),
}

impl ManagementService {
    /// Registers one version of a model and starts its initial workers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn register(&self, _request: RegisterRequest) -> Result<StatusReply, Error> {
        todo!()
    }

    /// Changes the number of workers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn scale(&self, _request: ScaleRequest) -> Result<StatusReply, Error> {
        todo!()
    }

    /// Removes one version (`None`: the default one).
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn unregister(
        &self,
        _model: &str,
        _version: Option<&str>,
    ) -> Result<StatusReply, Error> {
        todo!()
    }

    /// Makes a version the default one.
    pub fn set_default(&self, _model: &str, _version: &str) -> Result<StatusReply, Error> {
        todo!()
    }

    /// One page of models in name order; `limit` 0..=100, `offset` from 0.
    pub fn list(&self, _limit: usize, _offset: usize) -> ModelList {
        todo!()
    }

    /// Describes one version, the default one, or all.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn describe(&self, _request: DescribeRequest) -> Result<Description, Error> {
        todo!()
    }
}
