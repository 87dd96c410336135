//! Models that are loaded when the server starts.

use super::ManagementService;
use super::register::{Occasion, Registration};
use crate::config::{StartupModel, StartupModels};
use crate::error::Error;
use crate::model::settings::RegisterParams;
use crate::model::store;
use crate::service::ServedModel;
use crate::service::state::StartupOutcome;

impl ManagementService {
    /// Registers the models of `load_models` and starts their workers, without waiting for them
    /// to load. What cannot be registered is reported and left out, and keeps the server unready.
    pub async fn load_startup_models(&self) {
        self.state.store.sweep();
        let wanted = match &self.state.config.startup_models {
            StartupModels::Restored(snapshot) => {
                let outcomes = self.restore(snapshot).await;
                let _ = self.state.startup_models.set(outcomes);
                return;
            }
            StartupModels::None => Vec::new(),
            StartupModels::List(models) => models.clone(),
            StartupModels::All => self.models_in_store().await,
        };
        let mut outcomes = Vec::with_capacity(wanted.len());
        for model in wanted {
            match self.load_at_startup(&model).await {
                Ok(name) => outcomes.push(StartupOutcome {
                    name,
                    failure: None,
                    is_restored: false,
                }),
                Err(error) => {
                    tracing::warn!(location = model.location, %error, "Failed to load model: {}", model.location);
                    let derived = || store::derived_name(&model.location);
                    outcomes.push(StartupOutcome {
                        name: model.name.clone().unwrap_or_else(derived),
                        failure: Some(error.to_string()),
                        is_restored: false,
                    });
                }
            }
        }
        let _ = self.state.startup_models.set(outcomes);
    }

    async fn load_at_startup(&self, model: &StartupModel) -> Result<String, Error> {
        let fallback_name = store::derived_name(&model.location);
        let added = self
            .add(Registration {
                url: &model.location,
                checksum: None,
                s3_sse_kms: false,
                requested_name: model.name.as_deref(),
                fallback_name: Some(&fallback_name),
                params: RegisterParams::default(),
                occasion: Occasion::Startup,
            })
            .await?;
        let (min, max) = self.startup_workers(&added);
        // Loading goes on in the background; describe and health tell how it went.
        drop(added.pool.scale(min, max));
        Ok(added.name().to_owned())
    }

    /// What the archive or the `models` property says, then the configured number, then one per
    /// GPU, then one per CPU.
    fn startup_workers(&self, model: &ServedModel) -> (u32, u32) {
        if let Some(pair) = model.context().settings.workers {
            return pair;
        }
        let workers = match (
            self.state.config.default_workers_per_model,
            self.state.devices.count(),
        ) {
            (0, 0) => std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
            (0, gpus) => gpus,
            (workers, _) => workers,
        };
        (workers, workers)
    }

    /// Everything in the model store that looks like a model, in name order.
    async fn models_in_store(&self) -> Vec<StartupModel> {
        let names = self.state.store.archives().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the model store");
            Vec::new()
        });
        names
            .into_iter()
            .map(|location| StartupModel {
                name: None,
                location,
            })
            .collect()
    }
}
