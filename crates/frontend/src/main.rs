//! The `tserve` command: arguments, configuration, logs, the server, the exit code.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use clap::Parser as _;
use tserve_frontend::cli::Cli;
use tserve_frontend::client;
use tserve_frontend::janitor;
use tserve_frontend::launch::{Next, Prepared, launch};
use tserve_frontend::run;
use tserve_frontend::telemetry::Telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Exits with 2 when the command line cannot be understood, with 0 after --help.
    let cli = Cli::parse();
    match launch(cli, &mut stdout(), &mut stderr()) {
        Ok(Next::Exit(code)) => code.into(),
        Ok(Next::Ask(client)) => client::run(&client, &mut stdout(), &mut stderr()).into(),
        Ok(Next::CleanUp(folder)) => {
            janitor::run(&folder);
            ExitCode::SUCCESS
        }
        Ok(Next::Serve(prepared)) => serve(&prepared),
        Err(error) => fail(&error),
    }
}

/// Runs the server until it is told to stop.
fn serve(prepared: &Prepared) -> ExitCode {
    let config = prepared.config.clone();
    let (telemetry, guard) = match Telemetry::start(&config) {
        Ok(started) => started,
        Err(error) => return fail(&error),
    };
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .enable_all()
        .thread_name("tserve")
        .worker_threads(match config.worker_threads {
            0 => threads_for_this_machine(),
            configured => configured,
        });
    let served = match runtime.build() {
        Ok(runtime) => runtime
            .block_on(run(config, telemetry))
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = &served {
        tracing::error!("{error}");
    }
    // The last lines are written before anything is said about the end.
    drop(guard);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Half of the processors serve, the others are left to the workers. On two of them a second thread
/// costs more in hand-overs between threads than it brings.
fn threads_for_this_machine() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    // Nothing is left to be done when standard error is closed.
    writeln!(stderr(), "tserve: {error}").ok();
    ExitCode::FAILURE
}
