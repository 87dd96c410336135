//! Start and stop of the whole server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::grpc;
use crate::http;
use crate::ingress::BindError;
use crate::janitor;
use crate::model::runtime_dir::RuntimeDir;
use crate::service::{KeyFileError, Services, SnapshotOf, TokenService};
use crate::telemetry::{Spans, Telemetry};
use crate::worker::{InterpreterNotFound, WorkerEnvironment, find_interpreter};

/// How long the answers to requests that were ended by force may take to reach their clients.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the server could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no Python for the workers.
    #[error(transparent)]
    Interpreter(#[from] InterpreterNotFound),
    /// The server's own folder could not be made.
    #[error("cannot prepare the runtime folder under {folder}: {source}")]
    RuntimeDir {
        /// Where it was to be.
        folder: std::path::PathBuf,
        /// Why it could not.
        source: io::Error,
    },
    /// The keys of token authorization cannot be handed out.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The process cannot listen to signals.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
}

/// Runs a server until it is told to stop by SIGTERM or SIGINT. A first signal drains: what runs
/// and waits is answered, for as long as `drain_timeout` allows. A second one hurries.
///
/// # Errors
/// When it cannot start; once it serves, it does not fail.
pub async fn run(config: Config, mut telemetry: Telemetry) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    // Another provider may be installed already when the library is used inside a test.
    let _ = rustls::crypto::ring::default_provider().install_default();

    telemetry.spans = spans(&config);
    let spans = telemetry.spans.clone();
    if let Some(spans) = &spans {
        telemetry.metrics.watch(spans);
    }
    let config = Arc::new(config);
    // Ports first: a server that cannot listen must not start processes.
    let listeners = http::bind(&config)?;
    let grpc_listeners = grpc::bind(&config)?;
    // A server that does not start leaves the keys of the one that has the ports alone.
    let tokens = TokenService::start(&config)?;
    let runtime_dir =
        RuntimeDir::create(&config.temp_dir).map_err(|source| StartError::RuntimeDir {
            folder: config.temp_dir.clone(),
            source,
        })?;
    let janitor = janitor::start(runtime_dir.path())
        .inspect_err(|error| {
            tracing::warn!(%error, "no janitor: if this server is killed, its runtime folder stays until the next start");
        })
        .ok();
    let interpreter = find_interpreter(config.python.as_deref())?;
    let environment = WorkerEnvironment::new(&config, interpreter, runtime_dir.boot());
    let services = Services::new(
        Arc::clone(&config),
        telemetry,
        runtime_dir,
        environment,
        tokens,
    );
    services.set_open(false);
    services.metrics.start();
    let (stop, stopping) = watch::channel(false);
    let (rest, grpc) = (
        listeners.serve(services.clone(), stopping.clone()),
        grpc_listeners.serve(services.clone(), stopping),
    );
    let mut serving = tokio::spawn(async move { tokio::join!(rest, grpc) });
    let mut has_started = false;
    let start = async {
        services.management.load_startup_models().await;
        services.management.save_snapshot(SnapshotOf::Startup).await;
        has_started = true;
        services.set_open(true);
        announce();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = start => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: requests that run or wait are answered first");
    stop.send_replace(true);
    let deadline = tokio::time::Instant::now() + config.drain_timeout;
    let hurried = async {
        tokio::select! {
            _ = terminate.recv() => tracing::warn!("told to stop a second time"),
            _ = interrupt.recv() => tracing::warn!("told to stop a second time"),
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!("drain_timeout is over; what still runs is ended");
            }
        }
        services.management.hurry();
        std::future::pending::<()>().await;
    };
    let drain = async {
        let has_ended = tokio::select! {
            _ = &mut serving => true,
            () = services.management.hurried() => false,
        };
        // No client changes anything any more, and every model is still there, unless the start was
        // broken off: then the snapshot before this start is the one that counts.
        if has_started {
            services
                .management
                .save_snapshot(SnapshotOf::Shutdown)
                .await;
        }
        services.management.stop().await;
        if !has_ended {
            // Every request has its answer by now; the answers need a moment to get out.
            let _ = tokio::time::timeout(LAST_ANSWERS, serving).await;
        }
    };
    tokio::select! {
        () = drain => {}
        () = hurried => {}
    }
    drop(services);
    if let Some(spans) = spans {
        // Sending blocks; a panic in there is not worth more than its line in the log.
        let _ = tokio::task::spawn_blocking(move || spans.stop()).await;
    }
    if let Some(janitor) = janitor {
        janitor.dismiss();
    }
    tracing::info!("Torchserve stopped.");
    Ok(())
}

/// The spans of requests. A server that cannot send them serves all the same.
fn spans(config: &Config) -> Option<Arc<Spans>> {
    let environment = |name: &str| std::env::var(name).ok();
    match Spans::start(config.otlp_endpoint.as_deref(), &environment) {
        Ok(spans) => spans.map(Arc::new),
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}

/// The line that launchers and tests of the original wait for. Nobody has to be listening.
fn announce() {
    use std::io::Write as _;
    let _ = writeln!(io::stdout(), "Model server started.");
}
