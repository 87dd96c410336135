//! Models of a snapshot: registered again as they were served when it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ManagementService;
use super::register::{Occasion, Registration};
use super::startup::side_by_side;
use crate::config::{ModelSnapshot, VersionSnapshot};
use crate::error::Error;
use crate::model::settings::RegisterParams;
use crate::service::ServedModel;
use crate::service::state::StartupOutcome;

impl ManagementService {
    /// Registers every model of a snapshot and starts its workers, without waiting for them to
    /// load. What cannot be registered is reported and left out.
    pub(super) async fn restore(&self, snapshot: &ModelSnapshot) -> Vec<StartupOutcome> {
        let mut outcomes = Vec::new();
        let mut restoring = JoinSet::new();
        let turns = Arc::new(Semaphore::new(side_by_side()));
        for (name, versions) in snapshot.models.clone() {
            let (service, turns) = (self.clone(), Arc::clone(&turns));
            restoring.spawn(async move {
                let _turn = turns.acquire().await;
                service.restore_model(&name, &versions).await
            });
        }
        while let Some(restored) = restoring.join_next().await {
            outcomes.extend(restored.unwrap_or_default());
        }
        let failed = outcomes.iter().filter(|it| it.failure.is_some()).count();
        let count = outcomes.len() - failed;
        tracing::info!(
            snapshot = snapshot.name,
            count,
            failed,
            "models restored from a snapshot"
        );
        outcomes
    }

    async fn restore_model(
        &self,
        name: &str,
        versions: &BTreeMap<String, VersionSnapshot>,
    ) -> Vec<StartupOutcome> {
        let mut outcomes = Vec::new();
        for (version, saved) in versions {
            let restored = self.restore_version(name, saved).await;
            let failure = match &restored {
                Ok(model) if model.version() != version => {
                    tracing::warn!(
                        "the snapshot has version {version} of model {name}, but {} holds version {}",
                        saved.mar_name,
                        model.version()
                    );
                    None
                }
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "Failed to restore model: {name}, version: {version}");
                    Some(error.to_string())
                }
            };
            if let Ok(model) = &restored
                && saved.default_version
                && let Err(error) = self.state.registry.set_default(name, model.version())
            {
                tracing::warn!(%error, "the default version of model {name} is not restored");
            }
            outcomes.push(StartupOutcome {
                name: name.to_owned(),
                failure,
                is_restored: true,
            });
        }
        outcomes
    }

    async fn restore_version(
        &self,
        name: &str,
        saved: &VersionSnapshot,
    ) -> Result<Arc<ServedModel>, Error> {
        let added = self
            .add(Registration {
                url: &saved.mar_name,
                checksum: None,
                s3_sse_kms: false,
                requested_name: Some(name),
                fallback_name: None,
                params: RegisterParams::saved(saved)?,
                occasion: Occasion::Restore,
            })
            .await?;
        let patience = self.state.config.drain_timeout;
        let (min, max) = (saved.min_workers, saved.max_workers);
        drop(added.pool.scale(min, max, patience));
        Ok(added)
    }
}
