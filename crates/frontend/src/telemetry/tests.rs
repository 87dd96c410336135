use std::path::Path;
use std::time::Duration;

use super::rotation::Rotation;
use super::*;

const MANNER: Manner = Manner {
    form: LogForm::Text,
    rotation: Rotation::USUAL,
    repeat_limit: 100,
};

/// Logs into a folder, without the process-wide subscriber.
fn start(folder: &Path, lines: usize) -> (Telemetry, Queues, Guard, Vec<String>) {
    start_as(folder, lines, MANNER, std::io::sink())
}

fn start_as(
    folder: &Path,
    lines: usize,
    manner: Manner,
    output: impl std::io::Write + Send + 'static,
) -> (Telemetry, Queues, Guard, Vec<String>) {
    let (bell, losses) = (Arc::new(Bell::default()), Arc::new(Losses::default()));
    let queues = Queues::new(&bell, &losses, lines, BYTES);
    let levels = Levels {
        server: Threshold::Info,
        model: Threshold::Info,
        access: Threshold::Info,
        rotation: manner.rotation,
    };
    let settings = LogSettings {
        form: manner.form,
        ..LogSettings::default()
    };
    let telemetry = Telemetry::over(&queues, &losses, levels, &settings);
    let folders = Folders {
        logs: folder.join("logs"),
        metrics: folder.join("metrics"),
    };
    let (guard, problems) =
        writer::spawn(&folders, manner, queues.clone(), (bell, losses), output).unwrap();
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
        request_id: "",
        trace_id: "",
    }
}

#[test]
fn each_kind_of_line_is_in_its_own_file() {
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
    assert_eq!(server.lines().count(), 2);
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
    let (bell, losses) = (Arc::new(Bell::default()), Arc::new(Losses::default()));
    let queues = Queues::new(&bell, &losses, 3, 1 << 20);
    // Before there is a writer, so that the queue is full for certain.
    for index in 0..10 {
        queues.model.send(format!("noise {index}").into_bytes());
    }
    queues.server.send(b"important".to_vec());
    let folders = Folders {
        logs: folder.path().to_owned(),
        metrics: folder.path().to_owned(),
    };
    let (guard, _) = writer::spawn(
        &folders,
        MANNER,
        queues,
        (bell, Arc::clone(&losses)),
        std::io::sink(),
    )
    .unwrap();
    drop(guard);
    assert_eq!(
        losses.by_place(),
        [("queue", 7), ("file", 0), ("stdout", 0)]
    );
    let server = std::fs::read_to_string(folder.path().join("ts_log.log")).unwrap();
    assert!(server.contains("important\n"), "{server}");
    let note = "7 log lines were dropped: the disk or the reader of standard output is too slow \
                (since the start: queue: 7)";
    assert!(server.contains(note), "{server}");
    assert_eq!(
        server
            .lines()
            .filter(|line| line.starts_with("noise"))
            .count(),
        3
    );
}

/// A standard output that takes nothing until it is told to.
struct Blocked(std::sync::mpsc::Receiver<()>);

impl std::io::Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Until the test ends, which hangs up.
        self.0.recv().ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_nobody_reads_holds_nothing_up_and_loses_nothing_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (hold, blocked) = std::sync::mpsc::channel();
    let (telemetry, _, guard, _) = start_as(folder.path(), LINES, MANNER, Blocked(blocked));
    let lines = 10_000;
    let begun = std::time::Instant::now();
    for _ in 0..lines {
        telemetry.access.record(answered("/x"));
    }
    // Each in its own time, as the writer does: many more portions than may wait.
    let read = || {
        let path = folder.path().join("logs/access_log.log");
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .count()
    };
    while read() < lines && begun.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
    assert_eq!(read(), lines);
    assert_eq!(telemetry.losses.total(), 0);
    drop(hold);
    drop(guard);
}

#[test]
fn json_lines_are_objects_in_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let manner = Manner {
        form: LogForm::Json,
        repeat_limit: 2,
        ..MANNER
    };
    let (telemetry, _, guard, _) = start_as(folder.path(), 64, manner, std::io::sink());
    telemetry.access.record(answered("/ping"));
    for _ in 0..5 {
        telemetry.model.line("W", Stream::Stdout, "say \"it\"");
    }
    drop(guard);
    let read = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(read("access_log.log")[0]["uri"], "/ping");
    assert_eq!(read("model_log.log").len(), 2);
    let server = read("ts_log.log");
    assert_eq!(server.len(), 3);
    assert_eq!(
        (&server[2]["message"], &server[2]["repeated"]),
        (&"say \"it\"".into(), &3.into())
    );
}

#[test]
fn logs_that_are_disabled_take_anything() {
    let telemetry = Telemetry::disabled();
    telemetry.access.record(answered("/x"));
    telemetry.model.line("W", Stream::Stdout, "text");
}
