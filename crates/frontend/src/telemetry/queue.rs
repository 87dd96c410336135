//! The way of log lines from whoever writes them to the thread that has time for disks: a bounded
//! lock-free queue with used buffers coming back.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_queue::{ArrayQueue, SegQueue};

use super::losses::{Losses, Place};

/// Buffers that grew beyond this are not kept for the next line.
const KEPT_BYTES: usize = 4096;

/// Buffers that are kept for the next lines.
const KEPT_BUFFERS: usize = 1024;

/// One kind of lines on its way; kinds do not take each other's places.
#[derive(Debug)]
pub(super) struct Queue {
    /// Takes memory for what waits in it, not for what may: a full one is large.
    lines: SegQueue<Vec<u8>>,
    used: ArrayQueue<Vec<u8>>,
    waiting_lines: AtomicUsize,
    most_lines: usize,
    waiting_bytes: AtomicUsize,
    most_bytes: usize,
    losses: Arc<Losses>,
    bell: Arc<Bell>,
}

impl Queue {
    pub(super) fn new(
        bell: &Arc<Bell>,
        losses: &Arc<Losses>,
        most_lines: usize,
        most_bytes: usize,
    ) -> Self {
        Self {
            lines: SegQueue::new(),
            used: ArrayQueue::new(KEPT_BUFFERS),
            waiting_lines: AtomicUsize::new(0),
            most_lines,
            waiting_bytes: AtomicUsize::new(0),
            most_bytes,
            losses: Arc::clone(losses),
            bell: Arc::clone(bell),
        }
    }

    /// An empty buffer for one line.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.used.pop().unwrap_or_else(|| Vec::with_capacity(192))
    }

    /// Sends a line off, without its line break; drops and counts it when the queue is full.
    pub(super) fn send(&self, line: Vec<u8>) {
        let bytes = line.len();
        // Only budgets: they may be exceeded by what several threads send in the same moment.
        let lines_before = self.waiting_lines.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if lines_before < self.most_lines && bytes_before + bytes <= self.most_bytes {
            self.lines.push(line);
            self.bell.ring();
        } else {
            self.forget(bytes);
            self.losses.add(Place::Queue, 1);
            self.give_back(line);
        }
    }

    /// The next line, for the writer; its buffer is to be given back.
    pub(super) fn receive(&self) -> Option<Vec<u8>> {
        let line = self.lines.pop()?;
        self.forget(line.len());
        Some(line)
    }

    /// Takes a line of this length off the budgets.
    fn forget(&self, bytes: usize) {
        self.waiting_lines.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Keeps a buffer for a later line.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BYTES {
            buffer.clear();
            // A full shelf means that there are enough.
            self.used.push(buffer).ok();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Wakes the writer, at the price of a system call only when it sleeps.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_asleep: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Bell {
    /// Called by the writer, once, before anything else.
    pub(super) fn belongs_to(&self, writer: Thread) {
        self.writer.set(writer).ok();
    }

    /// Called after a line was put into a queue.
    pub(super) fn ring(&self) {
        // SYNC: asleep. Either this sees the flag, or the writer's look at the queues after setting
        // it sees the line.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed)
            && self.is_asleep.swap(false, Ordering::Relaxed)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// Called by the writer: sleeps unless there is something to do, `patience` at most.
    pub(super) fn wait(&self, is_idle: impl FnOnce() -> bool, patience: Duration) {
        self.is_asleep.store(true, Ordering::Relaxed);
        // SYNC: asleep.
        fence(Ordering::SeqCst);
        if is_idle() {
            std::thread::park_timeout(patience);
        }
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_drops_and_counts() {
        let losses = Arc::new(Losses::default());
        let queue = Queue::new(&Arc::default(), &losses, 2, 100);
        for line in ["a", "b", "c"] {
            queue.send(line.into());
        }
        assert_eq!(losses.total(), 1);
        assert_eq!(queue.receive().unwrap(), b"a");
        queue.send(vec![b'x'; 200]);
        assert_eq!(losses.by_place()[0], ("queue", 2));
        assert_eq!(queue.receive().unwrap(), b"b");
        assert!(queue.is_empty());
        assert_eq!(losses.total(), 2);
        assert_eq!(queue.waiting_lines.load(Ordering::Relaxed), 0);
        assert_eq!(queue.waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn buffers_are_used_again_unless_they_are_large() {
        let queue = Queue::new(&Arc::default(), &Arc::default(), 2, 1 << 20);
        let mut buffer = queue.buffer();
        buffer.extend_from_slice(b"line");
        let address = buffer.as_ptr();
        queue.give_back(buffer);
        let again = queue.buffer();
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        queue.give_back(Vec::with_capacity(1 << 20));
        assert!(queue.buffer().capacity() < 1 << 20);
    }

    #[test]
    fn no_line_is_left_lying_while_the_writer_sleeps() {
        let bell = Arc::new(Bell::default());
        let losses = Arc::new(Losses::default());
        let queue = Arc::new(Queue::new(&bell, &losses, 4, 1000));
        let sender = Arc::clone(&queue);
        let lines = 2000;
        let reader = std::thread::spawn(move || {
            bell.belongs_to(std::thread::current());
            let mut seen = 0;
            while seen < lines {
                if queue.receive().is_some() {
                    seen += 1;
                } else {
                    // A lost wake-up would sleep all of this, once per line.
                    bell.wait(|| queue.is_empty(), Duration::from_secs(60));
                }
            }
        });
        let begun = std::time::Instant::now();
        let mut lost = 0;
        for _ in 0..lines {
            sender.send(b"x".to_vec());
            while losses.total() > lost {
                lost += 1;
                std::thread::yield_now();
                sender.send(b"x".to_vec());
            }
        }
        reader.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(50));
    }
}
