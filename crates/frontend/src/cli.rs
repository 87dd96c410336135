//! The command line: every flag of `torchserve`, spelled as there. Structures only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::arguments::Client;

const EXAMPLES: &str = "\
Examples:
  Serve one archive on this machine, in the foreground:
    tserve --foreground --model-store ./models --models digits=digits.mar --disable-token-auth
  Ask it something (another terminal):
    curl http://127.0.0.1:8080/predictions/digits -T picture.png
  Serve everything in the store in the background, and stop again:
    tserve --start --model-store ./models --models all --disable-token-auth
    tserve --stop
  See what it serves, and ask it:
    tserve models ls
    tserve predict digits picture.png

Without a config file, requests are answered at http://127.0.0.1:8080, models are managed at
http://127.0.0.1:8081 and logs go to ./logs. Every setting of config.properties is listed in
docs/reference/config.md. `torchserve` command lines work unchanged.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "tserve",
    about = "Serves PyTorch models over HTTP: the drop-in successor of TorchServe",
    after_help = EXAMPLES,
    infer_long_args = true,
    args_override_self = true,
    disable_help_subcommand = true,
    disable_version_flag = true
)]
pub struct Cli {
    /// Anything but starting and stopping a server.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What a person types.
    #[command(flatten)]
    pub flags: Flags,
}

/// What the first word says, where it is no flag.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Asks a running server.
    #[command(flatten)]
    Client(Client),
    /// Shows the settings that a server started with the same flags would have.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The server of a background start: the foreground server in a session of its own.
    /// Not for people.
    #[command(hide = true, infer_long_args = true, args_override_self = true)]
    Background(Flags),
    /// Removes the server's runtime folder when the server is gone. Not for people.
    #[command(hide = true)]
    Janitor {
        /// The folder.
        folder: PathBuf,
    },
}

/// `tserve config ...`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints each effective value of the server and of the models loaded at start, and where it
    /// comes from; starts nothing
    #[command(infer_long_args = true, args_override_self = true)]
    Show {
        /// The flags that the server would be started with.
        #[command(flatten)]
        flags: Box<Flags>,
        /// Print the settings of this model only: one of those loaded at start, or an archive in the
        /// model store
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The flags of `torchserve`.
#[derive(Debug, Clone, Default, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Flags {
    /// Print the version and exit
    #[arg(short = 'v', long, conflicts_with_all = ["start", "stop"])]
    pub version: bool,

    /// Start the server; this is what happens anyway unless --stop or --version is given
    #[arg(long, conflicts_with = "stop")]
    pub start: bool,

    /// Stop the server that was started with the same temporary directory
    #[arg(long)]
    pub stop: bool,

    /// Read settings from this config.properties (the variable `TS_CONFIG_FILE` goes first;
    /// without both, the newest snapshot in logs/config or else ./config.properties)
    #[arg(long, value_name = "FILE")]
    pub ts_config: Option<String>,

    /// Folder that holds the model archives; required here or as `model_store` in the config file
    #[arg(long, value_name = "DIR")]
    pub model_store: Option<String>,

    /// Folder that holds the workflow archives (default: the model store)
    #[arg(long, value_name = "DIR")]
    pub workflow_store: Option<String>,

    /// Models to load at start: archive file names in the store or URLs, each optionally with a
    /// name in front, or `all` for the whole store
    #[arg(long, value_name = "[NAME=]ARCHIVE", num_args = 1.., action = clap::ArgAction::Set)]
    pub models: Option<Vec<String>>,

    /// Logging configuration (a log4j2 file: the levels of its loggers and the sizes and numbers of
    /// its files are used)
    #[arg(long, value_name = "FILE")]
    pub log_config: Option<String>,

    /// Write each log line as one JSON object (`log_format=json` in the config file)
    #[arg(long)]
    pub json_logs: bool,

    /// Accepted for compatibility; tserve has no C++ workers
    #[arg(long, value_name = "FILE")]
    pub cpp_log_config: Option<String>,

    /// Stay in the foreground until Ctrl-C; with --stop: wait until the server has ended
    #[arg(long)]
    pub foreground: bool,

    /// Neither write nor read snapshots of the configuration
    #[arg(long, visible_alias = "ncs")]
    pub no_config_snapshots: bool,

    /// Accepted for compatibility; the plug-ins of the original are Java classes, which tserve
    /// cannot load
    #[arg(long, visible_alias = "ppath", value_name = "PATH")]
    pub plugins_path: Option<String>,

    /// Answer requests that carry no token
    #[arg(long, visible_alias = "dt")]
    pub disable_token_auth: bool,

    /// Allow models to be registered and unregistered over the management API
    #[arg(long)]
    pub enable_model_api: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(words: &[&str]) -> Result<Flags, ErrorKind> {
        Cli::try_parse_from(std::iter::once(&"tserve").chain(words))
            .map(|cli| cli.flags)
            .map_err(|error| error.kind())
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_spelling_of_the_original_is_understood() {
        let flags = parse(&[
            "--start",
            "--ncs",
            "--dt",
            "--ppath",
            "p",
            "--models",
            "a=a.mar",
            "b.mar",
            "--foreground",
        ])
        .unwrap();
        assert!(flags.start && flags.no_config_snapshots && flags.disable_token_auth);
        assert!(flags.foreground);
        assert_eq!(flags.models.unwrap(), ["a=a.mar", "b.mar"]);
        assert_eq!(flags.plugins_path.unwrap(), "p");
    }

    #[test]
    fn unambiguous_beginnings_of_flags_are_enough() {
        let flags = parse(&["--fore", "--model-s", "store", "--ts", "c", "--enable"]).unwrap();
        assert!(flags.foreground && flags.enable_model_api);
        assert_eq!(flags.model_store.as_deref(), Some("store"));
        assert_eq!(flags.ts_config.as_deref(), Some("c"));
        assert_eq!(
            parse(&["--model", "x"]).unwrap_err(),
            ErrorKind::UnknownArgument
        );
        assert!(parse(&["-v"]).unwrap().version);
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let flags = parse(&["--models", "a", "b", "--start", "--start", "--models", "c"]).unwrap();
        assert_eq!(flags.models.unwrap(), ["c"]);
    }

    #[test]
    fn misuse_is_refused() {
        for words in [
            &["--start", "--stop"][..],
            &["--version", "--stop"],
            &["--start", "-v"],
            &["--models"],
            &["--nonsense"],
            &["stray"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_model_may_be_called_like_an_internal_command() {
        let flags = parse(&["--models", "background", "--start"]).unwrap();
        assert_eq!(flags.models.unwrap(), ["background"]);
    }
}
