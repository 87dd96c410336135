//! Starting a worker process and killing one.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use command_fds::CommandFdExt;
use command_fds::FdMapping;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tserve_shm::WorkerFds;

use super::template::Forked;
use crate::config::{Config, StaticTokens};
use crate::model::manifest::Runtime;

/// File descriptors of a worker, by number.
const CONTROL_FD: i32 = 3;
const LINK_FD: i32 = 4;
const ARENA_FD: i32 = 5;
const WAKE_FD: i32 = 6;

/// Least number of workers that load at once.
const LEAST_LOADS: usize = 4;

/// What all workers of a server are started with.
#[derive(Debug)]
pub struct WorkerEnvironment {
    /// Interpreter of models whose runtime is `python`.
    interpreter: PathBuf,
    /// An empty folder: workers boot there, so that no file of an archive can shadow a module of
    /// the standard library; they move into the model's folder before they import the handler.
    boot_dir: PathBuf,
    variables: Vec<(OsString, OsString)>,
    /// Loading takes processor time and memory for a while; many at once only slow each other down.
    load_turns: Arc<Semaphore>,
}

impl WorkerEnvironment {
    /// The server's own environment without the hidden names and tokens, plus what the configuration says to
    /// workers.
    pub fn new(config: &Config, interpreter: PathBuf, boot_dir: PathBuf) -> Self {
        let hidden = |name: &OsString| {
            let pattern = config.blacklist_env_vars.as_ref();
            name.to_str().is_some_and(|name| {
                StaticTokens::VARIABLES.contains(&name)
                    || pattern.is_some_and(|it| it.is_match(name))
            })
        };
        let mut variables: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| !hidden(name))
            .collect();
        let flag = |value: bool| if value { "true" } else { "false" };
        let [id, start, end] = &config.sequence_headers;
        for (name, value) in [
            ("TS_DECODE_INPUT_REQUEST", flag(config.decode_input_request)),
            ("TS_IPEX_ENABLE", flag(config.ipex_enable)),
            ("TS_IPEX_GPU_ENABLE", flag(config.ipex_gpu_enable)),
            ("TS_REQUEST_SEQUENCE_ID", id),
            ("TS_REQUEST_SEQUENCE_START", start),
            ("TS_REQUEST_SEQUENCE_END", end),
        ] {
            variables.push((name.into(), value.into()));
        }
        Self {
            interpreter,
            boot_dir,
            variables,
            load_turns: Arc::new(Semaphore::new(loads_at_once())),
        }
    }

    /// A turn to load a model.
    pub(super) async fn load_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.load_turns).acquire_owned().await.ok()
    }

    /// The interpreter that runs models of this runtime.
    pub fn interpreter(&self, runtime: Runtime) -> &Path {
        match runtime {
            Runtime::Python | Runtime::Lsp => &self.interpreter,
            Runtime::Python3 => Path::new("python3"),
        }
    }

    /// What workers find in their environment.
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// Devices by the names that the server's own list of visible devices has for them.
    pub(super) fn visible_devices(&self, devices: &[u32]) -> String {
        let is_list = |name: &OsString| name == "CUDA_VISIBLE_DEVICES";
        let own = self.variables.iter().find(|(name, _)| is_list(name));
        let own = own.and_then(|(_, list)| list.to_str()).unwrap_or_default();
        let own: Vec<_> = own.split(',').map(str::trim).collect();
        let name = |device: &u32| match own.get(*device as usize) {
            Some(name) if !name.is_empty() => (*name).to_owned(),
            _ => device.to_string(),
        };
        devices.iter().map(name).collect::<Vec<_>>().join(",")
    }

    /// An interpreter in the boot folder, with the variables of all workers and some more.
    fn command(&self, python: &Path, variables: &[(&'static str, String)]) -> Command {
        let mut command = Command::new(python);
        command
            .current_dir(&self.boot_dir)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Starts the template of a model's workers, which talks over `control`.
    pub(super) fn spawn_template(
        &self,
        python: &Path,
        variables: &[(&'static str, String)],
        control: OwnedFd,
    ) -> io::Result<Child> {
        let mut command = self.command(python, variables);
        command
            .args(["-m", "tserve_worker.template"])
            .args(["--control-fd", &CONTROL_FD.to_string()])
            .fd_mappings(vec![FdMapping {
                parent_fd: control,
                child_fd: CONTROL_FD,
            }])
            .map_err(io::Error::other)?;
        command.spawn()
    }

    /// Starts a worker in a process group of its own, with `variables` beside those of all. Returns the child and the server's end of
    /// its control socket.
    pub(super) fn spawn(
        &self,
        python: &Path,
        variables: &[(&'static str, String)],
        link: WorkerFds,
        arena: OwnedFd,
    ) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = self.command(python, variables);
        command
            .args(["-m", "tserve_worker"])
            .args(["--control-fd", &CONTROL_FD.to_string()])
            .args(["--link-fd", &LINK_FD.to_string()])
            .args(["--arena-fd", &ARENA_FD.to_string()])
            .args(["--wake-fd", &WAKE_FD.to_string()]);
        let mappings = [
            (OwnedFd::from(theirs), CONTROL_FD),
            (link.link, LINK_FD),
            (arena, ARENA_FD),
            (link.wake, WAKE_FD),
        ];
        command
            .fd_mappings(
                mappings
                    .into_iter()
                    .map(|(parent_fd, child_fd)| FdMapping {
                        parent_fd,
                        child_fd,
                    })
                    .collect(),
            )
            .map_err(io::Error::other)?;
        // The command owns the child's ends; they close with it, so that the death of the worker
        // shows as the end of the control socket.
        Ok((command.spawn()?, ours))
    }
}

/// A worker's process.
#[derive(Debug)]
pub(super) enum Process {
    /// An interpreter of its own.
    Spawned(Child),
    /// A fork of a template.
    Forked(Forked),
}

impl Process {
    /// Its id, and that of its process group; -1 when it has ended already.
    pub(super) fn id(&self) -> i32 {
        match self {
            Self::Spawned(child) => child.id().and_then(|pid| i32::try_from(pid).ok()),
            Self::Forked(forked) => Some(forked.pid),
        }
        .unwrap_or(-1)
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Spawned(child) => child.wait().await,
            Self::Forked(forked) => forked.wait().await,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Forked(forked) = self {
            // As `kill_on_drop` does for the others.
            forked.kill();
        }
    }
}

/// How many workers load at once.
fn loads_at_once() -> usize {
    std::thread::available_parallelism().map_or(LEAST_LOADS, |cpus| cpus.get().max(LEAST_LOADS))
}

/// Kills everything a worker started, and the worker.
pub(super) fn kill_group(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Gone already is what is wanted.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
