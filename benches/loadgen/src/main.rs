//! Loads one HTTP route, checks every answer and prints what happened as one line of JSON.
//!
//! Without `--rate` the loop is closed (`closed.rs`): it measures capacity. With `--rate` it is open
//! (`open.rs`): it measures what users wait, free of coordinated omission.

mod answer;
mod closed;
mod connection;
mod histogram;
mod open;
mod options;
mod schedule;
mod tally;

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::connection::Load;
use crate::histogram::Histogram;
use crate::options::Options;
use crate::schedule::Schedule;
use crate::tally::Tally;

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

fn run(options: &Options) -> io::Result<Value> {
    let request = options.request()?;
    let expected = options.expected()?;
    let start = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let load = Load {
        address: options.address,
        request: &request,
        expected: expected.as_deref(),
        start,
        end: start + Duration::from_secs_f64(options.seconds),
    };
    let before = cpu_time();
    let total = on_threads(options, &load)?;
    let cpu = cpu_time().saturating_sub(before);
    Ok(report(options, &load, &total, cpu))
}

/// Runs the loop on every thread with its share of the load.
fn on_threads(options: &Options, load: &Load<'_>) -> io::Result<Tally> {
    let threads = options.threads.clamp(1, options.connections.max(1));
    let mut total = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                // Every thread gets its share; the first ones take the remainder.
                let share = options.connections / threads
                    + usize::from(index < options.connections % threads);
                #[expect(clippy::cast_precision_loss, reason = "a few threads")]
                let rate = options.rate.map(|rate| rate / threads as f64);
                let seed = options.seed + index as u64;
                scope.spawn(move || match rate {
                    None => closed::run(load, share),
                    Some(rate) => {
                        let arrivals = options.arrivals;
                        let schedule = Schedule::new(arrivals, rate, Instant::now(), seed);
                        let drain = Duration::from_secs_f64(options.drain);
                        open::run(load, share, schedule, drain)
                    }
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(tally) => total.add(tally?),
                Err(_) => return Err(io::Error::other("a thread panicked")),
            }
        }
        Ok(total)
    })
}

/// CPU time that this process has used.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(options: &Options, load: &Load<'_>, total: &Tally, cpu: Duration) -> Value {
    // An overloaded server answers the last requests after the end: that is time it needed.
    let last = total.last.unwrap_or(load.end).max(load.end);
    let seconds = (last - load.start).as_secs_f64();
    let count = total.latencies.count();
    let mut report = json!({
        "loop": if options.rate.is_some() { "open" } else { "closed" },
        "connections": options.connections,
        "threads": options.threads,
        "seconds": options.seconds,
        "rps": count as f64 / seconds,
        "requests": count,
        "wrong": total.wrong,
        "broken": total.broken,
        "own_cpu_us": cpu.as_secs_f64() * 1e6 / total.answers.max(1) as f64,
        "own_cores": cpu.as_secs_f64() / (options.warm_up + seconds),
    });
    merge(&mut report, "", &total.latencies);
    if let Some(rate) = options.rate {
        report["arrivals"] = json!(options.arrivals);
        report["offered_rps"] = json!(rate);
        report["waited"] = json!(total.waited);
        merge(&mut report, "service_", &total.service);
        merge(&mut report, "lag_", &total.lags);
    }
    if let Some(example) = &total.example {
        report["first_wrong"] = json!(example);
    }
    report
}

/// Adds the percentiles of a histogram, their names prefixed.
fn merge(report: &mut Value, prefix: &str, histogram: &Histogram) {
    let mean = histogram.mean();
    let named = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p999", 0.999),
        ("max", 1.0),
    ];
    let quantiles = named.map(|(name, quantile)| (name, histogram.quantile(quantile)));
    for (name, value) in quantiles.into_iter().chain([("mean", mean)]) {
        report[format!("{prefix}{name}_us")] = json!(value.as_secs_f64() * 1e6);
    }
}
