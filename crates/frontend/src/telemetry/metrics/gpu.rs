//! Figures of NVIDIA's devices, where there is a driver.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures of metrics are floats for everybody"
)]

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::Metrics;

const MEGA: f64 = 1024.0 * 1024.0;

/// What one device does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    /// Its number, as the driver counts.
    pub(super) index: u32,
    /// Part of the time in which it computed, 0 to 1.
    pub(super) busy: f64,
    pub(super) used_bytes: u64,
    pub(super) total_bytes: u64,
}

/// The driver, if there is one; says in the server log why there is none where GPUs were counted.
pub(super) fn driver(number_of_gpu: u32) -> Option<Nvml> {
    match Nvml::init() {
        Ok(driver) => Some(driver),
        Err(error) => {
            if number_of_gpu > 0 {
                tracing::warn!(%error, "there are no metrics of GPUs: their driver cannot be asked");
            }
            None
        }
    }
}

/// Looks at all devices; one that does not answer is left out.
pub(super) fn look(driver: &Nvml) -> Vec<Device> {
    let count = driver.device_count().unwrap_or(0);
    (0..count)
        .filter_map(|index| device(driver, index).ok())
        .collect()
}

fn device(driver: &Nvml, index: u32) -> Result<Device, NvmlError> {
    let device = driver.device_by_index(index)?;
    let memory = device.memory_info()?;
    Ok(Device {
        index,
        busy: f64::from(device.utilization_rates()?.gpu) / 100.0,
        used_bytes: memory.used,
        total_bytes: memory.total,
    })
}

impl Metrics {
    /// Shows what devices do, under the names of TorchServe and under ours.
    pub(super) fn record_devices(&self, devices: Vec<Device>) {
        for device in &devices {
            let index = device.index.to_string();
            let record = |name: &str, value: f64| {
                self.record_host(name, &["Host", &index], value);
            };
            let (used, total) = (device.used_bytes as f64, device.total_bytes.max(1) as f64);
            record("GPUUtilization", (device.busy * 100.0).round());
            record("GPUMemoryUsed", used / MEGA);
            record(
                "GPUMemoryUtilization",
                (used / total * 10_000.0).round() / 100.0,
            );
        }
        *super::lock(&self.devices) = devices;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Page;

    #[test]
    fn a_device_is_on_both_pages() {
        let metrics = Metrics::new(
            &crate::config::Config {
                metrics_mode: crate::config::MetricsMode::Prometheus,
                ..crate::config::Config::default()
            },
            None,
        )
        .0;
        metrics.record_devices(vec![Device {
            index: 3,
            busy: 0.25,
            used_bytes: 512 << 20,
            total_bytes: 1 << 30,
        }]);
        let mut page = Page::default();
        metrics.render_classic(&mut page);
        metrics.render_own(&mut page, &[]);
        let text = page.finish();
        for part in [
            "GPUUtilization{Level=\"Host\",DeviceId=\"3\",",
            "GPUMemoryUsed{Level=\"Host\",DeviceId=\"3\",",
            "tserve_gpu_utilization_ratio{device=\"3\",} 0.25\n",
            "tserve_gpu_memory_used_bytes{device=\"3\",} 536870912.0\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
