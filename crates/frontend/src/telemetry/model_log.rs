//! `model_log.log`: what workers print.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::levels::Threshold;
use super::{Queue, form};
use crate::config::LogForm;

/// Name of the logger.
pub(super) const LOGGER: &str = "MODEL_LOG";

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
    queue: Option<Arc<Queue>>,
    form: LogForm,
    threshold: AtomicU8,
}

impl ModelLog {
    /// A log over a queue, or one that goes nowhere.
    pub(super) fn new(queue: Option<Arc<Queue>>, form: LogForm, threshold: Threshold) -> Self {
        Self {
            queue,
            form,
            threshold: AtomicU8::new(threshold as u8),
        }
    }

    pub(super) fn threshold(&self) -> Threshold {
        Threshold::from_number(self.threshold.load(Ordering::Relaxed))
    }

    pub(super) fn set_threshold(&self, threshold: Threshold) {
        self.threshold.store(threshold as u8, Ordering::Relaxed);
    }

    /// Writes what a worker printed, one record per line; `worker` is `W-<id>-<model>_<version>`.
    pub fn line(&self, worker: &str, stream: Stream, text: &str) {
        let (level, least, suffix) = match stream {
            Stream::Stdout => ("INFO ", Threshold::Info, "-stdout"),
            Stream::Stderr => ("WARN ", Threshold::Warn, "-stderr"),
        };
        let Some(queue) = self.queue.as_ref().filter(|_| self.threshold() <= least) else {
            return;
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        for line in text.split('\n') {
            let mut buffer = queue.buffer();
            form::start(&mut buffer, self.form, level, &[worker, suffix], LOGGER);
            let line = line.strip_suffix('\r').unwrap_or(line);
            match self.form {
                LogForm::Text => buffer.extend_from_slice(line.as_bytes()),
                LogForm::Json => {
                    form::member(&mut buffer, "message", line);
                    form::finish(&mut buffer);
                }
            }
            queue.send(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(queue: &Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.receive())
            .map(|line| String::from_utf8(line).unwrap()[24..].to_owned())
            .collect()
    }

    #[test]
    fn each_line_is_a_record_with_worker_and_stream() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 9, 1000));
        let log = ModelLog::new(Some(Arc::clone(&queue)), LogForm::Text, Threshold::Info);
        log.line("W-9000-a_1.0", Stream::Stdout, "one\r\n\ntwo");
        log.line("W-9001-a_1.0", Stream::Stderr, "Traceback\n");
        assert_eq!(
            lines(&queue),
            [
                "[INFO ] W-9000-a_1.0-stdout MODEL_LOG - one",
                "[INFO ] W-9000-a_1.0-stdout MODEL_LOG - ",
                "[INFO ] W-9000-a_1.0-stdout MODEL_LOG - two",
                "[WARN ] W-9001-a_1.0-stderr MODEL_LOG - Traceback",
            ]
        );
    }

    #[test]
    fn the_threshold_keeps_output_out() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 9, 1000));
        let log = ModelLog::new(Some(Arc::clone(&queue)), LogForm::Text, Threshold::Info);
        log.set_threshold(Threshold::Warn);
        log.line("W", Stream::Stdout, "out");
        log.line("W", Stream::Stderr, "err");
        assert_eq!(lines(&queue), ["[WARN ] W-stderr MODEL_LOG - err"]);
    }
}
