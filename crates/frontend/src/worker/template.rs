//! Workers as forks of a template process, which has imported the handler or loaded the model once.
//!
//! The template is asked over a socket of packets; each request carries the descriptors of the
//! worker to be. The worker is the template's child, not the server's: the server watches it through
//! a pidfd, which says that it has ended whatever becomes of the template, and the template says how.

mod socket;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use self::socket::{PacketSocket, watched};
use super::context::ModelContext;
use super::device::Assigned;
use super::output;
use super::process::kill_group;
use crate::telemetry::Stream;

/// How long the template may take to say how a worker ended.
const STATUS_GRACE: Duration = Duration::from_millis(500);

/// What is reported of a worker whose template cannot say how it ended: exit status 1.
const UNKNOWN_STATUS: i32 = 1 << 8;

/// Why a template cannot fork.
#[derive(Debug, Error)]
pub(super) enum TemplateError {
    #[error("{0}")]
    Refused(String),
    #[error("the template ended; its output says why")]
    Ended,
    #[error("the template was not ready within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the template said something that is not understood: {0}")]
    Malformed(String),
    #[error("template: {0}")]
    Io(#[from] io::Error),
    #[error("the template failed before")]
    GivenUp,
}

/// What a template is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToTemplate {
    Fork,
}

/// What a template says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FromTemplate {
    Ready { threads: u32 },
    Refused { reason: String },
    Forked { pid: i32 },
    Exited { pid: i32, status: i32 },
}

/// A worker that is to be forked: its descriptors, and who waits for it.
#[derive(Debug)]
struct Order {
    descriptors: Vec<OwnedFd>,
    answer: oneshot::Sender<Forked>,
}

/// A worker that a template has forked.
#[derive(Debug)]
pub(super) struct Forked {
    /// Process, and process group.
    pub(super) pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    end: oneshot::Receiver<i32>,
    status: Option<ExitStatus>,
}

impl Forked {
    /// Kills it and what it has started, unless it is known to have ended.
    pub(super) fn kill(&self) {
        if self.status.is_none() {
            kill_group(self.pid);
        }
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // The descriptor stays readable: nobody clears that.
        let _ = self.pidfd.readable().await?;
        let told = tokio::time::timeout(STATUS_GRACE, &mut self.end).await;
        let status = told.ok().and_then(Result::ok).unwrap_or(UNKNOWN_STATUS);
        let status = ExitStatus::from_raw(status);
        self.status = Some(status);
        Ok(status)
    }
}

/// The template of a model version, started when the first worker is wanted.
#[derive(Debug, Default)]
pub struct Template(Mutex<Slot>);

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    Running {
        orders: mpsc::Sender<Order>,
        driver: JoinHandle<()>,
    },
    /// It cannot be had; workers start without it.
    GivenUp,
}

impl Template {
    /// Forks a worker that gets these descriptors: link, arena, wake-up, control socket, stdout,
    /// stderr. A template that runs no more is started anew.
    ///
    /// # Errors
    /// Why it cannot; then it is not tried again for this model version, unless the template ended
    /// after it had been ready.
    pub(super) async fn fork(
        &self,
        context: &Arc<ModelContext>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Forked, TemplateError> {
        let orders = {
            let mut slot = self.0.lock().await;
            match &*slot {
                Slot::GivenUp => return Err(TemplateError::GivenUp),
                Slot::Running { orders, .. } if !orders.is_closed() => orders.clone(),
                _ => match start(context).await {
                    Ok((orders, driver)) => {
                        let sender = orders.clone();
                        *slot = Slot::Running { orders, driver };
                        sender
                    }
                    Err(error) => {
                        *slot = Slot::GivenUp;
                        return Err(error);
                    }
                },
            }
        };
        let (answer, forked) = oneshot::channel();
        let order = Order {
            descriptors,
            answer,
        };
        let is_sent = orders.send(order).await.is_ok();
        let forked = if is_sent { forked.await.ok() } else { None };
        forked.ok_or(TemplateError::Ended)
    }

    /// Ends the process; resolves when it is gone.
    pub(super) async fn stop(&self) {
        let slot = std::mem::replace(&mut *self.0.lock().await, Slot::GivenUp);
        if let Slot::Running { orders, driver } = slot {
            drop(orders);
            let _ = driver.await;
        }
    }
}

/// Starts the process and waits until it can be forked.
async fn start(
    context: &Arc<ModelContext>,
) -> Result<(mpsc::Sender<Order>, JoinHandle<()>), TemplateError> {
    let (socket, theirs) = PacketSocket::pair()?;
    let assigned = Assigned::default();
    let variables = context.variables(&assigned);
    let mut child = context
        .environment
        .spawn_template(context.python(), &variables, theirs)?;
    let name: Arc<str> = format!("T-{}_{}", context.name, context.version).into();
    if let Some(pipe) = child.stdout.take() {
        output::pump(pipe, Arc::clone(context), Arc::clone(&name), Stream::Stdout);
    }
    if let Some(pipe) = child.stderr.take() {
        output::pump(pipe, Arc::clone(context), Arc::clone(&name), Stream::Stderr);
    }
    socket.send(&context.load_message(&assigned), &[]).await?;
    let patience = context.settings.startup_timeout;
    let first = tokio::time::timeout(patience, socket.receive());
    match first.await.map_err(|_| TemplateError::Late(patience))?? {
        (FromTemplate::Ready { threads }, _) => {
            tracing::info!(template = %name, pid = child.id(), threads, "template is ready");
        }
        (FromTemplate::Refused { reason }, _) => return Err(TemplateError::Refused(reason)),
        (other, _) => return Err(TemplateError::Malformed(format!("{other:?}"))),
    }
    let (orders, inbox) = mpsc::channel(16);
    Ok((orders, tokio::spawn(drive(child, socket, inbox, name))))
}

/// Passes orders to the template and its news to those who wait, until nobody orders any more.
async fn drive(
    mut child: Child,
    socket: PacketSocket,
    mut orders: mpsc::Receiver<Order>,
    name: Arc<str>,
) {
    let mut waiting = VecDeque::new();
    let mut ends = HashMap::new();
    let failure = loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { break None };
                if let Err(error) = socket.send(&ToTemplate::Fork, &order.descriptors).await {
                    break Some(error);
                }
                waiting.push_back(order.answer);
            }
            news = socket.receive() => match news {
                Ok((FromTemplate::Forked { pid }, Some(pidfd))) if pid > 1 => {
                    let (sender, end) = oneshot::channel();
                    ends.insert(pid, sender);
                    let Some(answer) = waiting.pop_front() else {
                        break Some(TemplateError::Malformed("a fork that nobody wanted".to_owned()));
                    };
                    let pidfd = match watched(pidfd, Interest::READABLE) {
                        Ok(pidfd) => pidfd,
                        Err(error) => break Some(error.into()),
                    };
                    let forked = Forked { pid, pidfd, end, status: None };
                    // Nobody waits any more: its descriptors here are closed, and so it ends.
                    let _ = answer.send(forked);
                }
                Ok((FromTemplate::Exited { pid, status }, _)) => {
                    if let Some(end) = ends.remove(&pid) {
                        let _: Result<(), i32> = end.send(status);
                    }
                }
                Ok((other, _)) => break Some(TemplateError::Malformed(format!("{other:?}"))),
                Err(error) => break Some(error),
            },
        }
    };
    if let Some(error) = failure {
        tracing::warn!(template = %name, "{error}; the next worker gets a new one");
    }
    let _ = child.kill().await;
}
