//! The workers of one model version: how many there are to be, and who they are.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::context::ModelContext;
use super::device::Devices;
use super::failure::LastFailure;
use super::status::{WorkerState, WorkerStatus};
use super::supervisor::{FirstLoad, StopMode, Supervisor};
use crate::error::Error;

/// How often a queue that drains is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// One worker of a pool.
#[derive(Debug)]
struct Member {
    status: Arc<WorkerStatus>,
    stop: watch::Sender<StopMode>,
    first_load: watch::Receiver<FirstLoad>,
    task: JoinHandle<()>,
}

/// Who is in the pool; changed under the lock only.
#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// Set for good by [`WorkerPool::stop`].
    is_closed: bool,
    /// Scaling operations so far.
    generation: u64,
}

impl Members {
    fn healthy(&self) -> usize {
        let states = self.list.iter().map(|member| member.status.state());
        states.filter(|state| *state != WorkerState::Failed).count()
    }
}

/// How a scaling operation goes.
#[derive(Debug)]
pub struct ScaleOutcome {
    loading: Vec<watch::Receiver<FirstLoad>>,
    stopping: JoinHandle<()>,
    undo: Undo,
}

/// What it takes to take a scaling operation back.
#[derive(Debug, Clone)]
pub struct Undo {
    before: (u32, u32),
    generation: u64,
    started: Vec<u64>,
}

/// How the wait for a scaling operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaled {
    /// The workers there were to be have loaded.
    Done,
    /// Some were stopped by somebody else before they had loaded.
    Overtaken,
}

/// The workers of one model version.
#[derive(Debug)]
pub struct WorkerPool {
    context: Arc<ModelContext>,
    members: Mutex<Members>,
    count: AtomicUsize,
    /// Whether it has been said how many workers there are to be. Until then requests wait.
    is_scaled: AtomicBool,
    /// Set when every worker has been given up; requests are refused then.
    is_given_up: AtomicBool,
    /// Whether nobody will ever take what waits, unless workers are started.
    is_deserted: AtomicBool,
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
            members: Mutex::default(),
            count: AtomicUsize::new(0),
            is_scaled: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            is_deserted: AtomicBool::new(false),
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

    /// Whether there is a worker that serves or may serve later, or it has yet to be said how many
    /// there are to be.
    pub fn can_serve(&self) -> bool {
        let has_workers = self.count() > 0 || !self.is_scaled.load(Ordering::Relaxed);
        has_workers && !self.is_given_up.load(Ordering::Relaxed)
    }

    /// The least and the most workers there are to be.
    pub fn bounds(&self) -> (u32, u32) {
        (
            self.min.load(Ordering::Relaxed),
            self.max.load(Ordering::Relaxed),
        )
    }

    /// Whether it has been stopped for good.
    pub fn is_closed(&self) -> bool {
        self.members().is_closed
    }

    /// Workers that have not been given up.
    pub fn healthy(&self) -> usize {
        self.members().healthy()
    }

    /// What is known of each worker, oldest first.
    pub fn statuses(&self) -> Vec<Arc<WorkerStatus>> {
        let members = self.members();
        let statuses = members.list.iter().map(|member| &member.status);
        statuses.map(Arc::clone).collect()
    }

    /// Starts workers up to `min`, both numbers being bounded by the devices that there are, or stops some down to `max`: those that do not serve first, then
    /// the newest. Workers that were given up are replaced. Those that stop finish what they run,
    /// and what waits when none is to stay, for `patience` at most. `None` once the pool is closed.
    pub fn scale(self: &Arc<Self>, min: u32, max: u32, patience: Duration) -> Option<ScaleOutcome> {
        let most = self.context.settings.parallel.most_workers;
        let (min, max) = most.map_or((min, max), |most| (min.min(most), max.min(most)));
        let mut members = self.members();
        if members.is_closed {
            return None;
        }
        members.generation += 1;
        let mut undo = Undo {
            before: self.bounds(),
            generation: members.generation,
            started: Vec::new(),
        };
        self.min.store(min, Ordering::Relaxed);
        self.max.store(max, Ordering::Relaxed);
        let given_up = |member: &mut Member| member.status.state() == WorkerState::Failed;
        let mut leaving: Vec<_> = members.list.extract_if(.., given_up).collect();
        if members.list.len() < min as usize {
            self.is_deserted.store(false, Ordering::Relaxed);
            self.is_given_up.store(false, Ordering::Relaxed);
        }
        while members.list.len() < min as usize {
            let member = self.start_worker();
            undo.started.push(member.status.id);
            members.list.push(member);
        }
        while members.list.len() > max as usize {
            let place = members.list.iter().rposition(|it| !it.status.is_ready());
            let place = place.unwrap_or(members.list.len() - 1);
            leaving.push(members.list.remove(place));
        }
        self.count.store(members.list.len(), Ordering::Relaxed);
        self.is_scaled.store(true, Ordering::Relaxed);
        let loading = members.list.iter().map(|member| member.first_load.clone());
        let loading = loading.collect();
        drop(members);
        Some(ScaleOutcome {
            loading,
            stopping: tokio::spawn(Arc::clone(self).dismiss(leaving, patience)),
            undo,
        })
    }

    /// Takes a scaling operation back, unless another one came after it.
    pub async fn undo(self: &Arc<Self>, undo: Undo, patience: Duration) {
        let leaving = {
            let mut members = self.members();
            if members.is_closed || members.generation != undo.generation {
                return;
            }
            let (min, max) = undo.before;
            self.min.store(min, Ordering::Relaxed);
            self.max.store(max, Ordering::Relaxed);
            let was_started = |member: &mut Member| undo.started.contains(&member.status.id);
            let leaving = members.list.extract_if(.., was_started).collect();
            self.count.store(members.list.len(), Ordering::Relaxed);
            leaving
        };
        Arc::clone(self).dismiss(leaving, patience).await;
    }

    /// Closes the pool and stops every worker, what waits and runs being finished first, for
    /// `patience` at most; what is left then is told `error`. Resolves when no process is left.
    pub async fn stop(&self, patience: Duration, error: Error) {
        let deadline = Instant::now() + patience;
        let leaving = {
            let mut members = self.members();
            members.is_closed = true;
            self.min.store(0, Ordering::Relaxed);
            self.max.store(0, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
            std::mem::take(&mut members.list)
        };
        self.finish_queue(&leaving, deadline).await;
        self.context.dispatcher.close(error);
        self.end(leaving, deadline).await;
        self.context.template.stop().await;
    }

    /// Ends at once whatever is still being stopped.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Answers what waits if nobody will ever take it. Called after a request was queued, because
    /// the last worker may have gone between the look at the pool and the place in the queue.
    pub fn answer_if_deserted(&self) {
        // SYNC: deserted. Either this sees the flag, or whoever set it sees the request.
        fence(Ordering::SeqCst);
        if self.is_deserted.load(Ordering::Relaxed) {
            self.answer_waiting();
        }
    }

    /// Ends workers that are no members any more.
    async fn dismiss(self: Arc<Self>, leaving: Vec<Member>, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.finish_queue(&leaving, deadline).await;
        self.end(leaving, deadline).await;
        self.desert_if(|members| members.list.is_empty());
    }

    /// Lets workers that are to leave take what waits, as long as there are no others for it and
    /// one of them serves.
    async fn finish_queue(&self, leaving: &[Member], deadline: Instant) {
        while self.count() == 0
            && self.context.dispatcher.waiting() > 0
            && leaving.iter().any(|member| member.status.is_ready())
            && !*self.hurry.borrow()
            && Instant::now() < deadline
        {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Stops workers; resolves when none of their processes is left.
    async fn end(&self, leaving: Vec<Member>, deadline: Instant) {
        for member in &leaving {
            member.stop.send_replace(StopMode::Drain);
        }
        let (stops, mut tasks): (Vec<_>, Vec<_>) = leaving
            .into_iter()
            .map(|member| (member.stop, member.task))
            .unzip();
        let all_gone = async {
            for task in &mut tasks {
                let _ = task.await;
            }
        };
        let mut hurry = self.hurry.subscribe();
        tokio::select! {
            biased;
            () = all_gone => return,
            Ok(_) = hurry.wait_for(|hurry| *hurry) => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        for stop in &stops {
            stop.send_replace(StopMode::Kill);
        }
        for task in tasks {
            // Some have ended above; a task must not be awaited again then.
            if !task.is_finished() {
                let _ = task.await;
            }
        }
    }

    fn start_worker(self: &Arc<Self>) -> Member {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let assigned = self
            .devices
            .assign(&self.context.settings, &self.own_devices_next);
        let status = Arc::new(WorkerStatus::new(id, assigned));
        let (stop, stop_receiver) = watch::channel(StopMode::Run);
        let (sender, first_load) = watch::channel(None);
        let pool: Weak<Self> = Arc::downgrade(self);
        let supervisor = Supervisor {
            context: Arc::clone(&self.context),
            status: Arc::clone(&status),
            stop: stop_receiver,
            first_load: sender,
            given_up: Box::new(move || {
                if let Some(pool) = pool.upgrade() {
                    pool.desert_if(|members| members.healthy() == 0);
                }
            }),
        };
        let task = tokio::spawn(supervisor.run());
        Member {
            status,
            stop,
            first_load,
            task,
        }
    }

    /// Answers what waits and whatever still comes, if no worker will ever take it.
    fn desert_if(&self, is_hopeless: impl FnOnce(&Members) -> bool) {
        {
            // Under the lock, because starting a worker brings hope back.
            let members = self.members();
            if !is_hopeless(&members) {
                return;
            }
            self.is_given_up
                .store(!members.list.is_empty(), Ordering::Relaxed);
            self.is_deserted.store(true, Ordering::Relaxed);
        }
        // SYNC: deserted.
        fence(Ordering::SeqCst);
        self.answer_waiting();
    }

    fn answer_waiting(&self) {
        self.context.dispatcher.flush(Error::Unavailable(format!(
            "Model \"{}\" has no worker left to serve the request.",
            self.context.name
        )));
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScaleOutcome {
    /// What it takes to take the operation back.
    pub fn undo(&self) -> Undo {
        self.undo.clone()
    }

    /// Waits until every worker there is to be has loaded and every stopped one is gone.
    ///
    /// # Errors
    /// The first failure of a worker's first load.
    pub async fn wait(self) -> Result<Scaled, LastFailure> {
        let _ = self.stopping.await;
        let mut scaled = Scaled::Done;
        for mut loading in self.loading {
            match loading.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(failure))) => return Err(failure.clone()),
                Ok(_) => {}
                // Stopped before it had loaded: not a failure of the model.
                Err(_) => scaled = Scaled::Overtaken,
            }
        }
        Ok(scaled)
    }
}
