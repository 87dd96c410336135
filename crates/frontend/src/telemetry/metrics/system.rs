//! Figures of the machine, taken every `metric_time_interval`; and the lines of the metric logs,
//! twice a second.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of metrics are floats for everybody"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};
use tokio::process::Command;
use tokio::time::Instant;

use super::Metrics;
use super::gpu;
use super::line::Line;
use crate::config::Config;

/// How often what was counted is logged.
const LOG_PERIOD: Duration = Duration::from_millis(500);

/// How long a command that takes figures may run.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

const MEGA: f64 = 1024.0 * 1024.0;
const GIGA: f64 = MEGA * 1024.0;

/// Takes figures and writes lines until the metrics are gone. `python` runs the command of
/// `system_metrics_cmd`.
pub fn run(metrics: &Arc<Metrics>, config: Arc<Config>, python: PathBuf) {
    let weak = Arc::downgrade(metrics);
    if !config.disable_system_metrics {
        tokio::spawn(watch_machine(weak.clone(), config, python));
    }
    if metrics.logs.is_some() {
        tokio::spawn(log_regularly(weak));
    }
}

async fn log_regularly(metrics: Weak<Metrics>) {
    loop {
        tokio::time::sleep(LOG_PERIOD).await;
        let Some(metrics) = metrics.upgrade() else {
            return;
        };
        metrics.log_counted();
    }
}

async fn watch_machine(metrics: Weak<Metrics>, config: Arc<Config>, python: PathBuf) {
    let mut system = System::new();
    let number_of_gpu = config.number_of_gpu;
    // Loading the driver may take a second.
    let driver = tokio::task::spawn_blocking(move || gpu::driver(number_of_gpu));
    let driver = driver.await.ok().flatten();
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
    // What the processors do is seen between two looks.
    tokio::time::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL).await;
    loop {
        let next = Instant::now() + config.metric_time_interval;
        let Some(strong) = metrics.upgrade() else {
            return;
        };
        if let Some(command) = &config.system_metrics_cmd {
            run_command(&strong, &python, command).await;
        } else {
            look(&strong, &mut system);
            if let Some(driver) = &driver {
                strong.record_devices(gpu::look(driver));
            }
        }
        drop(strong);
        tokio::time::sleep_until(next).await;
    }
}

/// Looks at processors, memory and the root file system.
fn look(metrics: &Metrics, system: &mut System) {
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let record = |name: &str, value: f64| metrics.record_host(name, &["Host"], value);
    record(
        "CPUUtilization",
        rounded(f64::from(system.global_cpu_usage())),
    );
    let (total, available) = (
        system.total_memory() as f64,
        system.available_memory() as f64,
    );
    record("MemoryAvailable", available / MEGA);
    record("MemoryUsed", (total - available) / MEGA);
    if total > 0.0 {
        record(
            "MemoryUtilization",
            rounded((total - available) / total * 100.0),
        );
    }
    if let Ok(disk) = rustix::fs::statvfs("/") {
        let bytes = |blocks: u64| blocks as f64 * disk.f_frsize as f64;
        let used = bytes(disk.f_blocks.saturating_sub(disk.f_bfree));
        let available = bytes(disk.f_bavail);
        record("DiskAvailable", available / GIGA);
        record("DiskUsage", used / GIGA);
        if used + available > 0.0 {
            // What root keeps for itself is no part of the whole, as `df` has it.
            record(
                "DiskUtilization",
                rounded(used / (used + available) * 100.0),
            );
        }
    }
}

/// One decimal.
fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// Runs the configured command, which prints a measurement per line.
async fn run_command(metrics: &Metrics, python: &std::path::Path, command: &str) {
    let child = Command::new(python)
        .args(command.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(COMMAND_PATIENCE, child).await {
        Ok(Ok(output)) if output.status.success() => output,
        outcome => {
            tracing::warn!(command, ?outcome, "system_metrics_cmd has failed");
            return;
        }
    };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(line) = Line::parse(line) {
            let labels: Vec<&str> = line.labels.iter().map(|it| it.1).collect();
            metrics.record_host(line.name, &labels, line.value);
        }
    }
}
