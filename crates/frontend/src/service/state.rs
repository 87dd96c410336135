//! What all services of one server share.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Semaphore, watch};

use super::ServedModel;
use crate::config::Config;
use crate::dispatch::Arrivals;
use crate::model::dependencies::Venvs;
use crate::model::registry::Registry;
use crate::model::runtime_dir::RuntimeDir;
use crate::model::store::ModelStore;
use crate::telemetry::Telemetry;
use crate::worker::{Devices, WorkerEnvironment};

/// Virtual environments that are kept for later where a folder is configured for them.
const SPARE_VENVS: usize = 16;

/// The state of one server.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) config: Arc<Config>,
    pub(crate) telemetry: Telemetry,
    pub(crate) registry: Registry<ServedModel>,
    pub(crate) store: ModelStore,
    pub(crate) venvs: Venvs,
    pub(crate) runtime_dir: RuntimeDir,
    pub(crate) environment: Arc<WorkerEnvironment>,
    pub(crate) devices: Arc<Devices>,
    pub(crate) worker_ids: Arc<AtomicU64>,
    /// Who may send the next request.
    pub(crate) arrivals: Arc<Arrivals>,
    /// Becomes true when a stopping server is to end its workers at once.
    pub(crate) hurry: watch::Sender<bool>,
    /// Whether clients are served; false while the models named at start are being registered.
    pub(crate) is_open: watch::Sender<bool>,
    /// How the registration of each model named at start went; set when all have been tried.
    pub(crate) startup_models: OnceLock<Vec<StartupOutcome>>,
    /// Whether every model named at start has been ready at once.
    pub(crate) has_started: AtomicBool,
    /// Snapshots are written one after the other.
    pub(crate) snapshot_turn: Arc<Semaphore>,
}

/// How the registration of one model named at start went.
#[derive(Debug)]
pub(crate) struct StartupOutcome {
    /// Its name; the one its location suggests when its archive could not be read.
    pub(crate) name: String,
    /// Why it could not be registered, if it could not.
    pub(crate) failure: Option<String>,
    /// Whether a snapshot asked for it; to clients it was not loaded at start then.
    pub(crate) is_restored: bool,
}

impl ServerState {
    pub(crate) fn new(
        config: Arc<Config>,
        telemetry: Telemetry,
        runtime_dir: RuntimeDir,
        environment: WorkerEnvironment,
    ) -> Self {
        let venvs = match &config.venv_folder {
            Some(folder) => Venvs::new(folder.clone(), SPARE_VENVS),
            None => Venvs::new(runtime_dir.venvs(), 0),
        };
        venvs.sweep();
        Self {
            venvs,
            registry: Registry::new(),
            store: ModelStore::new(
                config.model_store.clone(),
                &config.allowed_urls,
                config.downloads,
            ),
            environment: Arc::new(environment),
            devices: Arc::new(Devices::new(config.number_of_gpu, config.isolate_gpus)),
            worker_ids: Arc::new(AtomicU64::new(u64::from(config.initial_worker_port))),
            arrivals: Arrivals::new(),
            hurry: watch::Sender::new(false),
            is_open: watch::Sender::new(true),
            startup_models: OnceLock::new(),
            has_started: AtomicBool::new(false),
            snapshot_turn: Arc::new(Semaphore::new(1)),
            config,
            telemetry,
            runtime_dir,
        }
    }

    /// Whether a model of this name was loaded at start.
    pub(crate) fn was_loaded_at_startup(&self, name: &str) -> bool {
        let mut outcomes = self.startup_models.get().into_iter().flatten();
        outcomes.any(|it| it.name == name && it.failure.is_none() && !it.is_restored)
    }

    /// Names of the models that were loaded at start; one that has several versions comes often.
    pub(crate) fn loaded_at_startup(&self) -> impl Iterator<Item = &str> {
        let outcomes = self.startup_models.get().into_iter().flatten();
        outcomes
            .filter(|outcome| outcome.failure.is_none())
            .map(|outcome| outcome.name.as_str())
    }
}
