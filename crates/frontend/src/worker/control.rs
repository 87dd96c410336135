//! The control socket: one JSON object per line, both ways.
//!
//! A worker's lines are untrusted: their length is bounded and anything unknown is an error of the
//! worker, not of the server.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::context::JsonNumbers;
use crate::model::settings::TemplateDepth;

/// Longest line a worker may send; a traceback fits, a flood does not.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What the server tells a worker.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToWorker<'a> {
    Load {
        model_name: &'a str,
        model_dir: &'a Path,
        link_parent: Option<&'a Path>,
        handler: Option<&'a str>,
        gpu_id: Option<u32>,
        batch_size: u32,
        envelope: Option<&'a str>,
        limit_max_image_pixels: bool,
        metrics_config: Option<&'a Path>,
        async_communication: bool,
        group_size: u32,
        forward_requests: bool,
        /// For a template only: how far it goes.
        depth: Option<TemplateDepth>,
    },
    /// Nobody waits for the answer to a batch any more.
    Cancel { batch_id: u64 },
}

/// What a worker tells the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromWorker {
    /// The process runs.
    Hello {
        /// Its own idea of its process id.
        #[expect(dead_code, reason = "the kernel's answer is the one that counts")]
        pid: i64,
        /// Version of the worker package.
        version: String,
    },
    /// The handler is initialised.
    Loaded {
        /// What its type hints say.
        #[serde(default)]
        schemas: serde_json::Value,
        /// Whether it takes tensors as views of shared memory.
        #[serde(default)]
        takes_tensors: bool,
        /// What it wants numbers in JSON to be.
        #[serde(default)]
        json_numbers: JsonNumbers,
    },
    /// The handler cannot be loaded; the process ends.
    Failed {
        /// 500, or 507 when memory ran out.
        code: u16,
        /// Exception type.
        exception: String,
        /// Exception text.
        message: String,
        /// Whole traceback.
        traceback: String,
        /// File of the archive that raised it.
        #[serde(default)]
        file: Option<String>,
        /// Line in that file.
        #[serde(default)]
        line: Option<u64>,
    },
    /// What the handler reports, in the original's form without its mark.
    Metrics {
        /// One measurement each.
        lines: Vec<String>,
    },
}

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub(super) enum ControlError {
    #[error("the worker closed its control socket")]
    Closed,
    #[error("the worker sent a control line of more than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("the worker sent a control line that is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("control socket: {0}")]
    Io(#[from] io::Error),
}

/// The server's end of a control socket.
#[derive(Debug)]
pub(super) struct Control {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Control {
    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = BufReader::with_capacity(1024, UnixStream::from_std(stream)?);
        Ok(Self {
            stream,
            line: Vec::new(),
        })
    }

    pub(super) async fn send(&mut self, message: &ToWorker<'_>) -> Result<(), ControlError> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        Ok(self.stream.get_mut().write_all(&line).await?)
    }

    /// The next message. Cancel safe: what was read of a line is kept.
    pub(super) async fn receive(&mut self) -> Result<FromWorker, ControlError> {
        let room = MAX_LINE_BYTES.saturating_sub(self.line.len() as u64);
        let read = (&mut self.stream)
            .take(room)
            .read_until(b'\n', &mut self.line)
            .await?;
        if self.line.last() != Some(&b'\n') {
            return Err(if read == 0 && room > 0 {
                ControlError::Closed
            } else {
                ControlError::TooLong
            });
        }
        let message = serde_json::from_slice(&self.line);
        self.line.clear();
        Ok(message?)
    }
}
