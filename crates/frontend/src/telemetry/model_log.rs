//! `model_log.log`: what workers print.

/// The stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: INFO.
    Stdout,
    /// Standard error: WARN.
    Stderr,
}

/// The model log. Writing never blocks the caller; lines that the disk cannot take are counted.
#[derive(Debug)]
pub struct ModelLog {
    _private: (),
}

impl ModelLog {
    /// Writes one line of a worker; `worker` is `W-<id>-<model>_<version>`.
    pub fn line(&self, _worker: &str, _stream: Stream, _text: &str) {
        todo!()
    }
}
