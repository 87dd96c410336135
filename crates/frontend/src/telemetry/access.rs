//! `access_log.log`: one line per answered request.

use std::time::Duration;

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
}

/// The access log. Writing never blocks the caller; lines that the disk cannot take are counted.
#[derive(Debug)]
pub struct AccessLog {
    _private: (),
}

impl AccessLog {
    /// Writes one line.
    pub fn record(&self, _line: AccessLine<'_>) {
        todo!()
    }
}
