//! Loads one HTTP route in a closed loop and prints what happened as one line of JSON.
//!
//! Every connection sends its next request as soon as it has read the answer to the last one, so
//! at any moment as many requests are under way as there are connections. Latencies are measured
//! from the moment a request is handed to the kernel to the moment its last byte has been read.

mod connection;
mod histogram;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;

use crate::connection::{Load, Tally};

/// Command line.
#[derive(Debug, Parser)]
struct Options {
    /// Where the server listens, for example 127.0.0.1:8080.
    #[arg(long)]
    address: SocketAddr,
    /// Path of the route, for example /predictions/noop.
    #[arg(long)]
    path: String,
    /// File that holds the request's body.
    #[arg(long)]
    body: PathBuf,
    /// Content type of the body.
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
    /// Text that every answer must be; any other answer counts as wrong.
    #[arg(long)]
    expect: Option<String>,
    /// Connections, and so requests under way at any moment.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Threads that the connections are spread over.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds during which answers are counted.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            #[expect(
                clippy::print_stdout,
                reason = "the report is what this program is for"
            )]
            {
                println!("{report}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "a command line tool reports to its caller"
            )]
            {
                eprintln!("tserve-loadgen: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> std::io::Result<serde_json::Value> {
    let body = std::fs::read(&options.body)?;
    let mut request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        options.path,
        options.address,
        options.content_type,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);

    let start = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = start + Duration::from_secs_f64(options.seconds);
    let threads = options.threads.clamp(1, options.connections.max(1));
    let mut total = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                // Every thread gets its share; the first ones take the remainder.
                let share = options.connections / threads
                    + usize::from(index < options.connections % threads);
                let load = Load {
                    address: options.address,
                    request: &request,
                    expected: options.expect.as_deref().map(str::as_bytes),
                    start,
                    end,
                };
                scope.spawn(move || load.run(share))
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(tally) => total.add(&tally?),
                Err(_) => return Err(std::io::Error::other("a thread panicked")),
            }
        }
        Ok(())
    })?;
    let microseconds = |quantile: f64| total.latencies.quantile(quantile).as_secs_f64() * 1e6;
    Ok(json!({
        "rps": total.latencies.rate(options.seconds),
        "requests": total.latencies.count(),
        "wrong": total.wrong,
        "broken": total.broken,
        "mean_us": total.latencies.mean().as_secs_f64() * 1e6,
        "p50_us": microseconds(0.50),
        "p90_us": microseconds(0.90),
        "p99_us": microseconds(0.99),
        "p999_us": microseconds(0.999),
        "max_us": microseconds(1.0),
    }))
}
