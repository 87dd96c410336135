//! How many log lines could not be written, and where they got lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where lines get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The writer did not keep up, and the line found its queue full.
    Queue,
    /// A file could not be written.
    File,
    /// Nobody read the standard output in time.
    Output,
}

/// Lines that were lost since the server started; only ever grows.
///
/// A line goes to a file and to the standard output. One that is lost on one of them counts once.
#[derive(Debug, Default)]
pub struct Losses {
    queue: AtomicU64,
    file: AtomicU64,
    output: AtomicU64,
}

impl Losses {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_place().iter().map(|(_, lines)| lines).sum()
    }

    /// By where they got lost; the names are for labels.
    pub fn by_place(&self) -> [(&'static str, u64); 3] {
        [
            ("queue", self.queue.load(Ordering::Relaxed)),
            ("file", self.file.load(Ordering::Relaxed)),
            ("stdout", self.output.load(Ordering::Relaxed)),
        ]
    }

    pub(super) fn add(&self, place: Place, lines: u64) {
        let counter = match place {
            Place::Queue => &self.queue,
            Place::File => &self.file,
            Place::Output => &self.output,
        };
        counter.fetch_add(lines, Ordering::Relaxed);
    }
}
