//! A gate that one thread at a time passes, and at which nobody waits.

#![expect(
    unsafe_code,
    reason = "the gate, not the type system, gives one thread the state"
)]

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::sync::{AtomicUsize, Ordering, UnsafeCell};

/// State that threads work on one at a time, without a lock: who comes while another works leaves a note and goes.
///
/// The one who works sees the note and goes through once more. So after [`run`](Self::run) returns, some run that began
/// after the call did has finished or is under way, and whatever the caller published before the call is seen by it:
/// no wake-up is lost.
///
/// All callers must mean the same operation, because a note does not say whose function to run: the thread inside runs
/// *its own* once more. The function should do all the work it can find.
///
/// A thread inside serves notes for as long as they come. One round serves all the notes of the round before, so this
/// ends when the callers pause for the length of one round.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use tserve_batcher::Combiner;
///
/// let posted = AtomicU32::new(0);
/// let total = Combiner::new(0);
/// std::thread::scope(|scope| {
///     for amount in 1..=4 {
///         let (posted, total) = (&posted, &total);
///         scope.spawn(move || {
///             posted.fetch_add(amount, Ordering::Relaxed);
///             total.run(|total| *total += posted.swap(0, Ordering::Relaxed));
///         });
///     }
/// });
/// assert_eq!(total.into_inner(), 10);
/// ```
///
/// # Source
///
/// Flat combining (Hendler, Incze, Shavit, Tzafrir, SPAA 2010, <https://doi.org/10.1145/1810479.1810540>) with the
/// publication list reduced to a count of notes, which is the "queue-drain" loop of reactive libraries.
pub struct Combiner<S> {
    /// 0 when nobody is inside; else 1 plus the notes left since the one inside last looked.
    callers: AtomicUsize,
    state: UnsafeCell<S>,
}

// SAFETY: the state is handed from thread to thread, never shared, hence `Send` is enough: only the thread that raised
// `callers` from 0 touches it, until the same thread puts 0 back.
unsafe impl<S: Send> Sync for Combiner<S> {}

impl<S> Combiner<S> {
    /// Makes an open gate around `state`.
    pub fn new(state: S) -> Self {
        Self {
            callers: AtomicUsize::new(0),
            state: UnsafeCell::new(state),
        }
    }

    /// Runs `operation` on the state now, or has the thread that is inside run its own once more; never waits.
    ///
    /// Calling it from within `operation` is a note like any other.
    ///
    /// # Panics
    ///
    /// Passes on a panic of `operation`, after the gate is open again and all notes were served. When several rounds
    /// panic, the last one is passed on.
    ///
    /// # Ordering
    ///
    /// What happened before a call happens before the round that serves it (SYNC: note), and one thread's rounds
    /// happen before the next thread's (SYNC: gate).
    pub fn run(&self, mut operation: impl FnMut(&mut S)) {
        // SYNC: note, released to the exchange below. SYNC: gate, acquired from the exchange below.
        if self.callers.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let mut served = 1;
        let mut panic = None;
        loop {
            let round = || {
                self.state.with_mut(|state| {
                    // SAFETY: we raised `callers` from 0 and have not put it back, so no other thread is here; the
                    // last one's work is visible (SYNC: gate).
                    operation(unsafe { &mut *state });
                });
            };
            // A panic must neither keep the gate shut nor take the notes of others with it. The state is as unwind
            // safe as it is in a panic that a caller catches: it may be half changed, not invalid.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(round)) {
                panic = Some(payload);
            }
            match self.callers.compare_exchange(
                served,
                0,
                Ordering::Release, // SYNC: gate
                Ordering::Acquire, // SYNC: note
            ) {
                Ok(_) => break,
                Err(callers) => served = callers,
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// The state, when nobody can be inside.
    pub fn into_inner(self) -> S {
        self.state.into_inner()
    }
}

impl<S> fmt::Debug for Combiner<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Combiner")
            .field("callers", &self.callers)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::panic_any;

    use super::*;

    #[test]
    fn a_call_from_inside_is_served_by_another_round() {
        let gate = Combiner::new(Vec::new());
        let mut round = 0;
        gate.run(|rounds| {
            round += 1;
            if round < 3 {
                gate.run(|_| unreachable!("a note does not run its caller's function"));
            }
            rounds.push(round);
        });
        assert_eq!(gate.into_inner(), [1, 2, 3]);
    }

    #[test]
    fn a_panic_is_passed_on_after_the_notes_are_served_and_the_gate_is_open() {
        let gate = Combiner::new(0);
        let mut first = true;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            gate.run(|rounds| {
                *rounds += 1;
                if std::mem::take(&mut first) {
                    gate.run(|_| unreachable!("a note does not run its caller's function"));
                    panic_any("on purpose");
                }
            });
        }));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"on purpose"));
        gate.run(|rounds| *rounds += 1);
        assert_eq!(gate.into_inner(), 3);
    }
}
