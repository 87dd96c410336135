//! One registered version of a model with its queue and its workers.

/// A registered model version that requests can be sent to.
#[derive(Debug)]
pub struct ServedModel {
    /// Registered name.
    pub name: String,
    /// Registered version.
    pub version: String,
}
