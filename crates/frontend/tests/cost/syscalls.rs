//! System calls per request of the real binary, counted by strace: how often it sleeps, wakes others
//! and is woken shows here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;
use super::per_request;
use super::scenario::Scenario;
use super::server::Server;

const SHORT: u32 = 200;
const LONG: u32 = 2_200;

/// System calls per request of each scenario.
///
/// # Errors
/// Why nothing can be counted here.
pub(crate) fn count(scenarios: &[Scenario]) -> Result<Vec<f64>, String> {
    let trial = Command::new("strace")
        .args(["-f", "-c", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match trial {
        Err(_) => return Err("strace is not installed".into()),
        Ok(status) if !status.success() => return Err("strace may not trace here".into()),
        Ok(_) => {}
    }
    let mut figures = Vec::new();
    for scenario in scenarios {
        let short = run(scenario, SHORT)?;
        let long = run(scenario, LONG)?;
        figures.push(per_request(short, long, LONG - SHORT));
    }
    Ok(figures)
}

/// System calls of a server from its start to its end that gets so many requests.
fn run(scenario: &Scenario, requests: u32) -> Result<u64, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("counts");
    let mut command = Command::new("strace");
    command
        // -D: the server is our child, and the tracer beside it, so that signals reach the server.
        .args(["-D", "-f", "-c", "-U", "calls,name", "-o"])
        .arg(&file)
        .arg(env!("CARGO_BIN_EXE_tserve"));
    let server = Server::start(command)?;
    Client::connect(server.port, scenario).send(scenario, requests);
    assert!(server.stop().success(), "the server ends in order");
    Ok(total(&file))
}

/// The number of calls in the last line, which the tracer writes soon after the server has ended.
fn total(file: &Path) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let last = text
            .lines()
            .find(|line| line.trim_end().ends_with(" total"));
        if let Some(number) = last.and_then(|line| line.split_whitespace().next()) {
            return number.parse().expect("a number");
        }
        assert!(Instant::now() < deadline, "strace has written nothing");
        #[expect(clippy::disallowed_methods, reason = "a test that polls")]
        std::thread::sleep(Duration::from_millis(10));
    }
}
