use std::path::Path;
use std::time::Duration;

use super::levels::Threshold;
use super::*;

/// Logs into a folder, without the process-wide subscriber.
fn start(folder: &Path, lines: usize) -> (Telemetry, Queues, Guard, Vec<String>) {
    let bell = Arc::new(Bell::default());
    let queues = Queues::new(&bell, lines, 1 << 20);
    let levels = Levels {
        server: Threshold::Info,
        model: Threshold::Info,
        access: true,
    };
    let telemetry = Telemetry::over(&queues, levels);
    let folders = Folders {
        logs: folder.join("logs"),
        metrics: folder.join("metrics"),
    };
    let (guard, problems) = writer::spawn(&folders, queues.clone(), bell, std::io::sink()).unwrap();
    (telemetry, queues, guard, problems)
}

fn answered(uri: &str) -> AccessLine<'_> {
    AccessLine {
        remote: "/127.0.0.1:1",
        method: "GET",
        uri,
        protocol: "HTTP/1.1",
        status: 200,
        elapsed: Duration::from_millis(3),
        stages: None,
    }
}

#[test]
fn each_kind_of_line_is_in_its_own_file_and_all_are_in_the_server_log() {
    let folder = tempfile::tempdir().unwrap();
    let (telemetry, _, guard, problems) = start(folder.path(), 64);
    telemetry.access.record(answered("/ping"));
    telemetry
        .model
        .line("W-9000-a_1.0", Stream::Stderr, "one\ntwo");
    drop(guard);
    assert!(problems.is_empty(), "{problems:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let access = read("logs/access_log.log");
    assert_eq!(access.lines().count(), 1);
    assert_eq!(
        &access[23..],
        " - /127.0.0.1:1 \"GET /ping HTTP/1.1\" 200 3\n"
    );
    let model = read("logs/model_log.log");
    assert_eq!(model.lines().count(), 2);
    assert!(
        model
            .lines()
            .all(|line| line.contains("[WARN ] W-9000-a_1.0-stderr MODEL_LOG - "))
    );
    let server = read("logs/ts_log.log");
    assert_eq!(server.lines().count(), 3);
    assert!(server.contains("ACCESS_LOG - /127.0.0.1:1"));
    assert_eq!(read("metrics/ts_metrics.log"), "");
    assert_eq!(read("metrics/model_metrics.log"), "");
}

#[test]
fn nothing_is_lost_between_many_writers_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (telemetry, _, guard, _) = start(folder.path(), LINES);
    let (threads, lines) = (4, 2000);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..lines {
                    telemetry.access.record(answered("/x"));
                }
            });
        }
    });
    drop(guard);
    let access = std::fs::read_to_string(folder.path().join("logs/access_log.log")).unwrap();
    assert_eq!(access.lines().count(), threads * lines);
}

#[test]
fn dropped_lines_are_reported_and_do_not_take_the_place_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let bell = Arc::new(Bell::default());
    let queues = Queues::new(&bell, 3, 1 << 20);
    // Before there is a writer, so that the queue is full for certain.
    for index in 0..10 {
        queues.model.send(format!("noise {index}").into_bytes());
    }
    queues.server.send(b"important".to_vec());
    let folders = Folders {
        logs: folder.path().to_owned(),
        metrics: folder.path().to_owned(),
    };
    let (guard, _) = writer::spawn(&folders, queues, bell, std::io::sink()).unwrap();
    drop(guard);
    let server = std::fs::read_to_string(folder.path().join("ts_log.log")).unwrap();
    assert!(server.contains("important\n"), "{server}");
    assert!(server.contains("7 log lines were dropped"), "{server}");
    assert_eq!(
        server
            .lines()
            .filter(|line| line.starts_with("noise"))
            .count(),
        3
    );
}

#[test]
fn logs_that_are_disabled_take_anything() {
    let telemetry = Telemetry::disabled();
    telemetry.access.record(answered("/x"));
    telemetry.model.line("W", Stream::Stdout, "text");
}
