//! Registering a model: locate, unpack, settle the settings, enter it into the registry, start its
//! workers. A step that fails undoes the ones before it.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tserve_batcher::Policy;
use tserve_shm::{Arena, ArenaLimits};

use super::{
    ManagementService, RegisterRequest, StatusReply, accepted, done, failed_to_start, in_progress,
    remove, removed_meanwhile, uninterrupted, worker_count,
};
use crate::config::Config;
use crate::dispatch::{Dispatcher, Kind};
use crate::error::Error;
use crate::model::archive::{UnpackLimits, UnpackedArchive, unpack};
use crate::model::dependencies::{self, Needs, Tools, Venv};
use crate::model::manifest::{Identity, Manifest, Naming, Runtime};
use crate::model::settings::archive_config::ArchiveConfig;
use crate::model::settings::{RegisterParams, Settings, Sources};
use crate::model::store::{ArchiveRequest, Asker, LocatedArchive};
use crate::service::ServedModel;
use crate::service::snapshot::SnapshotOf;
use crate::worker::{ModelContext, Scaled, Template, WorkerPool};

/// Headers and the like beside the body of a request.
const REQUEST_OVERHEAD_BYTES: u64 = 64 * 1024;

/// Longest installation of a model's requirements.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Most requests in one batch; what a worker's link has room for.
const MAX_BATCH: usize = 65_536;

/// Least memory that requests of one model version may take.
const MIN_ARENA_BYTES: u64 = 256 << 20;

/// Most memory that requests of one model version may take, unless single requests are larger.
const MAX_ARENA_BYTES: u64 = 4 << 30;

/// What registering takes besides the client's parameters.
pub(super) struct Registration<'a> {
    pub(super) url: &'a str,
    /// The checksum that the archive has to have, as the client wrote it.
    pub(super) checksum: Option<&'a str>,
    /// Whether an `https` URL is one of S3 that needs credentials.
    pub(super) s3_sse_kms: bool,
    pub(super) requested_name: Option<&'a str>,
    /// Name of last resort; only models loaded at start have one.
    pub(super) fallback_name: Option<&'a str>,
    pub(super) params: RegisterParams,
    pub(super) occasion: Occasion,
}

/// Why a model is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A client asked for it.
    Request,
    /// It was named at start.
    Startup,
    /// A snapshot has it.
    Restore,
}

impl ManagementService {
    /// Registers one version of a model and starts its initial workers.
    ///
    /// # Errors
    /// A missing or impossible parameter, an archive that cannot be had or used, a version that is
    /// registered already, or, when the client waits, workers that do not load. In each case
    /// nothing is left behind. The registration goes on when nobody waits for it any more.
    pub async fn register(&self, request: RegisterRequest) -> Result<StatusReply, Error> {
        self.require_model_api()?;
        let service = self.clone();
        uninterrupted(async move { service.register_now(&request).await }).await
    }

    async fn register_now(&self, request: &RegisterRequest) -> Result<StatusReply, Error> {
        let requested = self.requested_workers(request)?;
        let url = request
            .url
            .as_deref()
            .ok_or_else(|| Error::BadRequest("Parameter url is required.".to_owned()))?;
        let model = self
            .add(Registration {
                url,
                checksum: request.checksum.as_deref(),
                s3_sse_kms: request.s3_sse_kms,
                requested_name: request.model_name.as_deref(),
                fallback_name: None,
                params: params(request)?,
                occasion: Occasion::Request,
            })
            .await?;
        let (name, version) = (model.name(), model.version());
        let (min, max) = model.context().settings.workers.unwrap_or(requested);
        let patience = self.state.config.drain_timeout;
        let Some(outcome) = model.pool.scale(min, max, patience) else {
            return Err(removed_meanwhile(name, version));
        };
        if min == 0 {
            self.save_snapshot(SnapshotOf::Change).await;
            return Ok(done(format!(
                "Model \"{name}\" Version: {version} registered with 0 initial workers. Use scale \
                 workers API to add workers for the model."
            )));
        }
        if !request.synchronous {
            self.save_snapshot(SnapshotOf::Change).await;
            return Ok(accepted());
        }
        match outcome.wait().await {
            Ok(Scaled::Done) => {}
            Ok(Scaled::Overtaken) if model.pool.is_closed() => {
                return Err(removed_meanwhile(name, version));
            }
            Ok(Scaled::Overtaken) => return Ok(in_progress()),
            Err(failure) => {
                let error = failed_to_start(&failure, name, version);
                self.withdraw(model).await;
                return Err(error);
            }
        }
        self.save_snapshot(SnapshotOf::Change).await;
        Ok(done(format!(
            "Model \"{name}\" Version: {version} registered with {min} initial workers"
        )))
    }

    /// Enters a model into the registry, without workers.
    pub(super) async fn add(&self, what: Registration<'_>) -> Result<Arc<ServedModel>, Error> {
        let located = self
            .state
            .store
            .locate(&ArchiveRequest {
                url: what.url,
                checksum: what.checksum,
                s3_sse_kms: what.s3_sse_kms,
                asker: match what.occasion {
                    Occasion::Request => Asker::Client,
                    Occasion::Startup | Occasion::Restore => Asker::Operator,
                },
            })
            .await?;
        let added = self.add_located(&what, located.clone()).await;
        if added.is_err() {
            located.discard().await;
        }
        added
    }

    async fn add_located(
        &self,
        what: &Registration<'_>,
        located: LocatedArchive,
    ) -> Result<Arc<ServedModel>, Error> {
        let archive = self.unpack(located.clone()).await?;
        let manifest = archive.manifest().cloned().unwrap_or_default();
        let identity = manifest.identify(&Naming {
            requested_name: what.requested_name,
            fallback_name: what.fallback_name,
            requested_runtime: what.params.runtime,
        })?;
        let settings = self.settings(what, &archive, &manifest, &identity)?;
        let venv = self
            .install_dependencies(&identity.name, &archive, &settings)
            .await?;
        let model = Arc::new(self.assemble(what, located, archive, identity, settings, venv)?);
        self.state
            .registry
            .insert(model.name(), model.version(), Arc::clone(&model))?;
        let (name, version) = (model.name(), model.version());
        tracing::info!(model = name, version, url = what.url, "model registered");
        Ok(model)
    }

    async fn unpack(&self, located: LocatedArchive) -> Result<UnpackedArchive, Error> {
        let models = self.state.runtime_dir.models();
        tokio::task::spawn_blocking(move || unpack(&located, &models, &UnpackLimits::default()))
            .await
            .map_err(|error| Error::Internal(format!("Unpacking was interrupted: {error}")))?
    }

    fn settings(
        &self,
        what: &Registration<'_>,
        archive: &UnpackedArchive,
        manifest: &Manifest,
        identity: &Identity,
    ) -> Result<Settings, Error> {
        let config = &*self.state.config;
        let overrides = config
            .model_overrides
            .iter()
            .find(|(name, version, _)| *name == identity.name && *version == identity.version)
            .map(|(_, _, overrides)| overrides);
        let settings = Settings::merge(&Sources {
            request: &what.params,
            manifest,
            archive: ArchiveConfig::read(archive).as_ref(),
            overrides,
            config,
            is_startup: what.occasion == Occasion::Startup,
        })?;
        if settings.runtime == Runtime::Lsp {
            return Err(Error::InvalidModel(
                "Runtime LSP (C++ workers) is not supported by tserve.".to_owned(),
            ));
        }
        Ok(settings)
    }

    fn assemble(
        &self,
        what: &Registration<'_>,
        located: LocatedArchive,
        archive: UnpackedArchive,
        identity: Identity,
        mut settings: Settings,
        venv: Option<Venv>,
    ) -> Result<ServedModel, Error> {
        let state = &self.state;
        // A batch cannot be larger than what may wait, whatever was asked for.
        let most = settings.job_queue_size.clamp(1, MAX_BATCH);
        settings.batch_size = settings.batch_size.clamp(1, most as u32);
        let policy = Policy {
            batch_size: NonZeroUsize::new(settings.batch_size as usize)
                .unwrap_or(NonZeroUsize::MIN),
            max_batch_delay: settings.max_batch_delay,
        };
        let kind = Kind::of(&settings, &state.config)?;
        let limits = ArenaLimits {
            capacity_bytes: arena_bytes(&state.config, &settings, &kind),
        };
        let arena = Arena::new(&limits)
            .map_err(|error| Error::Internal(format!("Cannot set up shared memory: {error}")))?;
        let metrics = &state.telemetry.metrics;
        let context = Arc::new(ModelContext {
            metrics: metrics.model(&identity.name, &identity.version),
            name: identity.name,
            version: identity.version,
            directory: archive.directory().to_path_buf(),
            link_parent: archive.link_parent().map(Path::to_path_buf),
            dispatcher: Dispatcher::start(
                kind,
                policy,
                settings.job_queue_size,
                (!state.config.fixed_batch_delay).then(|| Arc::clone(&state.arrivals)),
            ),
            venv,
            settings,
            config: Arc::clone(&state.config),
            arena,
            environment: Arc::clone(&state.environment),
            template: Template::default(),
            schemas: std::sync::OnceLock::new(),
            failures: Arc::default(),
            telemetry: state.telemetry.clone(),
            input_kind: OnceLock::new(),
        });
        let ids = Arc::clone(&state.worker_ids);
        let devices = Arc::clone(&state.devices);
        Ok(ServedModel {
            located,
            pool: WorkerPool::new(context, ids, devices),
            _archive: archive,
            loaded_at_startup: what.occasion == Occasion::Startup,
        })
    }

    /// Makes the packages and the virtual environment that an archive asks for, as far as the
    /// configuration allows.
    async fn install_dependencies(
        &self,
        model: &str,
        archive: &UnpackedArchive,
        settings: &Settings,
    ) -> Result<Option<Venv>, Error> {
        let (state, config) = (&self.state, &self.state.config);
        let has_own_interpreter = settings.runtime == Runtime::Python;
        if settings.declared.use_venv && !has_own_interpreter {
            tracing::warn!(model, "useVenv has no effect: it needs the runtime python");
        }
        let wanted = Needs {
            packages: config.install_py_dep_per_model,
            venv: settings.declared.use_venv && has_own_interpreter,
        };
        let tools = Tools {
            python: state.environment.interpreter(settings.runtime),
            variables: state.environment.variables(),
            wheels: config.wheel_folder.as_deref(),
            timeout: INSTALL_TIMEOUT,
        };
        dependencies::prepare(model, archive, wanted, &tools, &state.venvs).await
    }

    /// How many workers a registration starts, if its archive does not say: what the client
    /// says, or the configured default.
    fn requested_workers(&self, request: &RegisterRequest) -> Result<(u32, u32), Error> {
        let default = i64::from(self.state.config.default_workers_per_model);
        let workers = request.initial_workers.unwrap_or(default).max(0);
        let workers = worker_count("initial_workers", workers)?;
        Ok((workers, workers))
    }

    /// Takes back a registration whose workers do not load.
    async fn withdraw(&self, model: Arc<ServedModel>) {
        let registry = &self.state.registry;
        if registry.withdraw(model.name(), model.version(), &model) {
            remove(model, self.state.config.drain_timeout).await;
        }
    }
}

fn params(request: &RegisterRequest) -> Result<RegisterParams, Error> {
    Ok(RegisterParams {
        batch_size: request.batch_size,
        max_batch_delay: request.max_batch_delay,
        response_timeout: request.response_timeout,
        startup_timeout: request.startup_timeout,
        handler: request.handler.clone(),
        runtime: request
            .runtime
            .as_deref()
            .map(Runtime::from_parameter)
            .transpose()?,
    })
}

/// Memory for the requests that may wait or run at once, within bounds. It is sparse: what no
/// request uses costs nothing.
fn arena_bytes(config: &Config, settings: &Settings, kind: &Kind) -> u64 {
    let largest = config
        .max_request_size
        .saturating_add(REQUEST_OVERHEAD_BYTES)
        .checked_next_power_of_two()
        .unwrap_or(u64::MAX);
    // A running batch, and one that is being answered; what lies ahead on a link holds places in the queue.
    let running = u64::from(settings.batch_size) * 2;
    let waiting = settings
        .job_queue_size
        .saturating_add(kind.without_places()) as u64;
    let wanted = largest.saturating_mul(waiting.saturating_add(running));
    wanted
        .clamp(MIN_ARENA_BYTES, MAX_ARENA_BYTES)
        .max(largest.saturating_mul(4))
}
