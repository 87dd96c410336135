//! Whether another request can arrive: if none can, a batch has nothing to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// For how long at least no client may have shown up before the known ones count as all there are.
const SETTLED: Duration = Duration::from_secs(1);

/// The clients of a server, as far as they may send the next request.
///
/// A connection that waits for an answer sends nothing meanwhile, and clients that keep their
/// connections open rarely open new ones. When all connections wait, and no new one has come for a
/// while, a batch does not grow by waiting. Clients that open a connection per request never let
/// that happen, nor do those of whom nothing is known.
#[derive(Debug)]
pub struct Arrivals {
    /// Connections that are open and wait for no answer.
    able: AtomicUsize,
    /// Nanoseconds after `epoch` at which a client last came out of nowhere.
    surprised_at: AtomicU64,
    epoch: Instant,
}

impl Arrivals {
    /// No clients yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            able: AtomicUsize::new(0),
            surprised_at: AtomicU64::new(0),
            epoch: Instant::now(),
        })
    }

    /// Counts a connection for as long as the guard lives.
    pub fn connect(self: &Arc<Self>) -> Client {
        self.surprise();
        self.able.fetch_add(1, Ordering::Relaxed);
        Client(Arc::clone(self))
    }

    /// Notes a request of a client that is not counted.
    pub fn surprise(&self) {
        let nanos = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.surprised_at.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Whether a batch that may wait for `delay` would wait in vain.
    pub fn are_over(&self, delay: Duration) -> bool {
        self.able.load(Ordering::Relaxed) == 0 && {
            let surprised_at = Duration::from_nanos(self.surprised_at.load(Ordering::Relaxed));
            let calm = self.epoch.elapsed().saturating_sub(surprised_at);
            calm >= SETTLED.max(delay.saturating_mul(2))
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Client(Arc<Arrivals>);

impl Client {
    /// Says that the connection sends nothing until the guard is dropped.
    pub fn waits(&self) -> WaitingClient {
        self.0.able.fetch_sub(1, Ordering::Relaxed);
        WaitingClient(Arc::clone(&self.0))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.able.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose request is under way; dropped with the answer.
#[derive(Debug)]
pub struct WaitingClient(Arc<Arrivals>);

impl Drop for WaitingClient {
    fn drop(&mut self) {
        self.0.able.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if the last client had come long ago.
    fn settled() -> Arc<Arrivals> {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60));
        Arc::new(Arrivals {
            able: AtomicUsize::new(0),
            surprised_at: AtomicU64::new(0),
            epoch: long_ago.expect("the machine has been up for a minute"),
        })
    }

    fn client(of: &Arc<Arrivals>) -> Client {
        let client = of.connect();
        of.surprised_at.store(0, Ordering::Relaxed);
        client
    }

    #[test]
    fn nothing_comes_when_every_connection_waits() {
        let arrivals = settled();
        let (a, b) = (client(&arrivals), client(&arrivals));
        let a_waits = a.waits();
        assert!(!arrivals.are_over(Duration::ZERO), "b may send");
        let b_waits = b.waits();
        assert!(arrivals.are_over(Duration::ZERO));
        drop(a_waits);
        assert!(!arrivals.are_over(Duration::ZERO), "a has its answer");
        drop(a);
        assert!(arrivals.are_over(Duration::ZERO), "a has left");
        drop((b_waits, b));
        assert_eq!(arrivals.able.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_client_may_leave_before_its_answer_is_dropped() {
        let arrivals = settled();
        let client = client(&arrivals);
        let waits = client.waits();
        drop(client);
        drop(waits);
        assert_eq!(arrivals.able.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn where_one_came_out_of_nowhere_another_may() {
        let arrivals = settled();
        assert!(arrivals.are_over(Duration::from_secs(10)));
        assert!(
            !arrivals.are_over(Duration::from_secs(40)),
            "not calm enough"
        );
        arrivals.surprise();
        assert!(!arrivals.are_over(Duration::ZERO));
        let _new = arrivals.connect().waits();
        assert!(!arrivals.are_over(Duration::ZERO));
    }
}
