//! Which devices a new worker gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::settings::{DeviceType, Settings};

/// Spreads workers over the machine's GPUs, round robin over all models.
#[derive(Debug)]
pub struct Devices {
    gpus: u32,
    /// Whether a worker sees its own device only.
    isolates: bool,
    next: AtomicUsize,
}

/// The devices of one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Its GPU, the first of several; `None` is the CPU.
    pub gpu: Option<u32>,
    /// The only ones that it sees; empty where it sees all.
    pub visible: Vec<u32>,
}

impl Assigned {
    /// The GPU's number inside the worker, where devices that are seen are counted from 0.
    pub(super) fn inside(&self) -> Option<u32> {
        let is_counted_anew = !self.visible.is_empty();
        self.gpu.map(|gpu| if is_counted_anew { 0 } else { gpu })
    }
}

impl Devices {
    /// Devices `0..gpus`; none means that every worker runs on the CPU.
    pub fn new(gpus: u32, isolates: bool) -> Self {
        Self {
            gpus,
            isolates,
            next: AtomicUsize::new(0),
        }
    }

    /// Number of GPUs.
    pub fn count(&self) -> u32 {
        self.gpus
    }

    /// The devices of a model's next worker. `model_next` counts the workers of a model that names
    /// its own devices, or wants several for each.
    pub fn assign(&self, settings: &Settings, model_next: &AtomicUsize) -> Assigned {
        if self.gpus == 0 || settings.device_type == Some(DeviceType::Cpu) {
            return Assigned::default();
        }
        let chosen = &settings.device_ids;
        let count = if chosen.is_empty() {
            self.gpus as usize
        } else {
            chosen.len()
        };
        let id = |place: usize| chosen.get(place).copied().unwrap_or(place as u32);
        let width = settings.parallel.devices as usize;
        if let Some(blocks) = count.checked_div(width) {
            let first = model_next.fetch_add(1, Ordering::Relaxed) % blocks.max(1) * width;
            let visible: Vec<_> = (first..first + width).map(id).collect();
            return Assigned {
                gpu: visible.first().copied(),
                visible,
            };
        }
        let counter = if chosen.is_empty() {
            &self.next
        } else {
            model_next
        };
        let gpu = id(counter.fetch_add(1, Ordering::Relaxed) % count);
        Assigned {
            gpu: Some(gpu),
            visible: if self.isolates { vec![gpu] } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::manifest::Manifest;
    use crate::model::settings::archive_config::ArchiveConfig;
    use crate::model::settings::{RegisterParams, Sources};

    fn settings(yaml: &str, gpus: u32) -> Settings {
        let config = Config {
            number_of_gpu: gpus,
            ..Config::default()
        };
        Settings::merge(&Sources {
            request: &RegisterParams::default(),
            manifest: &Manifest::default(),
            archive: Some(&ArchiveConfig::parse(yaml).unwrap()),
            overrides: None,
            config: &config,
            is_startup: false,
        })
        .unwrap()
    }

    fn assigned(yaml: &str, gpus: u32, isolates: bool, workers: usize) -> Vec<Vec<u32>> {
        let (devices, next) = (Devices::new(gpus, isolates), AtomicUsize::new(0));
        let settings = settings(yaml, gpus);
        let assign = |_| devices.assign(&settings, &next);
        (0..workers).map(assign).map(|it| it.visible).collect()
    }

    #[test]
    fn groups_get_blocks_of_devices() {
        let group = "parallelType: tp\ntorchrun: {nproc-per-node: 2}\n";
        assert_eq!(assigned(group, 5, false, 3), [[0, 1], [2, 3], [0, 1]]);
        let chosen = format!("{group}deviceIds: [4, 0, 3, 1]");
        assert_eq!(assigned(&chosen, 5, false, 2), [[4, 0], [3, 1]]);
        let custom = "parallelType: custom\nparallelLevel: 3";
        assert_eq!(assigned(custom, 4, false, 2), [[0, 1, 2], [0, 1, 2]]);
    }

    #[test]
    fn plain_workers_see_all_devices_unless_isolated() {
        assert_eq!(assigned("", 2, false, 2), [[0; 0], []]);
        assert_eq!(assigned("", 2, true, 3), [[0], [1], [0]]);
        assert_eq!(assigned("deviceIds: [1]", 2, true, 2), [[1], [1]]);
    }

    #[test]
    fn devices_in_sight_are_counted_from_zero() {
        let hidden = Assigned {
            gpu: Some(3),
            visible: vec![3],
        };
        assert_eq!(hidden.inside(), Some(0));
        let open = Assigned {
            gpu: Some(3),
            visible: Vec::new(),
        };
        assert_eq!(
            (open.inside(), Assigned::default().inside()),
            (Some(3), None)
        );
    }
}
