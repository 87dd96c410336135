//! The command line, and the request it describes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::schedule::Arrivals;

/// Command line.
#[derive(Debug, Parser)]
#[command(
    about = "Loads one HTTP route, checks every answer, prints one line of JSON",
    args_override_self = true
)]
pub(crate) struct Options {
    /// Where the server listens, for example 127.0.0.1:8080.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Path of the route, for example /predictions/noop.
    #[arg(long)]
    path: String,
    /// Method of the request.
    #[arg(long, default_value = "POST")]
    method: String,
    /// File that holds the request's body; without it, the body is empty.
    #[arg(long)]
    body: Option<PathBuf>,
    /// Content type of the body.
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    /// A further header, as "Name: value"; may be given more than once.
    #[arg(long = "header")]
    headers: Vec<String>,
    /// Text that every answer must be; any other answer counts as wrong.
    #[arg(long)]
    expect: Option<String>,
    /// File with what every answer must be, to the byte.
    #[arg(long, conflicts_with = "expect")]
    expect_file: Option<PathBuf>,
    /// Connections: in a closed loop also the requests under way, in an open loop the most of them.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Threads that the connections are spread over.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Seconds during which requests are counted.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub(crate) seconds: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 1.0, value_parser = not_negative)]
    pub(crate) warm_up: f64,
    /// Requests per second of an open loop; without it, the loop is closed.
    #[arg(long, value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// How the requests of an open loop are spread over time.
    #[arg(long, value_enum, default_value = "poisson")]
    pub(crate) arrivals: Arrivals,
    /// Seed of the Poisson arrivals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Seconds that an open loop waits at the end for missing answers; then they count as broken.
    #[arg(long, default_value_t = 10.0, value_parser = not_negative)]
    pub(crate) drain: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("not a positive number".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("not a number from 0 on".into()),
    }
}

impl Options {
    /// The whole request as it goes over the wire.
    ///
    /// # Errors
    /// The body's file cannot be read.
    pub(crate) fn request(&self) -> io::Result<Vec<u8>> {
        let body = self.body.as_ref().map(std::fs::read).transpose()?;
        let body = body.unwrap_or_default();
        let mut lines = vec![
            format!("{} {} HTTP/1.1", self.method, self.path),
            format!("Host: {}", self.address),
            format!("Content-Type: {}", self.content_type),
            format!("Content-Length: {}", body.len()),
        ];
        lines.extend_from_slice(&self.headers);
        let mut request = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
        request.extend_from_slice(&body);
        Ok(request)
    }

    /// What every answer must be.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub(crate) fn expected(&self) -> io::Result<Option<Vec<u8>>> {
        match (&self.expect, &self.expect_file) {
            (Some(text), _) => Ok(Some(text.clone().into_bytes())),
            (None, Some(file)) => Ok(Some(std::fs::read(file)?)),
            (None, None) => Ok(None),
        }
    }
}
