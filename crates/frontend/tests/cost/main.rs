//! What one request costs the server, counted instead of timed: heap allocations, instructions and
//! system calls. Counts hold on a busy machine, where times do not.
//!
//! Every figure is the difference between a long and a short run of the same requests over a real
//! loopback connection, with a worker process behind the real shared memory, divided by the
//! difference in requests. `budget.json` says what is allowed; `UPDATE_COST_BUDGET=1` writes the
//! measured figures there.
//!
//! This program plays all parts but the client's library: run by cargo it is the test; started by
//! the server as `... -m tserve_worker ...` it is a worker that answers `ok`; started by itself with
//! `TSERVE_COST_ROLE=server` it is a server that counts its allocations. Instructions and system
//! calls are those of the `tserve` binary itself.

mod allocations;
mod budget;
mod client;
mod instructions;
mod scenario;
mod server;
mod syscalls;
mod worker;

use std::process::ExitCode;

use self::budget::{Budget, Kind, Verdict};
use self::scenario::Scenario;

/// Says which part this process plays.
const ROLE: &str = "TSERVE_COST_ROLE";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("-m") => worker::run(),
        Some("janitor") => {
            let folder = words.next().expect("the janitor's folder");
            tserve_frontend::janitor::run(folder.as_ref());
            ExitCode::SUCCESS
        }
        _ if std::env::var(ROLE).is_ok() => allocations::serve(),
        _ => test(),
    }
}

/// One way of counting: figures per request of each scenario, or why there are none.
type Count = fn(&[Scenario]) -> Result<Vec<f64>, String>;

fn test() -> ExitCode {
    let kinds: [(Kind, Count); 3] = [
        (Kind::Allocations, allocations::count),
        (Kind::Instructions, instructions::count),
        (Kind::Syscalls, syscalls::count),
    ];
    let mut budget = Budget::read();
    let mut has_failed = false;
    for (kind, count) in kinds {
        if !budget.knows(kind) {
            say(&format!(
                "{kind}: skipped: no budget; UPDATE_COST_BUDGET=1 makes one"
            ));
            continue;
        }
        let mut scenarios = scenario::all();
        // A system call more or less is within the slack; that of the dearer request depends on how
        // quick the machine is.
        scenarios.retain(|scenario| kind != Kind::Syscalls || !scenario.is_dearer);
        let figures = match count(&scenarios) {
            Ok(figures) => figures,
            Err(reason) => {
                say(&format!("{kind}: skipped: {reason}"));
                continue;
            }
        };
        for (scenario, figure) in scenarios.iter().zip(figures) {
            let verdict = if scenario.is_dearer {
                budget.must_notice(kind, figure)
            } else {
                budget.check(kind, scenario.name, figure)
            };
            has_failed |= matches!(verdict, Verdict::Bad(_));
            say(&format!("{kind}: {}: {figure:.2} {verdict}", scenario.name));
        }
    }
    budget.write_if_asked();
    if has_failed {
        say("a request costs more than tests/cost/budget.json says; see benches/README.md");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How much a count grew per request.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_request(before: u64, after: u64, requests: u32) -> f64 {
    (after as f64 - before as f64) / f64::from(requests)
}

#[expect(clippy::print_stdout, reason = "the test's own report")]
fn say(text: &str) {
    println!("cost: {text}");
}
