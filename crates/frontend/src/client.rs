//! `tserve models ...`, `tserve predict` and others: the command line as a client of a running server.
//!
//! [`arguments`] is what can be typed, [`target`] finds the server and the token, [`connection`]
//! asks, [`models`] and [`predict`] are the commands, [`table`] is for people.

pub mod arguments;
mod connection;
mod loggers;
mod models;
mod predict;
mod table;
mod target;
mod top;
mod why;

use std::io::{self, Write};
use std::time::Duration;

use thiserror::Error;

use self::arguments::Client;
use self::connection::Server;
use self::target::{Api, TargetError};

/// Exit code when the server refused or failed.
const REFUSED: u8 = 1;
/// Exit code when the question itself is wrong; clap uses it too.
const MISUSED: u8 = 2;
/// Exit code when no server answered.
const UNREACHABLE: u8 = 3;

/// Why a command failed; prints as one line.
#[derive(Debug, Error)]
enum ClientError {
    /// The server's own error.
    #[error("{message} ({status}{kind})")]
    Refused {
        status: u16,
        /// Blank and name of the error, where the server gives one.
        kind: String,
        message: String,
    },
    #[error(
        "no server answers at {address}: {reason}\nhint: start one with `tserve --start ...`, or \
         name its address with {flag} or {variable}"
    )]
    Unreachable {
        address: String,
        reason: String,
        flag: &'static str,
        variable: &'static str,
    },
    #[error("{address} did not answer in time or broke off: {reason}")]
    Interrupted { address: String, reason: String },
    #[error("{address} does not answer like a model server: {problem}")]
    NotUnderstood { address: String, problem: String },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{name}: cannot be read: {source}")]
    Unreadable { name: String, source: io::Error },
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    Setup(String),
}

impl ClientError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::NotUnderstood { .. } | Self::Output(_) => REFUSED,
            Self::Target(_) | Self::Unreadable { .. } | Self::Setup(_) => MISUSED,
            Self::Unreachable { .. } | Self::Interrupted { .. } => UNREACHABLE,
        }
    }
}

/// Does what the command asks for; answers go to `out`, mistakes to `err`. Returns the exit code.
pub fn run(client: &Client, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // Another provider may be installed already when the library is used inside a test.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ClientError::Setup(error.to_string()))
        .and_then(|runtime| runtime.block_on(perform(client, out)))
        .and_then(|code| out.flush().map(|()| code).map_err(ClientError::from));
    match outcome {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            // Nothing is left to be done when standard error is closed.
            writeln!(err, "tserve: {error}").ok();
            error.exit_code()
        }
    }
}

async fn perform(client: &Client, out: &mut dyn Write) -> Result<u8, ClientError> {
    let connection = client.connection();
    match client {
        Client::Models { command, .. } => {
            let server = Server::connect(connection, Api::Management)?;
            models::perform(command, &server, connection.json, out).await?;
            Ok(0)
        }
        Client::Top { once, interval, .. } => {
            let management = Server::connect(connection, Api::Management)?;
            let metrics = Server::connect(connection, Api::Metrics)?;
            let manner = (Duration::from_secs(*interval), *once, connection.json);
            top::perform(&management, &metrics, manner, out).await?;
            Ok(0)
        }
        Client::Why { model, version, .. } => {
            let server = Server::connect(connection, Api::Management)?;
            why::perform(model, version.as_deref(), &server, connection.json, out).await?;
            Ok(0)
        }
        Client::LogLevel { logger, level, .. } => {
            let server = Server::connect(connection, Api::Management)?;
            let change = logger.as_deref().zip(level.as_deref());
            loggers::perform(change, &server, connection.json, out).await?;
            Ok(0)
        }
        Client::Predict { prediction, .. } => {
            let server = Server::connect(connection, Api::Inference)?;
            predict::perform(prediction, &server, connection.json, out).await
        }
    }
}
