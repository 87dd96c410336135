//! What can be typed after `tserve models` and `tserve predict`. Structures only.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXIT_CODES: &str = "\
The server is found by the flags, the variables TS_INFERENCE_ADDRESS and TS_MANAGEMENT_ADDRESS, or
config.properties in the working folder, else at http://127.0.0.1:8080 and :8081. The token comes
from TSERVE_TOKEN, or for a server on this machine from key_file.json in the working folder.

Exit codes: 0 done, 1 the server refused or failed, 2 a mistake in the command, 3 no server answered.";

const LOGGERS: &str = "\
Examples:
  tserve log-level                                  show all levels
  tserve log-level ACCESS_LOG off                   no lines for requests
  tserve log-level org.pytorch.serve debug          more of the server itself
  tserve log-level tserve_frontend::worker debug    more of one part of it
  tserve log-level tserve_frontend::worker default  as before

A level lasts until the server ends; log_level and --log-config are for longer.";

/// Commands for people and scripts that ask a running server.
#[derive(Debug, Subcommand)]
pub enum Client {
    /// List, show, register, scale and remove the models of a running server
    #[command(after_help = EXIT_CODES)]
    Models {
        /// What to do.
        #[command(subcommand)]
        command: Models,
        /// Where and how.
        #[command(flatten)]
        connection: Connection,
    },
    /// Watch models, workers, queues, rates and latencies of a running server
    #[command(after_help = EXIT_CODES)]
    Top {
        /// Print one table and end; so it does where the output is no terminal
        #[arg(long)]
        once: bool,
        /// Seconds between two looks
        #[arg(long, value_name = "SECONDS", default_value_t = 1,
            value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
        /// Where and how.
        #[command(flatten)]
        connection: Connection,
    },
    /// Show why a model's workers and handler failed lately, with exit reasons and tracebacks
    #[command(after_help = EXIT_CODES)]
    Why {
        /// Name of the model
        model: String,
        /// A version (default: all)
        #[arg(long = "model-version", value_name = "VERSION")]
        version: Option<String>,
        /// Where and how.
        #[command(flatten)]
        connection: Connection,
    },
    /// Show the levels of a running server's logs, or change one of them at once
    #[command(after_help = LOGGERS)]
    LogLevel {
        /// The logger: `ACCESS_LOG`, `MODEL_LOG`, `org.pytorch.serve`, `root`, or a part of the server
        #[arg(requires = "level")]
        logger: Option<String>,
        /// debug, info, warn, error, off, or default to take a level away
        level: Option<String>,
        /// Where and how.
        #[command(flatten)]
        connection: Connection,
    },
    /// Ask a model of a running server
    #[command(after_help = EXIT_CODES)]
    Predict {
        /// What to ask.
        #[command(flatten)]
        prediction: Prediction,
        /// Where and how.
        #[command(flatten)]
        connection: Connection,
    },
}

/// Where the server is, and how it is asked.
#[derive(Debug, Clone, Default, Args)]
pub struct Connection {
    /// Address of the inference API
    #[arg(long, value_name = "URL", global = true)]
    pub inference_address: Option<String>,

    /// Address of the management API
    #[arg(long, value_name = "URL", global = true)]
    pub management_address: Option<String>,

    /// Address of the metrics API
    #[arg(long, value_name = "URL", global = true)]
    pub metrics_address: Option<String>,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Accept any certificate of an https server, such as a self-signed one
    #[arg(long, global = true)]
    pub insecure: bool,

    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 300, global = true,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// What to do with the models.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// List the models
    #[command(visible_alias = "list")]
    Ls,
    /// Show one model, its workers and why they failed
    #[command(visible_alias = "describe")]
    Show {
        /// Name of the model
        model: String,
        /// A version, or `all` (default: the default version)
        #[arg(long = "model-version", value_name = "VERSION")]
        version: Option<String>,
    },
    /// Register a model and start its workers
    Register(Registration),
    /// Set the number of workers
    Scale {
        /// Name of the model
        model: String,
        /// Fewest workers
        #[arg(value_name = "MIN")]
        min: u32,
        /// Most workers (default: as many as the fewest)
        #[arg(long)]
        max: Option<u32>,
        /// A version (default: the default version)
        #[arg(long = "model-version", value_name = "VERSION")]
        version: Option<String>,
        /// Do not wait until the workers have loaded
        #[arg(long)]
        no_wait: bool,
    },
    /// Unregister a model, its running requests being answered first
    #[command(visible_aliases = ["remove", "unregister"])]
    Rm {
        /// Name of the model
        model: String,
        /// A version (default: the default version)
        #[arg(long = "model-version", value_name = "VERSION")]
        version: Option<String>,
    },
    /// Make a version the default one
    SetDefault {
        /// Name of the model
        model: String,
        /// The version
        version: String,
    },
}

/// What to register.
#[derive(Debug, Clone, Default, Args)]
pub struct Registration {
    /// Archive or folder in the model store, or a URL
    pub url: String,
    /// Name (default: the archive's own)
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// Handler (default: the archive's own)
    #[arg(long)]
    pub handler: Option<String>,
    /// Workers to start
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: u32,
    /// Most requests per batch
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u32>,
    /// Milliseconds that a batch may wait to fill
    #[arg(long, value_name = "MS")]
    pub max_batch_delay: Option<u32>,
    /// Seconds that a worker may take for a batch
    #[arg(long, value_name = "SECONDS")]
    pub response_timeout: Option<u32>,
    /// Seconds that a worker may take to load
    #[arg(long, value_name = "SECONDS")]
    pub startup_timeout: Option<u32>,
    /// Checksum that the archive has to have, `sha256:` and 64 hexadecimal digits
    #[arg(long, value_name = "SHA256")]
    pub checksum: Option<String>,
    /// Do not wait until the workers have loaded
    #[arg(long)]
    pub no_wait: bool,
}

/// What to ask a model.
#[derive(Debug, Clone, Default, Args)]
pub struct Prediction {
    /// Name of the model
    pub model: String,
    /// Files to send, one request each; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A version (default: the default version)
    #[arg(long = "model-version", value_name = "VERSION")]
    pub version: Option<String>,
    /// Content type of the files (default: application/json for *.json, none for others)
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
}

impl Client {
    /// Where and how.
    pub fn connection(&self) -> &Connection {
        match self {
            Self::Models { connection, .. }
            | Self::Top { connection, .. }
            | Self::Why { connection, .. }
            | Self::LogLevel { connection, .. }
            | Self::Predict { connection, .. } => connection,
        }
    }
}
