//! Health: `/ping` as TorchServe defines it, and what is really ready.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::ServedModel;
use super::state::{ServerState, StartupOutcome};
use crate::config::PingSemantics;
use crate::error::Error;
use crate::worker::{WorkerState, WorkerStatus};

/// What `/ping` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every default version has its minimum of workers that have not been given up.
    Healthy,
    /// Some model has not.
    Unhealthy,
}

/// Whether models are ready, and which are not.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// One or two words.
    pub status: &'static str,
    /// Models that are not ready; empty when all is well.
    pub not_ready: Vec<NotReady>,
}

/// One model that is not ready.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NotReady {
    /// Model name.
    pub model_name: String,
    /// Version; none when no version is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// Workers it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_workers: Option<u32>,
    /// Workers it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_workers: Option<u32>,
    /// What is missing.
    pub reason: String,
    /// Why one of its workers last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Readiness {
    fn new(not_ready: Vec<NotReady>, [good, bad]: [&'static str; 2]) -> Self {
        Self {
            status: if not_ready.is_empty() { good } else { bad },
            not_ready,
        }
    }

    /// Whether all is well.
    pub fn is_ready(&self) -> bool {
        self.not_ready.is_empty()
    }
}

/// Health of the server and its models.
#[derive(Debug, Clone)]
pub struct HealthService {
    state: Arc<ServerState>,
}

/// What makes a worker count.
type Counts = fn(&WorkerStatus) -> bool;

impl HealthService {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    /// Health as `ping_semantics` defines it. In the original's sense it is about the default
    /// versions of all models, and a worker that is loading or waits for its restart counts; one
    /// that was given up does not.
    pub fn ping(&self) -> Health {
        let is_healthy = match self.state.config.ping_semantics {
            PingSemantics::Strict => self.readiness().is_ready(),
            PingSemantics::Compat => self.has_hope(),
        };
        if is_healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        }
    }

    fn has_hope(&self) -> bool {
        self.state
            .registry
            .models()
            .into_iter()
            .all(|(_, versions)| {
                let model = versions.default_model();
                let (min, _) = model.pool.bounds();
                model.pool.healthy() >= min as usize
            })
    }

    /// Whether every model named at start is registered and has its minimum of loaded workers.
    pub fn readiness(&self) -> Readiness {
        Readiness::new(self.unready(WorkerStatus::is_ready), ["ready", "not ready"])
    }

    /// Whether one model is: it has its minimum of loaded workers, and at least one.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`] for a model that is not registered and was not named at start.
    pub fn model_readiness(&self, model: &str) -> Result<Readiness, Error> {
        let mut unready = Vec::new();
        match self.state.registry.get(model, None) {
            Ok(served) => unready.extend(lack(&served, 1, WorkerStatus::is_ready)),
            Err(error) => {
                let unregistered = self.unready(WorkerStatus::is_ready).into_iter();
                unready.extend(unregistered.filter(|entry| entry.model_name == model));
                if unready.is_empty() {
                    return Err(error);
                }
            }
        }
        Ok(Readiness::new(unready, ["ready", "not ready"]))
    }

    /// Whether a version has its minimum of loaded workers, and at least one.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`], [`Error::VersionNotFound`].
    pub(super) fn version_is_ready(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<bool, Error> {
        let served = self.state.registry.get(model, version)?;
        Ok(lack(&served, 1, WorkerStatus::is_ready).is_none())
    }

    /// Whether every model named at start has been ready once; from then on it stays so.
    pub fn startup(&self) -> Readiness {
        let has_started = &self.state.has_started;
        let unready = if has_started.load(Ordering::Relaxed) {
            Vec::new()
        } else {
            self.unready(WorkerStatus::has_been_ready)
        };
        if unready.is_empty() {
            has_started.store(true, Ordering::Relaxed);
        }
        Readiness::new(unready, ["started", "starting"])
    }

    /// KServe v1 readiness: whether the default version has a worker.
    ///
    /// # Errors
    /// [`Error::ModelNotFound`].
    pub fn model_has_workers(&self, model: &str) -> Result<bool, Error> {
        Ok(self.state.registry.get(model, None)?.pool.count() > 0)
    }

    /// The models named at start that are not there or lack workers.
    fn unready(&self, counts: Counts) -> Vec<NotReady> {
        let Some(outcomes) = self.state.startup_models.get() else {
            return vec![missing(
                "",
                "the models named at start are being registered".to_owned(),
            )];
        };
        let mut unready: Vec<NotReady> = Vec::new();
        for outcome in outcomes {
            for entry in self.unready_of(outcome, counts) {
                // Two archives may be versions of one model.
                if !unready.contains(&entry) {
                    unready.push(entry);
                }
            }
        }
        unready
    }

    fn unready_of(&self, outcome: &StartupOutcome, counts: Counts) -> Vec<NotReady> {
        let name = &outcome.name;
        let Ok(versions) = self.state.registry.versions(name) else {
            let reason = outcome.failure.as_deref();
            return vec![unregistered(name, reason.unwrap_or("it was unregistered"))];
        };
        // A registration that failed is made good by a later one of the same name.
        let was_mended = versions.iter().any(|(_, model)| !model.loaded_at_startup);
        if let (Some(reason), false) = (&outcome.failure, was_mended) {
            return vec![unregistered(name, reason)];
        }
        let default = versions.default_model();
        let wanted = versions
            .iter()
            .map(|(_, model)| model)
            .filter(|model| model.loaded_at_startup || Arc::ptr_eq(model, default));
        wanted.filter_map(|model| lack(model, 0, counts)).collect()
    }
}

fn unregistered(name: &str, reason: &str) -> NotReady {
    missing(name, format!("it is not registered: {reason}"))
}

fn missing(name: &str, reason: String) -> NotReady {
    NotReady {
        model_name: name.to_owned(),
        model_version: None,
        min_workers: None,
        loaded_workers: None,
        reason,
        last_error: None,
    }
}

/// What a model lacks, if anything, when it is to have its minimum of workers and `least` at least.
fn lack(model: &ServedModel, least: u32, counts: Counts) -> Option<NotReady> {
    let statuses = model.pool.statuses();
    let (min, _) = model.pool.bounds();
    let min = min.max(least);
    let loaded = statuses.iter().filter(|status| counts(status)).count();
    let loaded = u32::try_from(loaded).unwrap_or(u32::MAX);
    if loaded >= min {
        return None;
    }
    let last_failure = statuses
        .iter()
        .filter(|status| !counts(status))
        .filter_map(|status| status.last_failure())
        .max_by_key(|failure| failure.at);
    let given_up = statuses
        .iter()
        .filter(|status| status.state() == WorkerState::Failed)
        .count();
    let loads = format!("{loaded} of {min} workers have loaded");
    let reason = if given_up == 0 {
        loads
    } else {
        format!("{loads}, {given_up} kept failing and were given up")
    };
    Some(NotReady {
        model_name: model.name().to_owned(),
        model_version: Some(model.version().to_owned()),
        min_workers: Some(min),
        loaded_workers: Some(loaded),
        reason,
        last_error: last_failure.map(|failure| failure.summary),
    })
}
