//! Health as TorchServe's `/ping` defines it.

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
    _private: (),
}

impl HealthService {
    /// Health over the default versions of all models.
    pub fn ping(&self) -> Health {
        todo!()
    }

    /// KServe v1 readiness: whether the default version has a worker.
    ///
    /// # Errors
    /// [`crate::error::Error::ModelNotFound`].
    pub fn model_has_workers(&self, _model: &str) -> Result<bool, crate::error::Error> {
        todo!()
    }
}
