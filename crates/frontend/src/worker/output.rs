//! What a worker prints: pipes to the model log, line by line.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::task::JoinHandle;

use crate::telemetry::{ModelLog, Stream};

/// Longest piece of output that becomes one log record; longer lines are cut into several, so that
/// a handler that prints gigabytes without a newline costs no memory.
const MAX_LINE_BYTES: u64 = 32 * 1024;

/// Reads a pipe to its end in a task of its own. The pipe is always drained: a full log loses
/// lines, but a worker never waits for the log.
pub(super) fn pump(
    pipe: impl AsyncRead + Send + Unpin + 'static,
    log: Arc<ModelLog>,
    worker: Arc<str>,
    stream: Stream,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut pipe)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
                .await
            {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if is_metric(&line) {
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            log.line(&worker, stream, text.trim_end_matches(['\n', '\r']));
        }
    })
}

/// Whether a line is a metric in the original's format, which never was part of the model log.
fn is_metric(line: &[u8]) -> bool {
    line.strip_prefix(b"INFO > ")
        .unwrap_or(line)
        .starts_with(b"[METRICS]")
}
