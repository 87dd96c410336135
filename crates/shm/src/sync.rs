//! The atomics, locks and fences of this crate: std's, or loom's when a model is checked.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

/// Locks `mutex`; the data behind every lock of this crate stays valid when a holder panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Replaces `atomic` by what `update` makes of it, unless `update` refuses.
pub(crate) fn update(atomic: &AtomicU64, mut update: impl FnMut(u64) -> Option<u64>) -> bool {
    atomic
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, &mut update)
        .is_ok()
}
