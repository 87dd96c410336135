//! How many GPUs this machine offers to workers.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A driver that answers later than this is counted as none; the server must not hang on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts the devices named by `CUDA_VISIBLE_DEVICES` or `HIP_VISIBLE_DEVICES`; without them asks
/// `nvidia-smi` once; without that there are none.
pub fn count(environment: impl Fn(&str) -> Option<String>) -> u32 {
    ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"]
        .iter()
        .find_map(|name| environment(name))
        .map_or_else(ask_driver, |devices| count_visible(&devices))
}

/// An empty list or `-1` hides every device.
fn count_visible(devices: &str) -> u32 {
    let visible = devices.split(',').map(str::trim);
    visible
        .take_while(|device| !device.is_empty() && *device != "-1")
        .count() as u32
}

fn ask_driver() -> u32 {
    Command::new("nvidia-smi")
        .arg("-L")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()
        .and_then(|child| output_within(child, PATIENCE))
        .map_or(0, |listing| count_listed(&listing))
}

fn count_listed(listing: &str) -> u32 {
    listing
        .lines()
        .filter(|line| line.starts_with("GPU "))
        .count() as u32
}

/// The output of a successful child; one that takes longer is killed.
#[expect(
    clippy::disallowed_methods,
    reason = "the server does not run yet: there is nothing to stall"
)]
fn output_within(mut child: Child, patience: Duration) -> Option<String> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            // The listing of a machine's GPUs fits a pipe's buffer, so it is read at the end.
            Ok(Some(status)) if status.success() => {
                return std::io::read_to_string(child.stdout.take()?).ok();
            }
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                child.kill().ok();
                child.wait().ok();
                return None;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices_are_counted() {
        for (devices, expected) in [
            ("0,1,2", 3),
            ("", 0),
            ("-1", 0),
            ("GPU-8a, GPU-9b", 2),
            ("0,-1,1", 1),
        ] {
            assert_eq!(count(|_| Some(devices.to_owned())), expected, "{devices}");
        }
    }

    #[test]
    fn listed_devices_are_counted() {
        let listing =
            "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g\nGPU 1: NVIDIA H200 (UUID: GPU-2)\n";
        assert_eq!(count_listed(listing), 2);
        assert_eq!(count_listed("No devices found.\n"), 0);
    }

    #[test]
    fn a_hanging_driver_is_given_up() {
        let child = Command::new("sleep")
            .arg("30")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        assert_eq!(output_within(child, Duration::from_millis(50)), None);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
