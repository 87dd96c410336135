//! Lock-free job queues and batch formation; jobs are known only as [`Queued`].

mod batch;
mod combiner;
mod policy;
mod queue;
mod sync;

pub use self::{
    batch::{Batcher, Queued, Take, Taken, Taker},
    combiner::Combiner,
    policy::Policy,
    queue::{Consumer, Producer, PushError, bounded},
};
