//! Worker processes: how they are started, watched, restarted and stopped.

mod backoff;
mod context;
mod control;
mod device;
mod draining;
mod failure;
mod history;
mod interpreter;
mod life;
mod memory;
mod output;
mod pool;
mod process;
mod schemas;
mod side_by_side;
mod status;
mod streaming;
mod supervisor;
mod template;

pub use self::context::{InputKind, JsonNumbers, ModelContext};
pub use self::device::Devices;
pub use self::failure::{LastFailure, Raised};
pub use self::history::{FailureHistory, FailureOf, RecordedFailure};
pub use self::interpreter::{InterpreterNotFound, find_interpreter};
pub use self::pool::{ScaleOutcome, Scaled, Undo, WorkerPool};
pub use self::process::WorkerEnvironment;
pub use self::schemas::Schemas;
pub use self::status::{WorkerState, WorkerStatus};
pub use self::template::Template;
