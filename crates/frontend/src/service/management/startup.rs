//! Models that are loaded when the server starts.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ManagementService;
use super::register::{Occasion, Registration};
use crate::config::{StartupModel, StartupModels};
use crate::error::Error;
use crate::model::settings::{RegisterParams, default_workers};
use crate::model::store;
use crate::service::ServedModel;
use crate::service::state::StartupOutcome;

/// Least number of archives that are fetched and unpacked at once.
const LEAST_SIDE_BY_SIDE: usize = 4;

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
        let outcomes = self.load_side_by_side(wanted).await;
        let _ = self.state.startup_models.set(outcomes);
    }

    /// Registers models, some at a time; one that takes long or fails holds up nobody. Their order
    /// counts all the same: of versions of one model the first is the default one.
    async fn load_side_by_side(&self, wanted: Vec<StartupModel>) -> Vec<StartupOutcome> {
        let mut outcomes: Vec<_> = wanted.iter().map(interrupted).collect();
        let mut loading = JoinSet::new();
        let turns = Arc::new(Semaphore::new(side_by_side()));
        for (place, model) in wanted.into_iter().enumerate() {
            let (service, turns) = (self.clone(), Arc::clone(&turns));
            loading.spawn(async move {
                let _turn = turns.acquire().await;
                (place, service.load_at_startup(&model).await)
            });
        }
        let mut first_of = HashMap::new();
        while let Some(done) = loading.join_next().await {
            let Ok((place, loaded)) = done else { continue };
            let outcome = &mut outcomes[place];
            match loaded {
                Ok(model) => {
                    model.name().clone_into(&mut outcome.name);
                    outcome.failure = None;
                    let first = first_of.entry(model.name().to_owned()).or_insert(place);
                    if *first > place {
                        *first = place;
                        // Removed meanwhile: then there is nothing to be the default.
                        let registry = &self.state.registry;
                        let _ = registry.set_default(model.name(), model.version());
                    }
                }
                Err(error) => outcome.failure = Some(error.to_string()),
            }
        }
        outcomes
    }

    async fn load_at_startup(&self, model: &StartupModel) -> Result<Arc<ServedModel>, Error> {
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
            .await
            .inspect_err(|error| {
                tracing::warn!(location = model.location, %error, "Failed to load model: {}", model.location);
            })?;
        let (min, max) = self.startup_workers(&added);
        // Loading goes on in the background; describe and health tell how it went.
        let patience = self.state.config.drain_timeout;
        drop(added.pool.scale(min, max, patience));
        Ok(added)
    }

    /// What the archive or the `models` property says, then the configured number, then one per
    /// GPU, then one per CPU.
    fn startup_workers(&self, model: &ServedModel) -> (u32, u32) {
        if let Some(pair) = model.context().settings.workers {
            return pair;
        }
        let workers = default_workers(&self.state.config);
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

/// What is known of a model until its registration has ended.
fn interrupted(model: &StartupModel) -> StartupOutcome {
    let derived = || store::derived_name(&model.location);
    StartupOutcome {
        name: model.name.clone().unwrap_or_else(derived),
        failure: Some("its registration was interrupted".to_owned()),
        is_restored: false,
    }
}

/// How many archives are fetched and unpacked at once: as many as there are processors, but
/// enough that a few slow downloads leave room.
pub(super) fn side_by_side() -> usize {
    std::thread::available_parallelism().map_or(LEAST_SIDE_BY_SIDE, |cpus| {
        cpus.get().max(LEAST_SIDE_BY_SIDE)
    })
}
