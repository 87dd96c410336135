//! Lock-free job queues and batch formation; jobs are known only as [`Queued`].
//!
//! A model version has one [`Batcher`], to which any thread pushes jobs, and one [`Taker`], which forms batches by a
//! [`Policy`]. Nothing here knows what a job is, waits, or reads a clock. Whoever changed something that can close a
//! batch (a job came, a worker fell idle, a delay ended) passes through a [`Combiner`], in which one thread at a time
//! hands out what is ready:
//!
//! ```text
//!                                    ┌─ idle worker: full, or due
//! push ──> admitted ──> staged ──take──> batch
//!                       (Taker)      └─ busy worker: full
//! └──────────── a place is held ────────────────────────────┘ release
//! ```
//!
//! # Example
//!
//! ```
//! use std::{num::NonZeroUsize, time::{Duration, Instant}};
//! use tserve_batcher::{Batcher, Combiner, Policy, Queued, Take, Taken};
//!
//! struct Job(Instant);
//!
//! impl Queued for Job {
//!     fn is_live(&self, _now: Instant) -> bool {
//!         true
//!     }
//!
//!     fn arrived(&self) -> Instant {
//!         self.0
//!     }
//! }
//!
//! let policy = Policy {
//!     batch_size: NonZeroUsize::new(2).expect("2 is not zero"),
//!     max_batch_delay: Duration::from_millis(50),
//! };
//! let (batcher, taker) = Batcher::new(policy, 100);
//! let gate = Combiner::new(taker);
//! let dispatch = || {
//!     gate.run(|taker| match taker.take(Instant::now(), Take::DueOnly) {
//!         Taken::Batch(jobs) => batcher.release(jobs.len()), // hand the jobs to a worker; here they have started
//!         Taken::Wait(_due) => {}                            // set a timer that calls dispatch
//!         Taken::Empty => {}
//!     })
//! };
//! batcher.push(Job(Instant::now()))?;
//! dispatch();
//! batcher.push(Job(Instant::now()))?;
//! dispatch();
//! assert_eq!(batcher.waiting(), 0);
//! # Ok::<(), tserve_batcher::PushError<Job>>(())
//! ```
//!
//! # What the model check covers
//!
//! `tests/loom.rs` runs the queue, the gate, and both under a batcher in every interleaving of two or three threads
//! with at most five preemptions; without that bound it ends too, in about a minute (`LOOM_MAX_PREEMPTIONS=100`). loom
//! also tries the older values that the memory model lets a load return, and watches every access to a slot and to the
//! gate's state for data races, and every value for leaks. So checked are:
//!
//! - *queue*: no value is lost, doubled or read half written; the bound is exact and a freed place can be filled by
//!   whoever freed it; a slot is reused only after its value moved out, even if places are released wrongly; a push
//!   against a close, or against the end of the consumer, is refused or drained.
//! - *gate*: one thread inside at a time; no note is lost, also when the thread inside panics or calls itself.
//! - *together*: a job is handed out once, beside other pushes and a close.
//!
//! Each memory ordering in `queue.rs` and `combiner.rs` that is stronger than relaxed was weakened in turn, and so were
//! the bound, the last pop of a closed queue and the gate's hand-over: every time one of the checks failed. Not covered:
//!
//! - more threads, more than a few laps around the ring, and the wrap of 64-bit counters, which is out of reach;
//! - interleavings that loom's reduction takes for equal to one it tried. It keeps one last access per location and can
//!   miss a switch for that (`whoever_frees_a_place_can_fill_one` shows one and how to ask for it);
//! - spurious failures of `compare_exchange_weak`, which loom does not produce; they only repeat a loop;
//! - reordering of a load with a later store of the same thread (load buffering), which loom cannot express;
//! - what the clock does. Time is an argument here, and `tests/batches` covers it: a property test compares any sequence
//!   of events with a model of the live jobs (none lost, none twice, order, size, delay, places).
//!
//! `tests/stress.rs` adds real threads and cancelled jobs; it and the unit tests also
//! run in miri (`cargo +nightly miri test -p tserve-batcher --lib --test stress`).

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
