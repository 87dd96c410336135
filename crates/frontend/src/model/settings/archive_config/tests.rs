//! Configurations of every kind, also hostile ones.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> ArchiveConfig {
    ArchiveConfig::parse(text).unwrap()
}

#[test]
fn every_key_is_read() {
    let config = parse(
        "minWorkers: 1\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 50\nresponseTimeout: 33\n\
         startupTimeout: 44\ndeviceType: GPU\ndeviceIds: [1, 0]\nparallelType: custom\n\
         parallelLevel: 2\nmaxRetryTimeoutInSec: 77\nclientTimeoutInMills: 60000\n\
         jobQueueSize: 7\nuseJobTicket: true\nsequenceBatching: yes\nsequenceMaxIdleMSec: 10\n\
         sequenceTimeoutMSec: 20\nmaxNumSequence: 3\nmaxSequenceJobQueueSize: 5\n\
         continuousBatching: on\nasyncCommunication: true\nuseVenv: true\nworkerTemplate: model\n\
         openInference: {platform: pytorch}\n\
         torchrun:\n  nproc-per-node: 4\n  OMP_NUMBER_THREADS: 2\n",
    );
    let expected = ArchiveConfig {
        min_workers: Some(1),
        max_workers: Some(2),
        batch_size: Some(4),
        max_batch_delay: Some(ms(50)),
        response_timeout: Some(secs(33)),
        startup_timeout: Some(secs(44)),
        device_type: Some(DeviceType::Gpu),
        device_ids: vec![1, 0],
        parallel_type: Some(ParallelType::Custom),
        parallel_level: Some(2),
        torchrun: Some(Torchrun {
            nproc_per_node: 4,
            omp_number_threads: 2,
            ..Torchrun::default()
        }),
        max_retry_timeout: Some(secs(77)),
        client_timeout: Some(ms(60_000)),
        job_queue_size: Some(7),
        use_job_ticket: true,
        sequence_batching: true,
        sequence_max_idle: Some(ms(10)),
        sequence_timeout: Some(ms(20)),
        max_num_sequence: Some(3),
        max_sequence_job_queue_size: Some(5),
        continuous_batching: true,
        async_communication: true,
        use_venv: true,
        worker_template: Some(TemplateDepth::Model),
        open_inference: Signature {
            platform: "pytorch".to_owned(),
            ..Signature::default()
        },
    };
    assert_eq!(config, expected);
}

#[test]
fn a_wrong_type_is_as_good_as_absent_and_small_numbers_are_raised() {
    let config = parse(
        "minWorkers: two\nmaxWorkers: 1\nbatchSize: -3\nmaxBatchDelay: soon\n\
         responseTimeout: 0\nstartupTimeout: \"5\"\nopenInference: [x]\ndeviceType: tpu\ndeviceIds: [0, one]\n\
         maxRetryTimeoutInSec: -1\njobQueueSize: 3000000000\nuseJobTicket: 1\nunknownKey: 1\n",
    );
    let expected = ArchiveConfig {
        max_workers: Some(1),
        batch_size: Some(1),
        max_retry_timeout: Some(Duration::ZERO),
        ..ArchiveConfig::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn a_delay_of_zero_is_a_delay() {
    assert_eq!(
        parse("maxBatchDelay: 0").max_batch_delay,
        Some(Duration::ZERO)
    );
}

#[test]
fn an_empty_file_says_nothing() {
    for text in ["", "\n", "# only a comment\n", "---\n", "~", "{}"] {
        assert_eq!(parse(text), ArchiveConfig::default(), "{text:?}");
    }
}

#[test]
fn what_belongs_to_handlers_is_not_looked_into() {
    let config = parse(
        "handler:\n  words: [a, b]\n  a: 1\n  a: 2\n? [complex, key]\n: 1\n7: seven\n\
         when: 2020-01-02\ntagged: !thing {x: 1}\nbatchSize: 2\n",
    );
    assert_eq!(config.batch_size, Some(2));
}

#[test]
fn of_a_key_that_occurs_twice_the_last_counts() {
    assert_eq!(parse("batchSize: 2\nbatchSize: 3\n").batch_size, Some(3));
}

#[test]
fn what_is_no_map_is_an_error() {
    for text in ["[1, 2]", "just text", "a: [", "a: b: c", "\t- x", "3"] {
        assert!(ArchiveConfig::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_billion_laughs_are_not_laughed() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let all = vec![alias; 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{all}]").unwrap();
    }
    text.push_str("deviceIds: *a11\n");
    assert!(ArchiveConfig::parse(&text).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = ArchiveConfig::parse(&text);
    }

    #[test]
    fn no_value_makes_it_panic(
        key in prop::sample::select(KEYS.to_vec()),
        value in r#"(-?[0-9]{1,25}|[0-9]\.[0-9]e[0-9]{1,3}|true|yes|"[a-z]*"|~|\[[0-9, -]*\]|\{a: [0-9]\}|&a \[x\]|!t x|\.inf|\.nan|0x[0-9a-f]{1,20})"#,
    ) {
        let _ = ArchiveConfig::parse(&format!("{key}: {value}\n"));
    }
}
