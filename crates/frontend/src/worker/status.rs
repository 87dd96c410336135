//! What is known about a worker at this moment.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

use jiff::Timestamp;

use super::device::Assigned;
use super::failure::LastFailure;

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    /// Its process is being started or is loading the model.
    Loading = 0,
    /// It serves.
    Ready = 1,
    /// It failed and waits for its next start.
    BackingOff = 2,
    /// It kept failing for longer than `maxRetryTimeoutInSec` and is not started again.
    Failed = 3,
    /// It is being stopped.
    Stopping = 4,
}

impl WorkerState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::BackingOff => "BACKING_OFF",
            Self::Failed => "FAILED",
            Self::Stopping => "STOPPING",
        }
    }
}

/// Shared between a worker's task, the pool and describe.
#[derive(Debug)]
pub struct WorkerStatus {
    /// Worker id, unique in the server's life; TorchServe shows it as the worker's port.
    pub id: u64,
    /// When the worker was created; a restart does not change it.
    pub created: Timestamp,
    /// GPU, or `None` on the CPU.
    pub gpu: Option<u32>,
    pub(super) assigned: Assigned,
    state: AtomicU8,
    pid: AtomicI32,
    has_been_ready: AtomicBool,
    last_failure: Mutex<Option<LastFailure>>,
}

impl WorkerStatus {
    pub(super) fn new(id: u64, assigned: Assigned) -> Self {
        Self {
            id,
            created: Timestamp::now(),
            gpu: assigned.gpu,
            assigned,
            state: AtomicU8::new(WorkerState::Loading as u8),
            pid: AtomicI32::new(-1),
            has_been_ready: AtomicBool::new(false),
            last_failure: Mutex::new(None),
        }
    }

    /// Where the worker is in its life.
    pub fn state(&self) -> WorkerState {
        match self.state.load(Ordering::Acquire) {
            0 => WorkerState::Loading,
            1 => WorkerState::Ready,
            2 => WorkerState::BackingOff,
            3 => WorkerState::Failed,
            _ => WorkerState::Stopping,
        }
    }

    /// Whether it serves at the moment.
    pub fn is_ready(&self) -> bool {
        self.state() == WorkerState::Ready
    }

    /// Whether it has served at any time.
    pub fn has_been_ready(&self) -> bool {
        self.has_been_ready.load(Ordering::Relaxed)
    }

    pub(super) fn set_state(&self, state: WorkerState) {
        if state == WorkerState::Ready {
            self.has_been_ready.store(true, Ordering::Relaxed);
        }
        self.state.store(state as u8, Ordering::Release);
    }

    /// Process id; -1 until there is one.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(super) fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Why it last failed, if it ever did.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure
            .lock()
            .ok()
            .and_then(|failure| failure.clone())
    }

    pub(super) fn set_failure(&self, failure: LastFailure) {
        if let Ok(mut slot) = self.last_failure.lock() {
            *slot = Some(failure);
        }
    }

    /// The worker's share of the memory it uses, in bytes, where the kernel tells.
    pub fn proportional_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Resident bytes of the worker process now; 0 when unknown.
    pub fn memory_bytes(&self) -> u64 {
        let Ok(statm) = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())) else {
            return 0;
        };
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or_default();
        pages * rustix::param::page_size() as u64
    }
}
