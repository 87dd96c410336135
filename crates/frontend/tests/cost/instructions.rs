//! Instructions per request of the real binary, counted by valgrind.

use std::path::Path;
use std::process::{Command, Stdio};

use super::client::Client;
use super::per_request;
use super::scenario::Scenario;
use super::server::Server;

const SHORT: u32 = 100;
const LONG: u32 = 900;

/// Instructions per request of each scenario.
///
/// # Errors
/// Why nothing can be counted here.
pub(crate) fn count(scenarios: &[Scenario]) -> Result<Vec<f64>, String> {
    if cfg!(debug_assertions) {
        return Err(
            "counts of unoptimised code mean little; `make cost` counts optimised code".into(),
        );
    }
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !version.is_ok_and(|status| status.success()) {
        return Err("valgrind is not installed".into());
    }
    let short = run(scenarios, None)?;
    let mut figures = Vec::new();
    for index in 0..scenarios.len() {
        let long = run(scenarios, Some(index))?;
        figures.push(per_request(short, long, LONG - SHORT));
    }
    Ok(figures)
}

/// Instructions of a server from its start to its end that gets `SHORT` requests of every scenario,
/// and `LONG` of one.
fn run(scenarios: &[Scenario], longest: Option<usize>) -> Result<u64, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("counts");
    let mut command = Command::new("valgrind");
    // It complains about system calls that it does not know; the server does without them.
    command
        .stderr(Stdio::null())
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env!("CARGO_BIN_EXE_tserve"));
    let server = Server::start(command)?;
    for (index, scenario) in scenarios.iter().enumerate() {
        let requests = if longest == Some(index) { LONG } else { SHORT };
        let mut client = Client::connect(server.port, scenario);
        client.send(scenario, requests);
    }
    assert!(server.stop().success(), "the server ends in order");
    Ok(total(&file))
}

/// The number after `totals:` (or, in older versions, `summary:`).
fn total(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).expect("callgrind's output");
    let line = text.lines().find_map(|line| {
        line.strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
    });
    let number = line.expect("a total").split_whitespace().next();
    number.unwrap_or_default().parse().expect("a number")
}
