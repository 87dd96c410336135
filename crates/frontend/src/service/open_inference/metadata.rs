//! What the server and its models say of themselves.

use serde::Serialize;

use super::super::HealthService;
use super::super::InferenceService;
use crate::error::Error;
use crate::model::signature::Tensor;

/// Extensions of the protocol that are served.
const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

/// The server.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ServerMetadata {
    /// Its name, as clients of the original know it.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What the original says instead of `extensions`.
    pub extenstion: [&'static str; 2],
    /// Extensions of the protocol.
    pub extensions: [&'static str; 1],
}

/// One model.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ModelMetadata {
    /// Registered name.
    pub name: String,
    /// Its versions, in order.
    pub versions: Vec<String>,
    /// Framework and format; empty unless the archive declares it, as a handler may load anything.
    pub platform: String,
    /// Inputs, where the archive declares them.
    pub inputs: Vec<Tensor>,
    /// Outputs, where the archive declares them.
    pub outputs: Vec<Tensor>,
}

impl InferenceService {
    /// Name, version and extensions of the server.
    pub fn server_metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: "Torchserve",
            version: env!("CARGO_PKG_VERSION"),
            extenstion: ["kserve", "kubeflow"],
            extensions: EXTENSIONS,
        }
    }

    /// Versions of a model, or only the one that is named.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::VersionNotFound`].
    pub fn model_metadata(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<ModelMetadata, Error> {
        let served = self.lookup(model, version)?;
        let versions = match version {
            Some(_) => vec![served.version().to_owned()],
            None => self.versions(model)?,
        };
        let signature = served.signature().clone();
        Ok(ModelMetadata {
            name: served.name().to_owned(),
            versions,
            platform: signature.platform,
            inputs: signature.inputs,
            outputs: signature.outputs,
        })
    }
}

impl HealthService {
    /// Whether a version, or the default one, has its minimum of loaded workers, and at least one.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::VersionNotFound`].
    pub fn is_model_ready(&self, model: &str, version: Option<&str>) -> Result<bool, Error> {
        match version {
            None => Ok(self.model_readiness(model)?.is_ready()),
            Some(_) => self.version_is_ready(model, version),
        }
    }
}
