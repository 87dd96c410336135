//! Heap allocations per request, counted by the allocator of a server that is this program.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead as _, Read as _, Write as _, stderr, stdin, stdout};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use tserve_frontend::cli::Cli;
use tserve_frontend::launch::{Next, launch};
use tserve_frontend::telemetry::Telemetry;

use super::client::Client;
use super::scenario::Scenario;
use super::server::Server;
use super::{ROLE, per_request};

/// Enough for every buffer and cache to have grown to its size.
const WARM_UP: u32 = 2_000;
const REQUESTS: u32 = 4_000;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count_one() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the rules of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations per request of each scenario.
///
/// # Errors
/// The server cannot be started.
pub(crate) fn count(scenarios: &[Scenario]) -> Result<Vec<f64>, String> {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(this);
    command.env(ROLE, "server");
    let mut server = Server::start(command)?;
    let mut figures = Vec::new();
    for scenario in scenarios {
        let mut client = Client::connect(server.port, scenario);
        client.send(scenario, WARM_UP);
        let before = ask(&mut server);
        let requests = client.send(scenario, REQUESTS);
        let after = ask(&mut server);
        figures.push(per_request(before, after, requests));
    }
    assert!(server.stop().success(), "the server ends in order");
    Ok(figures)
}

/// Asks the server how often it has allocated memory so far.
fn ask(server: &mut Server) -> u64 {
    let question = server.child.stdin.as_mut().expect("it is piped");
    question.write_all(b"?").expect("it is read");
    let mut line = String::new();
    loop {
        line.clear();
        let count = server.output.read_line(&mut line).expect("text");
        assert_ne!(count, 0, "the server has ended");
        // Between log lines.
        if let Some(number) = line.strip_prefix("allocations so far: ") {
            return number.trim().parse().expect("a number");
        }
    }
}

/// Is a server, as `main.rs` of `tserve` is, that answers the question above.
pub(crate) fn serve() -> ExitCode {
    let launched = launch(Cli::parse(), &mut stdout(), &mut stderr()).expect("open streams");
    let Next::Serve(prepared) = launched else {
        return ExitCode::FAILURE;
    };
    let config = prepared.config.clone();
    let (telemetry, guard) = Telemetry::start(&config).expect("logs");
    std::thread::spawn(|| {
        let mut question = [0];
        while stdin().read_exact(&mut question).is_ok() {
            let answer = ALLOCATIONS.load(Ordering::Relaxed);
            writeln!(stdout(), "allocations so far: {answer}").expect("it is read");
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(config.worker_threads)
        .build()
        .expect("threads");
    let served = runtime.block_on(tserve_frontend::run(config, telemetry));
    drop(guard);
    ExitCode::from(u8::from(served.is_err()))
}
