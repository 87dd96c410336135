//! Which source wins, setting by setting.

use super::*;

/// A merge in which nobody says anything; each test makes somebody speak.
struct Case {
    request: RegisterParams,
    manifest: Manifest,
    archive: Option<ArchiveConfig>,
    models: Option<ModelOverrides>,
    config: Config,
    is_startup: bool,
}

impl Case {
    fn new() -> Self {
        Self {
            request: RegisterParams::default(),
            manifest: Manifest::default(),
            archive: None,
            models: None,
            config: Config::default(),
            is_startup: false,
        }
    }

    fn with_archive(yaml: &str) -> Self {
        Self {
            archive: Some(ArchiveConfig::parse(yaml).unwrap()),
            ..Self::new()
        }
    }

    fn merge(&self) -> Settings {
        Settings::merge(&Sources {
            request: &self.request,
            manifest: &self.manifest,
            archive: self.archive.as_ref(),
            overrides: self.models.as_ref(),
            config: &self.config,
            is_startup: self.is_startup,
        })
        .unwrap()
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn without_a_word_the_built_in_values_hold() {
    let settings = Case::new().merge();
    assert_eq!(settings.batch_size, 1);
    assert_eq!(settings.max_batch_delay, ms(100));
    assert_eq!(settings.response_timeout, secs(120));
    assert_eq!(settings.startup_timeout, secs(120));
    assert_eq!(settings.max_retry_timeout, secs(300));
    assert_eq!(settings.client_timeout, None);
    assert_eq!(settings.job_queue_size, 100);
    assert_eq!(settings.workers, None);
    assert_eq!(settings.runtime, Runtime::Python);
    assert_eq!(settings.declared.max_num_sequence, 0);
    assert_eq!(settings.origins.batch_size, Origin::BuiltIn);
    assert_eq!(settings.origins.response_timeout, Origin::Server);
    assert_eq!(settings.origins.runtime, Origin::Manifest);
}

#[test]
fn batch_values_come_from_request_then_archive_then_models() {
    let mut case = Case::with_archive("batchSize: 4\nmaxBatchDelay: 3000");
    case.models = Some(ModelOverrides {
        batch_size: Some(3),
        max_batch_delay: Some(ms(40)),
        ..ModelOverrides::default()
    });
    case.request.batch_size = Some(8);
    case.request.max_batch_delay = Some(9);
    let settings = case.merge();
    assert_eq!((settings.batch_size, settings.max_batch_delay), (8, ms(9)));
    assert_eq!(settings.origins.batch_size, Origin::Request);

    case.request.batch_size = Some(-1);
    case.request.max_batch_delay = Some(-100);
    let settings = case.merge();
    assert_eq!(
        (settings.batch_size, settings.max_batch_delay),
        (4, ms(3000))
    );
    assert_eq!(settings.origins.max_batch_delay, Origin::Archive);

    case.archive = None;
    let settings = case.merge();
    assert_eq!((settings.batch_size, settings.max_batch_delay), (3, ms(40)));
    assert_eq!(settings.origins.batch_size, Origin::Models);
}

#[test]
fn impossible_batch_values_are_shown_as_asked_and_made_possible() {
    let mut case = Case::new();
    for (asked, in_effect) in [(0, 1), (-7, 1), (i64::MAX, i32::MAX as u32)] {
        case.request.batch_size = Some(asked);
        let settings = case.merge();
        assert_eq!(
            (settings.batch_size, settings.declared.batch_size),
            (in_effect, asked)
        );
    }
    case.request.max_batch_delay = Some(-5);
    let settings = case.merge();
    assert_eq!(
        (settings.max_batch_delay, settings.declared.max_batch_delay),
        (Duration::ZERO, -5)
    );
}

#[test]
fn a_json_registration_that_does_not_say_leaves_the_delay_to_others() {
    let mut case = Case::with_archive("maxBatchDelay: 30");
    case.request.max_batch_delay = Some(JSON_UNSET_DELAY);
    assert_eq!(case.merge().max_batch_delay, ms(30));
    assert_eq!(case.merge().declared.max_batch_delay, 30);
    case.archive = None;
    assert_eq!(case.merge().max_batch_delay, ms(100));
    assert_eq!(case.merge().declared.max_batch_delay, JSON_UNSET_DELAY);
}

#[test]
fn a_delay_of_zero_in_the_archive_counts() {
    assert_eq!(
        Case::with_archive("maxBatchDelay: 0")
            .merge()
            .max_batch_delay,
        Duration::ZERO
    );
}

#[test]
fn a_configuration_in_the_archive_silences_the_time_outs_of_the_request() {
    let mut case = Case::with_archive("responseTimeout: 33");
    case.request.response_timeout = Some(77);
    case.request.startup_timeout = Some(78);
    let settings = case.merge();
    assert_eq!(settings.response_timeout, secs(33));
    assert_eq!(settings.startup_timeout, secs(120));
    assert_eq!(settings.origins.response_timeout, Origin::Archive);
    assert_eq!(settings.origins.startup_timeout, Origin::Server);
    case.models = Some(ModelOverrides {
        startup_timeout: Some(secs(5)),
        ..ModelOverrides::default()
    });
    assert_eq!(case.merge().startup_timeout, secs(5));
}

#[test]
fn without_one_models_beats_the_request_and_the_request_the_server() {
    let mut case = Case::new();
    case.config.default_response_timeout = secs(55);
    assert_eq!(case.merge().response_timeout, secs(55));
    for unset in [-1, 0, -9] {
        case.request.response_timeout = Some(unset);
        assert_eq!(case.merge().response_timeout, secs(55));
    }
    case.request.response_timeout = Some(12);
    assert_eq!(case.merge().response_timeout, secs(12));
    assert_eq!(case.merge().origins.response_timeout, Origin::Request);
    case.models = Some(ModelOverrides {
        response_timeout: Some(secs(66)),
        ..ModelOverrides::default()
    });
    assert_eq!(case.merge().response_timeout, secs(66));
    case.models = None;
    case.request.response_timeout = Some(i64::MAX);
    assert!(
        std::time::Instant::now()
            .checked_add(case.merge().response_timeout)
            .is_some()
    );
}

#[test]
fn workers_need_a_usable_pair_and_models_speaks_only_at_start() {
    let workers = |yaml: &str| Case::with_archive(yaml).merge().workers;
    assert_eq!(workers("minWorkers: 2\nmaxWorkers: 3"), Some((2, 3)));
    assert_eq!(workers("minWorkers: 2"), None);
    assert_eq!(workers("maxWorkers: 2"), None);
    assert_eq!(workers("minWorkers: 2\nmaxWorkers: 1"), None);
    let mut case = Case::new();
    case.models = Some(ModelOverrides {
        min_workers: Some(1),
        max_workers: Some(2),
        ..ModelOverrides::default()
    });
    assert_eq!(case.merge().workers, None);
    case.is_startup = true;
    assert_eq!(case.merge().workers, Some((1, 2)));
    assert_eq!(case.merge().origins.workers, Origin::Models);
    case.archive = Some(ArchiveConfig::parse("minWorkers: 4\nmaxWorkers: 4").unwrap());
    assert_eq!(case.merge().workers, Some((4, 4)));
}

#[test]
fn a_handler_comes_from_request_then_manifest_then_server() {
    let mut case = Case::new();
    case.config.default_service_handler = Some("default.py".to_owned());
    assert_eq!(case.merge().handler.as_deref(), Some("default.py"));
    case.manifest.handler = Some("inside.py".to_owned());
    assert_eq!(case.merge().handler.as_deref(), Some("inside.py"));
    case.request.handler = Some(String::new());
    assert_eq!(case.merge().handler.as_deref(), Some("inside.py"));
    case.request.handler = Some("asked.py".to_owned());
    assert_eq!(case.merge().handler.as_deref(), Some("asked.py"));
    assert_eq!(case.merge().origins.handler, Origin::Request);
}

#[test]
fn a_runtime_comes_from_models_then_request_then_manifest() {
    let mut case = Case::new();
    case.manifest.runtime = Some(Runtime::Lsp);
    assert_eq!(case.merge().runtime, Runtime::Lsp);
    case.request.runtime = Some(Runtime::Python);
    assert_eq!(case.merge().runtime, Runtime::Python);
    case.models = Some(ModelOverrides {
        runtime: Some("python3".to_owned()),
        ..ModelOverrides::default()
    });
    assert_eq!(case.merge().runtime, Runtime::Python3);
}

#[test]
fn devices_that_do_not_exist_void_the_whole_list() {
    let mut case = Case::with_archive("deviceType: gpu\ndeviceIds: [3, 1]");
    case.config.number_of_gpu = 4;
    assert_eq!(case.merge().device_ids, [3, 1]);
    case.config.number_of_gpu = 2;
    assert!(case.merge().device_ids.is_empty());
    assert_eq!(case.merge().device_type, Some(DeviceType::Gpu));
}

#[test]
fn describe_shows_parallel_and_sequence_values_only_when_they_count() {
    let declared = |yaml: &str| Case::with_archive(yaml).merge().declared;
    assert_eq!(declared("parallelLevel: 4").parallel_level, 0);
    let parallel = declared("parallelLevel: 4\nparallelType: custom");
    assert_eq!(
        (parallel.parallel_level, parallel.parallel_type.as_str()),
        (4, "custom")
    );
    let torchrun = declared("parallelType: pp\ntorchrun: {nproc-per-node: 2}");
    assert_eq!(torchrun.parallel_level, 2);
    assert_eq!(declared("maxNumSequence: 9").max_num_sequence, 0);
    let sequences = declared("sequenceBatching: true\nsequenceMaxIdleMSec: 4000");
    assert_eq!(
        (sequences.sequence_max_idle_msec, sequences.max_num_sequence),
        (4000, 1)
    );
}

#[test]
fn queue_and_client_time_out_of_zero_are_unset() {
    let settings = Case::with_archive("jobQueueSize: 0\nclientTimeoutInMills: 0").merge();
    assert_eq!(
        (settings.job_queue_size, settings.client_timeout),
        (100, None)
    );
    let settings = Case::with_archive("jobQueueSize: 7\nclientTimeoutInMills: 50").merge();
    assert_eq!(
        (settings.job_queue_size, settings.client_timeout),
        (7, Some(ms(50)))
    );
}
