//! `tserve top`: models, workers, queues, rates and latencies of a running server, live.

mod sample;
mod screen;

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use self::sample::{Figures, Sample};
use self::screen::Screen;
use super::ClientError;
use super::connection::{Server, path};
use super::models::{self, plain, state, text};
use super::table;

/// Versions that are shown at most.
const MOST_ROWS: usize = 1000;

/// One model version between two looks.
struct Row {
    described: Value,
    figures: Option<Figures>,
}

/// Shows the server until somebody presses `q`; once where nobody can.
pub(super) async fn perform(
    management: &Server,
    metrics: &Server,
    (interval, once, as_json): (Duration, bool, bool),
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let mut last = look(metrics).await;
    if once || as_json || !std::io::stdout().is_terminal() {
        tokio::time::sleep(interval).await;
        let (rows, _) = rows(management, metrics, last.as_ref()).await?;
        if as_json {
            let all = rows.iter().map(as_object).collect();
            return models::print_json(out, &Value::Array(all));
        }
        return Ok(print(&rows, out)?);
    }
    let mut screen = Screen::open().map_err(ClientError::Output)?;
    loop {
        let mut page = Vec::new();
        match rows(management, metrics, last.as_ref()).await {
            Ok((rows, next)) => {
                print(&rows, &mut page)?;
                last = next;
            }
            // It may come back.
            Err(error) => writeln!(page, "{error}")?,
        }
        screen.show(&String::from_utf8_lossy(&page))?;
        if screen.is_left_within(interval).await? {
            return Ok(());
        }
    }
}

/// What the metrics say at this moment; `None` where there are none to be had.
async fn look(metrics: &Server) -> Option<(Instant, Sample)> {
    let answer = metrics.ask(Method::GET, sample::PAGE, None).await.ok()?;
    let page = String::from_utf8_lossy(&answer.body);
    (answer.status == 200).then(|| (Instant::now(), Sample::read(&page)))
}

async fn rows(
    management: &Server,
    metrics: &Server,
    last: Option<&(Instant, Sample)>,
) -> Result<(Vec<Row>, Option<(Instant, Sample)>), ClientError> {
    let now = look(metrics).await;
    let mut rows = Vec::new();
    for model in models::names(management).await? {
        let described = management
            .ask_json(Method::GET, &path(&["models", &model, "all"]))
            .await;
        // A model may be removed at any time.
        let described = described.unwrap_or_default();
        for version in described.as_array().into_iter().flatten() {
            let key = (text(version, "modelName"), text(version, "modelVersion"));
            let figures = now.as_ref().and_then(|(at, sample)| {
                let before = last.map(|(then, last)| (last, at.duration_since(*then)));
                sample.figures(key, before)
            });
            rows.push(Row {
                described: version.clone(),
                figures,
            });
        }
        if rows.len() >= MOST_ROWS {
            break;
        }
    }
    Ok((rows, now))
}

fn print(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    let heading = [
        "MODEL", "VERSION", "WORKERS", "QUEUE", "REQ/S", "ERR/S", "P50 MS", "P99 MS", "BATCH",
        "MEMORY",
    ];
    let cells: Vec<[String; 10]> = rows.iter().map(cells).collect();
    table::print(out, heading, &cells)?;
    let workers: Vec<[String; 6]> = rows.iter().flat_map(workers).collect();
    if !workers.is_empty() {
        writeln!(out)?;
        let heading = ["WORKER", "MODEL", "STATE", "PID", "MEMORY", "LAST FAILURE"];
        table::print(out, heading, &workers)?;
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 10] {
    let described = &row.described;
    let workers = workers_of(described);
    let ready = workers.iter().filter(|it| text(it, "status") == "READY");
    let memory: u64 = workers
        .iter()
        .filter_map(|it| it["memoryUsage"].as_u64())
        .sum();
    let waiting = &described["jobQueueStatus"]["pendingRequests"];
    let figure = |pick: fn(&Figures) -> Option<f64>| {
        let value = row.figures.as_ref().and_then(pick);
        value.map_or_else(|| "-".to_owned(), short)
    };
    [
        text(described, "modelName").to_owned(),
        text(described, "modelVersion").to_owned(),
        format!("{}/{}", ready.count(), workers.len()),
        plain(waiting),
        figure(|it| it.requests_per_second),
        figure(|it| it.errors_per_second),
        figure(|it| it.p50_ms),
        figure(|it| it.p99_ms),
        figure(|it| it.batch_size),
        format!("{} MiB", memory >> 20),
    ]
}

fn workers(row: &Row) -> Vec<[String; 6]> {
    let described = &row.described;
    let name = format!(
        "{} {}",
        text(described, "modelName"),
        text(described, "modelVersion")
    );
    let workers = workers_of(described).iter();
    workers
        .map(|worker| {
            let mebibytes = worker["memoryUsage"].as_u64().unwrap_or_default() >> 20;
            [
                plain(&worker["id"]),
                name.clone(),
                state(worker).to_owned(),
                plain(&worker["pid"]),
                format!("{mebibytes} MiB"),
                text(&worker["lastError"], "summary").to_owned(),
            ]
        })
        .collect()
}

fn workers_of(described: &Value) -> &[Value] {
    described["workers"].as_array().map_or(&[], Vec::as_slice)
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn as_object(row: &Row) -> Value {
    let figures = row.figures.as_ref();
    json!({
        "modelName": row.described["modelName"],
        "modelVersion": row.described["modelVersion"],
        "workers": row.described["workers"],
        "pendingRequests": row.described["jobQueueStatus"]["pendingRequests"],
        "requestsPerSecond": figures.and_then(|it| it.requests_per_second),
        "errorsPerSecond": figures.and_then(|it| it.errors_per_second),
        "p50Ms": figures.and_then(|it| it.p50_ms),
        "p99Ms": figures.and_then(|it| it.p99_ms),
        "batchSize": figures.and_then(|it| it.batch_size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_metrics_still_shows_its_workers() {
        let described = json!({
            "modelName": "m", "modelVersion": "1.0", "jobQueueStatus": {"pendingRequests": 3},
            "workers": [
                {"id": "9000", "status": "READY", "pid": 7, "memoryUsage": 52_428_800},
                {"id": "9001", "status": "UNLOADING", "state": "BACKING_OFF", "pid": -1,
                 "memoryUsage": 0, "lastError": {"summary": "it died\u{7}"}},
            ],
        });
        let rows = [Row {
            described,
            figures: None,
        }];
        let mut out = Vec::new();
        print(&rows, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            ["m", "1.0", "1/2", "3", "-", "-", "-", "-", "-", "50", "MiB"]
        );
        assert_eq!(lines[4][..5], ["9000", "m", "1.0", "READY", "7"]);
        assert!(
            text.ends_with("BACKING_OFF  -1   0 MiB   it died\u{fffd}\n"),
            "{text}"
        );
        assert_eq!([123.4, 12.34, 1.234].map(short), ["123", "12.3", "1.23"]);
    }
}
