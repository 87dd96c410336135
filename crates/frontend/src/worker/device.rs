//! Which device a new worker gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::settings::{DeviceType, Settings};

/// Spreads workers over the machine's GPUs, round robin over all models.
#[derive(Debug)]
pub struct Devices {
    gpus: u32,
    next: AtomicUsize,
}

impl Devices {
    /// Devices `0..gpus`; none means that every worker runs on the CPU.
    pub fn new(gpus: u32) -> Self {
        Self {
            gpus,
            next: AtomicUsize::new(0),
        }
    }

    /// Number of GPUs.
    pub fn count(&self) -> u32 {
        self.gpus
    }

    /// The GPU of a model's next worker; `None` is the CPU. `model_next` counts the workers of a
    /// model that names its own devices.
    pub fn assign(&self, settings: &Settings, model_next: &AtomicUsize) -> Option<u32> {
        if self.gpus == 0 || settings.device_type == Some(DeviceType::Cpu) {
            return None;
        }
        if settings.device_ids.is_empty() {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            return Some((place % self.gpus as usize) as u32);
        }
        let place = model_next.fetch_add(1, Ordering::Relaxed);
        Some(settings.device_ids[place % settings.device_ids.len()])
    }
}
