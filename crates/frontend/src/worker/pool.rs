//! The workers of one model version: how many there are to be, and who they are.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::context::ModelContext;
use super::device::Devices;
use super::failure::LastFailure;
use super::status::{WorkerState, WorkerStatus};
use super::supervisor::{FirstLoad, StopMode, Supervisor};
use crate::error::Error;

/// One worker of a pool.
#[derive(Debug)]
struct Member {
    status: Arc<WorkerStatus>,
    stop: watch::Sender<StopMode>,
    task: JoinHandle<()>,
}

/// How a scaling operation went.
#[derive(Debug)]
pub struct ScaleOutcome {
    loading: Vec<watch::Receiver<FirstLoad>>,
    stopping: Vec<JoinHandle<()>>,
}

/// The workers of one model version.
#[derive(Debug)]
pub struct WorkerPool {
    context: Arc<ModelContext>,
    members: Mutex<Vec<Member>>,
    count: AtomicUsize,
    /// Set when every worker has been given up; requests are refused then.
    is_given_up: AtomicBool,
    /// Becomes true when workers that are being stopped are to end at once.
    hurry: watch::Sender<bool>,
    min: AtomicU32,
    max: AtomicU32,
    ids: Arc<AtomicU64>,
    devices: Arc<Devices>,
    /// Workers so far of a model that names its own devices.
    own_devices_next: AtomicUsize,
}

impl WorkerPool {
    /// An empty pool. `ids` and `devices` are shared by all pools of a server.
    pub fn new(
        context: Arc<ModelContext>,
        ids: Arc<AtomicU64>,
        devices: Arc<Devices>,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            members: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
            hurry: watch::Sender::new(false),
            min: AtomicU32::new(0),
            max: AtomicU32::new(0),
            ids,
            devices,
            own_devices_next: AtomicUsize::new(0),
        })
    }

    /// What its workers serve.
    pub fn context(&self) -> &Arc<ModelContext> {
        &self.context
    }

    /// Number of workers, loading and restarting ones among them.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is a worker that serves or may serve later.
    pub fn can_serve(&self) -> bool {
        self.count() > 0 && !self.is_given_up.load(Ordering::Relaxed)
    }

    /// The least and the most workers there are to be.
    pub fn bounds(&self) -> (u32, u32) {
        (
            self.min.load(Ordering::Relaxed),
            self.max.load(Ordering::Relaxed),
        )
    }

    /// Workers that have not been given up.
    pub fn healthy(&self) -> usize {
        let members = self.members();
        members
            .iter()
            .filter(|member| member.status.state() != WorkerState::Failed)
            .count()
    }

    /// Whether some worker serves at the moment.
    pub fn is_serving(&self) -> bool {
        let members = self.members();
        members.iter().any(|member| member.status.is_ready())
    }

    /// What is known of each worker, oldest first.
    pub fn statuses(&self) -> Vec<Arc<WorkerStatus>> {
        self.members()
            .iter()
            .map(|member| Arc::clone(&member.status))
            .collect()
    }

    /// Starts workers up to `min`, or stops the newest ones down to `max`.
    pub fn scale(self: &Arc<Self>, min: u32, max: u32) -> ScaleOutcome {
        self.min.store(min, Ordering::Relaxed);
        self.max.store(max, Ordering::Relaxed);
        let mut outcome = ScaleOutcome {
            loading: Vec::new(),
            stopping: Vec::new(),
        };
        let mut members = self.members();
        while members.len() < min as usize {
            let (member, loading) = self.start_worker();
            self.is_given_up.store(false, Ordering::Relaxed);
            members.push(member);
            outcome.loading.push(loading);
        }
        while members.len() > max as usize {
            let Some(member) = members.pop() else { break };
            outcome
                .stopping
                .push(self.stop_member(member, StopMode::Drain));
        }
        self.count.store(members.len(), Ordering::Relaxed);
        drop(members);
        if self.count() == 0 {
            self.answer_waiting();
        }
        outcome
    }

    /// Stops every worker; resolves when none of their processes is left.
    pub async fn stop(&self, mode: StopMode) {
        self.min.store(0, Ordering::Relaxed);
        self.max.store(0, Ordering::Relaxed);
        let members = std::mem::take(&mut *self.members());
        self.count.store(0, Ordering::Relaxed);
        let stopping: Vec<_> = members
            .into_iter()
            .map(|member| self.stop_member(member, mode))
            .collect();
        for task in stopping {
            let _ = task.await;
        }
    }

    /// Ends at once whatever is still being stopped.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Whether [`Self::hurry`] was called.
    pub fn is_hurried(&self) -> bool {
        *self.hurry.borrow()
    }

    fn stop_member(&self, member: Member, mode: StopMode) -> JoinHandle<()> {
        let Member { stop, mut task, .. } = member;
        let mut hurry = self.hurry.subscribe();
        stop.send_replace(mode);
        tokio::spawn(async move {
            tokio::select! {
                _ = &mut task => return,
                Ok(_) = hurry.wait_for(|hurry| *hurry) => {}
            }
            stop.send_replace(StopMode::Kill);
            let _ = task.await;
        })
    }

    fn start_worker(self: &Arc<Self>) -> (Member, watch::Receiver<FirstLoad>) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let gpu = self
            .devices
            .assign(&self.context.settings, &self.own_devices_next);
        let status = Arc::new(WorkerStatus::new(id, gpu));
        let (stop, stop_receiver) = watch::channel(StopMode::Run);
        let (first_load, loading) = watch::channel(None);
        let pool: Weak<Self> = Arc::downgrade(self);
        let supervisor = Supervisor {
            context: Arc::clone(&self.context),
            status: Arc::clone(&status),
            stop: stop_receiver,
            first_load,
            given_up: Box::new(move || {
                if let Some(pool) = pool.upgrade()
                    && pool.healthy() == 0
                {
                    pool.is_given_up.store(true, Ordering::Relaxed);
                    pool.answer_waiting();
                }
            }),
        };
        let task = tokio::spawn(supervisor.run());
        (Member { status, stop, task }, loading)
    }

    /// Answers the requests that no worker will ever take.
    fn answer_waiting(&self) {
        self.context.dispatcher.flush(Error::Unavailable(format!(
            "Model \"{}\" has no worker left to serve the request.",
            self.context.name
        )));
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScaleOutcome {
    /// Waits until every new worker has loaded and every stopped one is gone.
    ///
    /// # Errors
    /// The first failure of a new worker's first load.
    pub async fn wait(self) -> Result<(), LastFailure> {
        for task in self.stopping {
            let _ = task.await;
        }
        for mut loading in self.loading {
            let outcome = match loading.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                // Stopped before it had loaded: not a failure of the model.
                Err(_) => continue,
            };
            if let Some(Err(failure)) = outcome {
                return Err(failure);
            }
        }
        Ok(())
    }
}
