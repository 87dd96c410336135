//! What a worker prints: pipes to the model log or, for measurements, to the metrics, line by line.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::task::JoinHandle;

use super::context::ModelContext;
use crate::telemetry::Stream;

/// Longest piece of output that becomes one log record; longer lines are cut into several, so that
/// a handler that prints gigabytes without a newline costs no memory.
const MAX_LINE_BYTES: u64 = 32 * 1024;

/// Reads a pipe to its end in a task of its own. The pipe is always drained: a full log loses
/// lines, but a worker never waits for the log.
pub(super) fn pump(
    pipe: impl AsyncRead + Send + Unpin + 'static,
    context: Arc<ModelContext>,
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
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            // Measurements never were part of the model log.
            let telemetry = &context.telemetry;
            if !telemetry.metrics.printed(&context.metrics, text) {
                telemetry.model.line(&worker, stream, text);
            }
        }
    })
}
