//! `access_log.log`: one line per answered request.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::{Queue, Stages, prefix, with_thread_name};

/// Name of the logger.
const LOGGER: &str = "ACCESS_LOG";

/// One answered request.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the parts of the line, in order")]
pub struct AccessLine<'a> {
    /// `/ip:port`, or `127.0.0.1` for a peer without an address.
    pub remote: &'a str,
    pub method: &'a str,
    pub uri: &'a str,
    pub protocol: &'a str,
    pub status: u16,
    pub elapsed: Duration,
    /// Where the time went, if a worker had a part in it; not part of the line.
    pub stages: Option<Stages>,
}

/// The access log. Writing never blocks the caller; lines that the disk cannot take are counted.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

impl AccessLog {
    /// A log over a queue, or one that is switched off.
    pub(super) fn new(queue: Option<Arc<Queue>>) -> Self {
        Self { queue }
    }

    /// Writes one line.
    pub fn record(&self, line: AccessLine<'_>) {
        let Some(queue) = &self.queue else {
            return;
        };
        let mut buffer = queue.buffer();
        with_thread_name(|thread| prefix(&mut buffer, "INFO ", &[thread], LOGGER));
        for part in [
            line.remote,
            " \"",
            line.method,
            " ",
            line.uri,
            " ",
            line.protocol,
            "\" ",
        ] {
            buffer.extend_from_slice(part.as_bytes());
        }
        let mut number = itoa::Buffer::new();
        buffer.extend_from_slice(number.format(line.status).as_bytes());
        buffer.push(b' ');
        buffer.extend_from_slice(number.format(line.elapsed.as_millis()).as_bytes());
        queue.send(buffer);
    }
}

/// Appends what the access log's own file holds of a line: only time and message.
pub(super) fn append_short(chunk: &mut Vec<u8>, line: &[u8]) {
    let mark = [" ", LOGGER, " - "].concat();
    let message = line
        .windows(mark.len())
        .position(|window| window == mark.as_bytes())
        .map_or(line, |at| &line[at + mark.len()..]);
    chunk.extend_from_slice(&line[..super::timestamp::LENGTH.min(line.len())]);
    // Writing to memory cannot fail.
    chunk.write_all(b" - ").ok();
    chunk.extend_from_slice(message);
    chunk.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_parts_of_the_original_in_both_forms() {
        let queue = Arc::new(Queue::new(&Arc::default(), 4, 1000));
        AccessLog::new(Some(Arc::clone(&queue))).record(AccessLine {
            remote: "/127.0.0.1:4242",
            method: "POST",
            uri: "/predictions/a?x= ACCESS_LOG - ",
            protocol: "HTTP/1.1",
            status: 200,
            elapsed: Duration::from_micros(12_900),
            stages: None,
        });
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
}
