//! `access_log.log`: one line per answered request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::levels::Threshold;
use super::sampling::Sampling;
use super::{Queue, Stages, form, timestamp, with_thread_name};
use crate::config::LogForm;

/// Name of the logger.
pub(super) const LOGGER: &str = "ACCESS_LOG";

/// What stands before the message of a line, and what ends it.
const MARK: (&[u8], &[u8]) = (b" ACCESS_LOG ", b"- ");

thread_local! {
    /// What this thread's lines of text begin with, after the time.
    static START: Vec<u8> = {
        let mut start = Vec::new();
        with_thread_name(|thread| {
            form::start(&mut start, LogForm::Text, "INFO ", &[thread], LOGGER);
        });
        start.split_off(timestamp::LENGTH)
    };
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the parts of the line, in order")]
pub struct AccessLine<'a> {
    /// `/ip:port`, or `127.0.0.1` for a peer without an address.
    pub remote: &'a str,
    pub method: &'a str,
    pub uri: &'a str,
    pub protocol: &'a str,
    /// HTTP status, or the number of the gRPC code.
    pub status: u16,
    pub elapsed: Duration,
    /// Where the time went, if a worker had a part in it; not part of the line.
    pub stages: Option<Stages>,
    /// Its id, for JSON; empty where there is none.
    pub request_id: &'a str,
    /// Its trace, for JSON; empty where there is none.
    pub trace_id: &'a str,
}

impl AccessLine<'_> {
    fn is_grpc(&self) -> bool {
        self.method == "gRPC"
    }

    fn is_error(&self) -> bool {
        self.status >= 400 || (self.is_grpc() && self.status != 0)
    }
}

/// The access log. Writing never blocks the caller; lines that the disk cannot take are counted.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
    form: LogForm,
    sampling: Option<Sampling>,
    threshold: AtomicU8,
}

impl AccessLog {
    /// A log over a queue, or one that goes nowhere.
    pub(super) fn new(
        queue: Option<Arc<Queue>>,
        form: LogForm,
        sampling: Option<Sampling>,
        threshold: Threshold,
    ) -> Self {
        Self {
            queue,
            form,
            sampling,
            threshold: AtomicU8::new(threshold as u8),
        }
    }

    pub(super) fn threshold(&self) -> Threshold {
        Threshold::from_number(self.threshold.load(Ordering::Relaxed))
    }

    pub(super) fn set_threshold(&self, threshold: Threshold) {
        self.threshold.store(threshold as u8, Ordering::Relaxed);
    }

    /// Writes one line, unless the log is off or samples and leaves this one out.
    pub fn record(&self, line: AccessLine<'_>) {
        let Some(queue) = &self.queue else {
            return;
        };
        if self.threshold() > Threshold::Info {
            return;
        }
        if let Some(sampling) = &self.sampling
            && !sampling.keeps(line.is_error(), line.elapsed)
        {
            return;
        }
        let mut buffer = queue.buffer();
        match self.form {
            LogForm::Text => append_text(&mut buffer, &line),
            LogForm::Json => append_json(&mut buffer, &line),
        }
        queue.send(buffer);
    }
}

fn append_text(buffer: &mut Vec<u8>, line: &AccessLine<'_>) {
    timestamp::append(buffer);
    START.with(|start| buffer.extend_from_slice(start));
    buffer.extend_from_slice(line.remote.as_bytes());
    buffer.extend_from_slice(b" \"");
    buffer.extend_from_slice(line.method.as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(line.uri.as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(line.protocol.as_bytes());
    buffer.extend_from_slice(b"\" ");
    let mut number = itoa::Buffer::new();
    buffer.extend_from_slice(number.format(line.status).as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(number.format(line.elapsed.as_millis()).as_bytes());
}

fn append_json(buffer: &mut Vec<u8>, line: &AccessLine<'_>) {
    with_thread_name(|thread| form::start(buffer, LogForm::Json, "INFO ", &[thread], LOGGER));
    for (name, value) in [
        ("remote", line.remote),
        ("method", line.method),
        ("uri", line.uri),
        ("protocol", line.protocol),
        ("request_id", line.request_id),
        ("trace_id", line.trace_id),
    ] {
        if !value.is_empty() {
            form::member(buffer, name, value);
        }
    }
    let mut number = itoa::Buffer::new();
    form::raw_member(buffer, "status", number.format(line.status));
    let micros = line.elapsed.as_micros();
    form::raw_member(buffer, "duration_us", number.format(micros));
    form::finish(buffer);
}

/// Appends what the access log's own file holds of a line: only time and message.
pub(super) fn append_short(chunk: &mut Vec<u8>, line: &[u8]) {
    let (before, sign) = MARK;
    let time = timestamp::LENGTH.min(line.len());
    // The name of a thread may hold a dash, too.
    let message = memchr::memchr_iter(sign[0], &line[time..])
        .map(|at| time + at)
        .find(|at| line[..*at].ends_with(before))
        .and_then(|at| line.get(at + sign.len()..))
        .unwrap_or(line);
    chunk.extend_from_slice(&line[..time]);
    chunk.extend_from_slice(b" - ");
    chunk.extend_from_slice(message);
    chunk.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: AccessLine<'_> = AccessLine {
        remote: "/127.0.0.1:4242",
        method: "POST",
        uri: "/predictions/a?x= ACCESS_LOG - ",
        protocol: "HTTP/1.1",
        status: 200,
        elapsed: Duration::from_micros(12_900),
        stages: None,
        request_id: "r1",
        trace_id: "",
    };

    fn log(queue: &Arc<Queue>, form: LogForm, sampling: Option<Sampling>) -> AccessLog {
        AccessLog::new(Some(Arc::clone(queue)), form, sampling, Threshold::Info)
    }

    #[test]
    fn a_line_has_the_parts_of_the_original_in_both_forms() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 4, 1000));
        log(&queue, LogForm::Text, None).record(LINE);
        let line = queue.receive().unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        let message = "/127.0.0.1:4242 \"POST /predictions/a?x= ACCESS_LOG -  HTTP/1.1\" 200 12";
        assert!(text[23..].starts_with(" [INFO ] "), "{text}");
        assert!(
            text.ends_with(&format!(" ACCESS_LOG - {message}")),
            "{text}"
        );
        let mut chunk = Vec::new();
        append_short(&mut chunk, &line);
        let expected = format!("{} - {message}\n", &text[..23]);
        assert_eq!(String::from_utf8(chunk).unwrap(), expected);
    }

    #[test]
    fn a_line_of_json_has_each_part_by_itself() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 4, 1000));
        log(&queue, LogForm::Json, None).record(LINE);
        let read: serde_json::Value = serde_json::from_slice(&queue.receive().unwrap()).unwrap();
        assert_eq!(read["logger"], LOGGER);
        assert_eq!(read["uri"], LINE.uri);
        assert_eq!(
            (&read["status"], &read["duration_us"]),
            (&200.into(), &12_900.into())
        );
        assert_eq!(
            (&read["request_id"], read.get("trace_id")),
            (&"r1".into(), None)
        );
    }

    #[test]
    fn what_is_left_out_takes_no_line() {
        let queue = Arc::new(Queue::new(&Arc::default(), &Arc::default(), 4, 1000));
        let log = log(&queue, LogForm::Text, Sampling::new(0.0));
        log.set_threshold(Threshold::Warn);
        log.record(LINE);
        assert!(queue.is_empty());
        log.set_threshold(Threshold::Info);
        log.record(LINE);
        assert!(!queue.is_empty());
        let failed = AccessLine {
            method: "gRPC",
            status: 14,
            ..LINE
        };
        assert!(failed.is_error() && !LINE.is_error());
        assert!(
            AccessLine {
                status: 404,
                ..LINE
            }
            .is_error()
        );
    }
}
