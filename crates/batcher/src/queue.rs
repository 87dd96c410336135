//! A bounded queue of many producers and one consumer, in which a place outlives its stay in the queue.
//!
//! A pushed value takes one of `capacity` *places*. Popping the value does not free the place; [`Producer::release`]
//! does, when whoever popped the value says that it is no longer pending. So the bound holds over values that wait and
//! values that were popped but not begun, and it is exact: with one place the second pending value is refused.
//!
//! ```text
//!          released          popped                     claimed
//! ───────────┼─────────────────┼────────────────────────────┼──────────> positions, one per value ever pushed
//!   free     │  popped, place  │  written, or being written │  free
//!   again    │  still held     │  by their producers        │
//!            └──── claimed - released <= capacity <= slots ─┘
//! ```
//!
//! The three counters only grow (64 bits: 2^63 values never come), and position `p` lives in slot `p % slots`. A slot
//! carries the *stamp* `p + 1` once the value of position `p` is written. Unlike in the original algorithm the consumer
//! never touches the stamp: a producer learns that a slot is free from `released`, which it must read for the bound
//! anyway. That is also what lets the queue have a single slot.
//!
//! # Progress
//!
//! `push` is lock-free and never allocates: a failed round means that another push succeeded. A producer that is
//! descheduled between claiming a position and stamping it hides later values from the consumer until it runs again;
//! `pop` then answers `None` rather than wait. A consumer that is told of every finished push, as by
//! [`Combiner::run`](crate::Combiner::run), therefore misses nothing.
//!
//! # Source
//!
//! Dmitry Vyukov's bounded MPMC queue, <https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue>;
//! the mark that closes the queue sits in the claim counter as in crossbeam-channel's `flavors::array`.

#![expect(
    unsafe_code,
    reason = "a slot is shared between threads without a lock; the counters say whose it is"
)]

use std::{fmt, mem::MaybeUninit};

use crate::sync::{Arc, AtomicU64, CachePadded, Ordering, UnsafeCell, yield_now};

/// Set in `claimed` once the queue is closed; no push can claim a position after that.
const CLOSED: u64 = 1 << 63;

/// Why a value was not queued; it is handed back.
pub enum PushError<T> {
    /// Every place is taken.
    Full(T),
    /// The queue takes no more values.
    Closed(T),
}

/// Pushes values and frees places, from any number of threads.
pub struct Producer<T>(Arc<Ring<T>>);

/// Pops values; there is one per queue, and dropping it closes the queue and drops what is in it.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// The next position to pop; `ring.popped` is its public copy.
    next: u64,
}

struct Ring<T> {
    /// The number of positions claimed by producers, and the `CLOSED` mark.
    claimed: CachePadded<AtomicU64>,
    /// The number of places freed, never more than `popped`.
    released: CachePadded<AtomicU64>,
    /// The number of positions popped; written by the consumer alone.
    popped: CachePadded<AtomicU64>,
    capacity: u64,
    /// The slots, a power of two of them, at least `capacity`, as two arrays: nothing touches the memory for the values
    /// until they come, so that a long queue that is never used costs its stamps only.
    stamps: Box<[AtomicU64]>,
    values: Box<[Cell<T>]>,
}

type Cell<T> = UnsafeCell<MaybeUninit<T>>;

struct Slot<'a, T> {
    /// `p + 1` once the value of position `p` is written; 0 at first.
    stamp: &'a AtomicU64,
    value: &'a Cell<T>,
}

// SAFETY: a value is moved in by one thread and moved out by another, so `T: Send`. No two threads touch the cell of a
// slot at once: for position `p` only the producer that claimed `p` writes, before the stamp `p + 1`; only the consumer
// reads, after it; and nobody claims `p + slots` before the consumer is done with `p` (see `Producer::push`).
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: the values are owned by the ring and `T: Send`.
unsafe impl<T: Send> Send for Ring<T> {}

/// Makes a queue of `capacity` places; with none, every push is refused.
///
/// All memory is allocated here.
///
/// # Panics
///
/// Panics if `capacity` is beyond `usize::MAX / 2 + 1` or its slots do not fit in memory.
pub fn bounded<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = capacity.max(1).next_power_of_two();
    let ring = Arc::new(Ring {
        claimed: CachePadded(AtomicU64::new(0)),
        released: CachePadded(AtomicU64::new(0)),
        popped: CachePadded(AtomicU64::new(0)),
        capacity: capacity as u64,
        stamps: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        values: (0..slots)
            .map(|_| Cell::new(MaybeUninit::uninit()))
            .collect(),
    });
    (Producer(Arc::clone(&ring)), Consumer { ring, next: 0 })
}

impl<T> Producer<T> {
    /// Queues `value`, or hands it back; never waits and never allocates.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] when `capacity` values are pending, [`PushError::Closed`] after [`close`](Self::close).
    ///
    /// # Ordering
    ///
    /// What happened before the push happens before the pop of its value (SYNC: stamp). A [`release`](Self::release)
    /// that happened before the push is seen by it (SYNC: place).
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        let ring = &*self.0;
        // SYNC: claim. Seeing position `p` claimed means seeing the releases that allowed it, so that a full queue is
        // reported only when it was full; the slots themselves are guarded by SYNC: place alone.
        let mut claimed = ring.claimed.0.load(Ordering::Acquire);
        loop {
            if claimed & CLOSED != 0 {
                return Err(PushError::Closed(value));
            }
            // SYNC: place, with the update in `release`.
            let released = ring.released.0.load(Ordering::Acquire);
            // `claimed` may be older than `released` and smaller; the exchange below then fails.
            if claimed.saturating_sub(released) >= ring.capacity {
                return Err(PushError::Full(value));
            }
            match ring.claimed.0.compare_exchange_weak(
                claimed,
                claimed + 1,
                Ordering::Release, // SYNC: claim
                Ordering::Acquire, // SYNC: claim
            ) {
                Ok(_) => break,
                Err(newer) => claimed = newer,
            }
        }
        let slot = ring.slot(claimed);
        // SAFETY: position `claimed` is ours alone by the exchange. The slot's former position, `claimed - slots`, is
        // below `released` because `claimed - released < capacity <= slots`; `released <= popped`, so its value has
        // been moved out, and that happened before our read of `released` (SYNC: popped, then SYNC: place).
        slot.value.with_mut(|cell| unsafe { (*cell).write(value) });
        // SYNC: stamp, with the load in `pop`.
        slot.stamp.store(claimed + 1, Ordering::Release);
        Ok(())
    }

    /// Frees the places of `count` popped values.
    ///
    /// Never frees the place of a value that was not popped; asking for it is a bug in the caller, caught in debug builds.
    pub fn release(&self, count: usize) {
        self.0.release(count as u64);
    }

    /// Refuses all further values; those already accepted can still be popped.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The number of values pushed and not popped; with pushes and pops under way, about that number.
    pub fn len(&self) -> usize {
        // In this order, and with SYNC: popped, `claimed` is at least `popped`.
        let popped = self.0.popped.0.load(Ordering::Acquire);
        let claimed = self.0.claimed.0.load(Ordering::Relaxed) & !CLOSED;
        usize::try_from(claimed - popped).unwrap_or(usize::MAX)
    }

    /// Whether every pushed value was popped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of places.
    pub fn capacity(&self) -> usize {
        self.0.capacity as usize
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value out of the queue; its place stays taken until it is [released](Producer::release).
    pub fn pop(&mut self) -> Option<T> {
        let slot = self.ring.slot(self.next);
        // SYNC: stamp, with the store in `push`.
        if slot.stamp.load(Ordering::Acquire) != self.next + 1 {
            return None;
        }
        // SAFETY: the stamp says that the value of position `next` is written and visible. It is moved out once,
        // because `next` only grows and `&mut self` is the only consumer.
        let value = slot
            .value
            .with(|cell| unsafe { (*cell).assume_init_read() });
        self.next += 1;
        // SYNC: popped, with the load in `Ring::release`.
        self.ring.popped.0.store(self.next, Ordering::Release);
        Some(value)
    }

    /// Takes the oldest value; of a closed queue, also one whose producer is still writing it.
    ///
    /// `None` from a closed queue thus means that nothing will ever come again. The wait is for another thread's few
    /// instructions between claiming a position and stamping it.
    pub fn pop_last(&mut self) -> Option<T> {
        loop {
            if let Some(value) = self.pop() {
                return Some(value);
            }
            // Relaxed: the count beside the mark is final, and the stamps tell when the values are there.
            if self.ring.claimed.0.load(Ordering::Relaxed) <= self.next | CLOSED {
                return None;
            }
            yield_now();
        }
    }

    /// Frees the places of `count` popped values; see [`Producer::release`].
    pub fn release(&self, count: usize) {
        self.ring.release(count as u64);
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }
}

impl<T> Ring<T> {
    fn slot(&self, position: u64) -> Slot<'_, T> {
        let index = position as usize & (self.stamps.len() - 1);
        Slot {
            stamp: &self.stamps[index],
            value: &self.values[index],
        }
    }

    fn release(&self, count: u64) {
        if count == 0 {
            return;
        }
        let freed = |released| {
            // SYNC: popped, with the store in `pop`. The push that reads our update then knows these values moved out.
            let popped = self.popped.0.load(Ordering::Acquire);
            let held = popped - released;
            debug_assert!(
                count <= held,
                "{count} places released, but popped values hold {held}"
            );
            // `push` relies on this bound for memory safety, hence it is kept whatever the caller does.
            Some(released + count.min(held))
        };
        // SYNC: place, with the load in `push`. Acquired from other releases as well: `popped` must not look older than
        // the pops behind the places they freed.
        let freed = self
            .released
            .0
            .fetch_update(Ordering::Release, Ordering::Acquire, freed);
        debug_assert!(freed.is_ok(), "the update is never declined");
    }

    fn close(&self) {
        // Relaxed: the mark guards no data.
        self.claimed.0.fetch_or(CLOSED, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.claimed.0.load(Ordering::Relaxed) & CLOSED != 0
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Nobody else can pop, so what stayed in the ring would never be dropped.
        self.ring.close();
        while self.pop_last().is_some() {}
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PushError<T> {
    /// The value that was not queued.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T> std::error::Error for PushError<T> {}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Producer")
            .field("capacity", &self.capacity())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Consumer")
            .field("popped", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use super::*;

    #[test]
    fn values_come_out_in_order_over_many_laps() {
        for capacity in [1, 2, 3, 5] {
            let (producer, mut consumer) = bounded(capacity);
            for first in (0..100).step_by(capacity) {
                let values = first..first + capacity;
                values
                    .clone()
                    .for_each(|value| producer.push(value).unwrap());
                assert!(matches!(producer.push(0), Err(PushError::Full(0))));
                assert!(values.eq(std::iter::from_fn(|| consumer.pop())));
                consumer.release(capacity);
            }
        }
    }

    #[test]
    fn a_popped_value_keeps_its_place_until_it_is_released() {
        let (producer, mut consumer) = bounded(1);
        producer.push(1).unwrap();
        assert_eq!(consumer.pop(), Some(1));
        assert!(producer.is_empty());
        assert!(matches!(producer.push(2), Err(PushError::Full(2))));
        producer.release(1);
        producer.push(2).unwrap();
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "2 places released"))]
    fn a_place_nobody_holds_is_not_freed() {
        let (producer, mut consumer) = bounded(2);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        consumer.pop();
        producer.release(2);
        producer.push(3).unwrap();
        assert!(producer.push(4).is_err());
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let (producer, mut consumer) = bounded(2);
        producer.push(1).unwrap();
        producer.close();
        assert!(consumer.is_closed());
        assert!(matches!(producer.push(2), Err(PushError::Closed(2))));
        assert_eq!(consumer.pop_last(), Some(1));
        assert_eq!(consumer.pop_last(), None);
    }

    #[test]
    fn values_left_behind_are_dropped_with_the_consumer() {
        let (producer, consumer) = bounded(2);
        let value = Arc::new(());
        producer.push(Arc::clone(&value)).unwrap();
        drop(consumer);
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(producer.is_closed());
    }

    #[test]
    fn values_that_stay_on_one_thread_need_not_be_send() {
        let (producer, mut consumer) = bounded(1);
        producer.push(Rc::new(1)).unwrap();
        assert_eq!(consumer.pop().as_deref(), Some(&1));
    }
}
