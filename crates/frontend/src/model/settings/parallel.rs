//! Workers that are more than one process, or have more than one device.

use super::archive_config::{ArchiveConfig, ParallelType};
use super::{DeviceType, device_ids};
use crate::config::Config;
use crate::error::Error;

/// What one worker of a model consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parallel {
    /// Processes of one worker; more than one make a group of ranks.
    pub ranks: u32,
    /// Whether all ranks get the requests, or only the first, which is the head of a pipeline.
    pub forwards: bool,
    /// Devices of one worker, which then sees no others; 0 leaves them all in sight.
    pub devices: u32,
    /// `OMP_NUM_THREADS` of the ranks.
    pub omp_threads: Option<u32>,
    /// As many workers as there are devices for; `None` is no limit.
    pub most_workers: Option<u32>,
}

impl Default for Parallel {
    fn default() -> Self {
        Self {
            ranks: 1,
            forwards: true,
            devices: 0,
            omp_threads: None,
            most_workers: None,
        }
    }
}

impl Parallel {
    /// Reads `parallelType`, `parallelLevel` and `torchrun`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the number of processes is missing, when they are to be on several
    /// machines or asynchronous, and when there are fewer devices than one worker wants.
    pub(super) fn of(archive: &ArchiveConfig, config: &Config) -> Result<Self, Error> {
        let mut parallel = match archive.parallel_type {
            None => return Ok(Self::default()),
            Some(ParallelType::Custom) => Self {
                devices: archive.parallel_level.unwrap_or(0),
                ..Self::default()
            },
            Some(kind) => {
                let Some(torchrun) = &archive.torchrun else {
                    return Err(Error::BadRequest(format!(
                        "parallelType {} needs to know how many processes; hint: torchrun: \
                         {{nproc-per-node: 2}} in the model's configuration",
                        kind.as_str()
                    )));
                };
                if torchrun.nnodes > 1 {
                    return Err(Error::BadRequest(format!(
                        "torchrun.nnodes is {}, and a worker's processes are all on one machine",
                        torchrun.nnodes
                    )));
                }
                if archive.async_communication && torchrun.nproc_per_node > 1 {
                    return Err(Error::BadRequest(
                        "asyncCommunication is for workers of one process: ranks have to get their \
                         requests in one order"
                            .to_owned(),
                    ));
                }
                Self {
                    ranks: torchrun.nproc_per_node,
                    forwards: kind != ParallelType::Pipeline,
                    devices: torchrun.nproc_per_node,
                    omp_threads: Some(torchrun.omp_number_threads),
                    most_workers: None,
                }
            }
        };
        parallel.limit(archive, config)?;
        Ok(parallel)
    }

    /// Finds out for how many workers there are devices.
    fn limit(&mut self, archive: &ArchiveConfig, config: &Config) -> Result<(), Error> {
        if config.number_of_gpu == 0 || archive.device_type == Some(DeviceType::Cpu) {
            self.devices = 0;
        }
        if self.devices == 0 {
            return Ok(());
        }
        let chosen = device_ids(&archive.device_ids, config.number_of_gpu).len() as u32;
        let usable = if chosen == 0 {
            config.number_of_gpu
        } else {
            chosen
        };
        self.most_workers = Some(usable / self.devices);
        if usable < self.devices {
            return Err(Error::BadRequest(format!(
                "one worker needs {} GPUs (parallelLevel, nproc-per-node), and the model may use \
                 {usable}",
                self.devices
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parallel(yaml: &str, gpus: u32) -> Result<Parallel, String> {
        let archive = ArchiveConfig::parse(yaml).unwrap();
        let config = Config {
            number_of_gpu: gpus,
            ..Config::default()
        };
        Parallel::of(&archive, &config).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_workers_are_one_process() {
        assert_eq!(parallel("", 2).unwrap(), Parallel::default());
        let ignored = "parallelLevel: 4\ntorchrun: {nproc-per-node: 2}";
        assert_eq!(parallel(ignored, 2).unwrap(), Parallel::default());
    }

    #[test]
    fn kinds_of_groups() {
        let group = "torchrun: {nproc-per-node: 2, OMP_NUMBER_THREADS: 3}\nparallelType: ";
        for (kind, forwards) in [("tp", true), ("pptp", true), ("pp", false)] {
            let found = parallel(&format!("{group}{kind}"), 0).unwrap();
            assert_eq!((found.ranks, found.forwards), (2, forwards), "{kind}");
            assert_eq!((found.omp_threads, found.devices), (Some(3), 0));
            assert_eq!(found.most_workers, None);
        }
        let custom = parallel("parallelType: custom\nparallelLevel: 2", 5).unwrap();
        assert_eq!((custom.ranks, custom.devices), (1, 2));
        assert_eq!(custom.most_workers, Some(2));
    }

    #[test]
    fn devices_bound_the_workers() {
        let group = "parallelType: tp\ntorchrun: {nproc-per-node: 2}\n";
        assert_eq!(parallel(group, 5).unwrap().most_workers, Some(2));
        let chosen = format!("{group}deviceIds: [3, 1]");
        assert_eq!(parallel(&chosen, 5).unwrap().most_workers, Some(1));
        let on_cpu = format!("{group}deviceType: cpu");
        assert_eq!(parallel(&on_cpu, 1).unwrap().most_workers, None);
        let refused = parallel(group, 1).unwrap_err();
        assert!(refused.contains("needs 2 GPUs"), "{refused}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = parallel("parallelType: tp", 0).unwrap_err();
        assert!(refused.contains("nproc-per-node"), "{refused}");
        let nodes = "parallelType: tp\ntorchrun: {nnodes: 2, nproc-per-node: 2}";
        let refused = parallel(nodes, 0).unwrap_err();
        assert!(refused.contains("one machine"), "{refused}");
    }
}
