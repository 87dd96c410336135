//! Every error a client can meet: its HTTP status, its wire name and its text, in one place.
//!
//! Wire names are the simple class names that TorchServe's clients match on; statuses and texts
//! follow the compatibility reference. Protocol adapters turn an [`Error`] into their own form and
//! add nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What kind of failure an error is: the only thing that protocols map to their own codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request is malformed or names an impossible value.
    BadRequest,
    /// The operation is understood and refused.
    Forbidden,
    /// The model, version or route does not exist.
    NotFound,
    /// The method is not defined for the route, or the operation is switched off.
    MethodNotAllowed,
    /// A management operation did not finish in time.
    Timeout,
    /// The client's own limit passed before there was an answer.
    DeadlineExceeded,
    /// The version exists already.
    Conflict,
    /// No place in the queue, or no worker.
    Unavailable,
    /// A worker or its machine ran out of memory.
    OutOfResources,
    /// The handler or its worker failed; the status is the worker's own.
    Worker(u16),
    /// The server failed.
    Internal,
}

/// Who has to act for the error to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client: another request may succeed.
    Client,
    /// The model's handler or its worker.
    Worker,
    /// The server or its operator.
    Server,
}

impl Code {
    /// The HTTP status of this code.
    pub fn http(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::DeadlineExceeded => 504,
            Self::Conflict => 409,
            Self::Unavailable => 503,
            // 413 would tell a client that its request was too large, which it was not.
            Self::Worker(413) | Self::OutOfResources => 507,
            Self::Worker(status) => status,
            Self::Internal => 500,
        }
    }

    /// Who has to act.
    pub fn blame(self) -> Blame {
        match self {
            Self::BadRequest
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict => Blame::Client,
            Self::Worker(_) | Self::OutOfResources => Blame::Worker,
            Self::Timeout | Self::DeadlineExceeded | Self::Unavailable | Self::Internal => {
                Blame::Server
            }
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::OutOfResources
        )
    }
}

/// An exception of a handler, trimmed to the frames of its author. All of it is the worker's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Type.
    pub exception: String,
    /// Text.
    pub message: String,
    /// Traceback.
    pub traceback: String,
}

/// A failure that is reported to a client.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum Error {
    /// No route matches.
    #[error("Requested resource is not found, please refer to API document.")]
    ResourceNotFound,
    /// The route exists, the method does not.
    #[error("Requested method is not allowed, please refer to API document.")]
    MethodNotAllowed,
    /// A parameter is missing or has an impossible value, or the HTTP message is malformed.
    #[error("{0}")]
    BadRequest(String),
    /// The model, or the archive that was to become one, cannot be found.
    #[error("{0}")]
    ModelNotFound(String),
    /// The model exists, the version does not.
    #[error("{0}")]
    VersionNotFound(String),
    /// The archive is not a usable model.
    #[error("{0}")]
    InvalidModel(String),
    /// Preparing the model's environment failed.
    #[error("{0}")]
    ModelPreparation(String),
    /// The archive could not be fetched.
    #[error("{0}")]
    Download(String),
    /// The version is registered already.
    #[error("{0}")]
    Conflict(String),
    /// The default version cannot be removed while others exist.
    #[error("{0}")]
    DefaultVersion(String),
    /// A token is missing, wrong or expired.
    #[error("{0}")]
    InvalidKey(String),
    /// A value that the URL syntax forbids.
    #[error("{0}")]
    IllegalArgument(String),
    /// A form body that does not decode.
    #[error("{0}")]
    FormData(String),
    /// A JSON request body that does not decode.
    #[error("{0}")]
    JsonSyntax(String),
    /// A management operation did not finish in time.
    #[error("{0}")]
    OperationTimeout(String),
    /// No answer within the model's `clientTimeoutInMills`, queueing included.
    #[error("{0}")]
    ClientTimeout(String),
    /// No worker, or no place in the queue.
    #[error("{0}")]
    Unavailable(String),
    /// The worker answered with a failure, or could not answer.
    #[error("{message}")]
    Worker {
        /// Status as the worker chose it, or 500/507 when it died.
        status: u16,
        /// Text for the client.
        message: String,
    },
    /// The handler raised, and its exception is to be told.
    #[error("{message}")]
    Raised {
        /// Status as the worker chose it.
        status: u16,
        /// Text for the client.
        message: String,
        /// The exception.
        detail: Arc<ErrorDetail>,
    },
    /// Workers cannot be started as configured.
    #[error("{0}")]
    WorkerInitialization(String),
    /// The server failed.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The kind of failure.
    pub fn code(&self) -> Code {
        match self {
            Self::BadRequest(_)
            | Self::InvalidModel(_)
            | Self::ModelPreparation(_)
            | Self::Download(_)
            | Self::InvalidKey(_) => Code::BadRequest,
            Self::DefaultVersion(_) | Self::IllegalArgument(_) => Code::Forbidden,
            Self::ResourceNotFound | Self::ModelNotFound(_) | Self::VersionNotFound(_) => {
                Code::NotFound
            }
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::OperationTimeout(_) => Code::Timeout,
            Self::ClientTimeout(_) => Code::DeadlineExceeded,
            Self::Conflict(_) => Code::Conflict,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Worker { status, .. } | Self::Raised { status, .. } => Code::Worker(*status),
            Self::FormData(_)
            | Self::JsonSyntax(_)
            | Self::WorkerInitialization(_)
            | Self::Internal(_) => Code::Internal,
        }
    }

    /// The `type` of the JSON error object.
    pub fn wire_name(&self) -> &'static str {
        match self {
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::MethodNotAllowed => "MethodNotAllowedException",
            Self::BadRequest(_) => "BadRequestException",
            Self::ModelNotFound(_) => "ModelNotFoundException",
            Self::VersionNotFound(_) => "ModelVersionNotFoundException",
            Self::InvalidModel(_) => "InvalidModelException",
            Self::ModelPreparation(_) => "ModelException",
            Self::Download(_) => "DownloadArchiveException",
            Self::Conflict(_) => "ConflictStatusException",
            Self::DefaultVersion(_) => "InvalidModelVersionException",
            Self::InvalidKey(_) => "InvalidKeyException",
            Self::IllegalArgument(_) => "IllegalArgumentException",
            Self::FormData(_) => "ErrorDataDecoderException",
            Self::JsonSyntax(_) => "JsonSyntaxException",
            Self::OperationTimeout(_) | Self::ClientTimeout(_) => "RequestTimeoutException",
            Self::Unavailable(_) => "ServiceUnavailableException",
            Self::WorkerInitialization(_) => "WorkerInitializationException",
            Self::Worker { .. } | Self::Raised { .. } | Self::Internal(_) => {
                "InternalServerException"
            }
        }
    }

    /// What the handler raised, if it did and clients may know.
    pub fn detail(&self) -> Option<&ErrorDetail> {
        match self {
            Self::Raised { detail, .. } => Some(detail),
            _ => None,
        }
    }

    /// The error every request of a batch gets whose worker died before it answered.
    pub fn worker_died(status: u16) -> Self {
        Self::Worker {
            status,
            message: "Worker died.".to_owned(),
        }
    }

    /// A model that is not registered.
    pub fn unknown_model(name: &str) -> Self {
        Self::ModelNotFound(format!("Model not found: {name}"))
    }

    /// A version that is not registered.
    pub fn unknown_version(name: &str, version: &str) -> Self {
        Self::VersionNotFound(format!(
            "Model version: {version} does not exist for model: {name}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_status_413_is_reported_as_507() {
        assert_eq!(Error::worker_died(413).code().http(), 507);
        assert_eq!(Error::worker_died(500).code().http(), 500);
    }

    #[test]
    fn handler_failures_and_overload_differ_in_type_at_the_same_status() {
        let handler = Error::Worker {
            status: 503,
            message: "Prediction failed".into(),
        };
        let overload = Error::Unavailable("no worker".into());
        assert_eq!(handler.code().http(), overload.code().http());
        assert_ne!(handler.wire_name(), overload.wire_name());
    }
}
