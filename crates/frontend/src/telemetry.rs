//! Server, access and model logs in TorchServe's files and line formats.

mod access;
mod model_log;

use std::sync::Arc;

pub use self::access::{AccessLine, AccessLog};
pub use self::model_log::{ModelLog, Stream};

/// Handles to the logs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// `access_log.log`.
    pub access: Arc<AccessLog>,
    /// `model_log.log`.
    pub model: Arc<ModelLog>,
}
