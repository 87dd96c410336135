//! One registered version of a model with its queue, its memory and its workers.

use std::sync::Arc;

use crate::model::archive::UnpackedArchive;
use crate::model::signature::Signature;
use crate::model::store::LocatedArchive;
use crate::worker::{ModelContext, Schemas, WorkerPool};

/// A registered model version that requests can be sent to.
#[derive(Debug)]
pub struct ServedModel {
    /// Where the archive came from.
    pub(super) located: LocatedArchive,
    /// Its workers and what they serve.
    pub(super) pool: Arc<WorkerPool>,
    /// The unpacked archive; its folder goes away with the model.
    pub(super) _archive: UnpackedArchive,
    /// Whether the server loaded it when it started.
    pub(super) loaded_at_startup: bool,
}

impl ServedModel {
    /// Registered name.
    pub fn name(&self) -> &str {
        &self.context().name
    }

    /// Registered version.
    pub fn version(&self) -> &str {
        &self.context().version
    }

    /// Where the archive came from, as it was registered.
    pub fn url(&self) -> &str {
        self.located.url()
    }

    /// What its handler's type hints say, once a worker has loaded it.
    pub fn schemas(&self) -> Option<&Schemas> {
        self.context().schemas.get()
    }

    /// The tensors that its archive declares.
    pub fn signature(&self) -> &Signature {
        &self.context().settings.signature
    }

    /// What its workers serve.
    pub(super) fn context(&self) -> &ModelContext {
        self.pool.context()
    }
}
