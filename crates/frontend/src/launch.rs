//! What the command line does before there is a server: version, stop, background start, checks.
//!
//! The texts, their order and the exit codes are those of `torchserve`, so that scripts written for
//! it go on working. Mistakes that the original does not notice here are printed on standard error.

mod folders;
mod instance;
mod pid_file;
mod show;
mod show_models;
mod start;
mod stop;

use std::io::{self, Write};
use std::path::PathBuf;

pub use self::pid_file::PidFile;
pub use self::start::Prepared;

use self::pid_file::Found;
use crate::cli::{Cli, Command, ConfigCommand};
use crate::client::arguments::Client;

/// What the process does next.
#[derive(Debug)]
pub enum Next {
    /// End with this exit code.
    Exit(u8),
    /// Ask a running server.
    Ask(Box<Client>),
    /// Be the process that removes a server's folder after it.
    CleanUp(PathBuf),
    /// Be the server.
    Serve(Box<Prepared>),
}

/// Where the server that runs with this temporary folder works, and the config file that it was
/// started with, if one was named.
pub(crate) fn running_server(
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<(PathBuf, Option<PathBuf>)> {
    match PidFile::at(&folders::pid_folder(environment)).look() {
        Found::Running(instance) => instance.home(),
        Found::Nothing | Found::Orphan | Found::Stranger => None,
    }
}

/// Does what the command line asks for; texts go to `out`, mistakes to `err`.
///
/// # Errors
/// Writing a text failed.
pub fn launch(cli: Cli, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Next> {
    let environment = |name: &str| std::env::var(name).ok();
    let (flags, is_background) = match cli.command {
        Some(Command::Client(client)) => return Ok(Next::Ask(Box::new(client))),
        Some(Command::Config(ConfigCommand::Show { flags, model, json })) => {
            return show::show(&flags, model.as_deref(), json, &environment, out, err)
                .map(Next::Exit);
        }
        Some(Command::Janitor { folder }) => return Ok(Next::CleanUp(folder)),
        Some(Command::Background(flags)) => (flags, true),
        None => (cli.flags, false),
    };
    if is_background {
        // Fails only for the leader of a process group, which is what this makes anyway.
        rustix::process::setsid().ok();
    }
    let pid_file = PidFile::at(&folders::pid_folder(&environment));
    let found = pid_file.look();
    if matches!(found, Found::Orphan) {
        pid_file.remove().ok();
        writeln!(out, "Removing orphan pid file.")?;
    }
    if flags.version {
        writeln!(out, "TorchServe Version is {}", env!("CARGO_PKG_VERSION"))?;
        return Ok(Next::Exit(0));
    }
    if flags.stop {
        let running = match found {
            Found::Running(instance) => Some(instance),
            _ => None,
        };
        return stop::stop(running, &pid_file, flags.foreground, out, err).map(Next::Exit);
    }
    if matches!(found, Found::Running(_)) {
        writeln!(
            out,
            "TorchServe is already running, please use torchserve --stop to stop TorchServe."
        )?;
        return Ok(Next::Exit(1));
    }
    let is_here = flags.foreground || is_background;
    let prepared = match start::prepare(&flags, &environment, is_here) {
        Ok(prepared) => prepared,
        Err(start::Refusal::Check(text)) => {
            writeln!(out, "{text}")?;
            return Ok(Next::Exit(1));
        }
        Err(start::Refusal::Config(error)) => {
            writeln!(err, "{error}")?;
            return Ok(Next::Exit(1));
        }
    };
    if is_here {
        if let Err(error) = pid_file.write(std::process::id()) {
            writeln!(err, "{pid_file}: cannot be written: {error}")?;
            return Ok(Next::Exit(1));
        }
        return Ok(Next::Serve(Box::new(prepared.with_pid_file(pid_file))));
    }
    start::in_background(&pid_file, err).map(Next::Exit)
}
