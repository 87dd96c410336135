//! `tserve models ...`

use std::io::{self, Write};

use reqwest::Method;
use serde_json::{Value, json};

use super::ClientError;
use super::arguments::{Models, Registration};
use super::connection::{Server, path, with_query};
use super::table::{self, indented, printable};

/// Most pages of a list that are asked for: a server that always names another one is not believed.
const MAX_PAGES: usize = 10_000;

pub(super) async fn perform(
    command: &Models,
    server: &Server,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let (method, path) = match command {
        Models::Ls => return list(server, json, out).await,
        Models::Show { model, version } => {
            let described = server
                .ask_json(Method::GET, &one(model, version.as_deref()))
                .await?;
            return if json {
                print_json(out, &described)
            } else {
                Ok(show(&described, out)?)
            };
        }
        Models::Register(registration) => (Method::POST, register(registration)),
        Models::Scale {
            model,
            min,
            max,
            version,
            no_wait,
        } => {
            let parameters = [
                ("min_worker", Some(min.to_string())),
                ("max_worker", max.map(|max| max.to_string())),
                ("synchronous", Some((!no_wait).to_string())),
            ];
            let path = one(model, version.as_deref());
            (Method::PUT, with_query(path, &parameters))
        }
        Models::Rm { model, version } => (Method::DELETE, one(model, version.as_deref())),
        Models::SetDefault { model, version } => {
            let path = path(&["models", model, version, "set-default"]);
            (Method::PUT, path)
        }
    };
    let done = server.ask_json(method, &path).await?;
    if json {
        return print_json(out, &done);
    }
    writeln!(out, "{}", printable(text(&done, "status")))?;
    Ok(())
}

fn one(model: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => path(&["models", model, version]),
        None => path(&["models", model]),
    }
}

fn register(registration: &Registration) -> String {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let parameters = [
        ("url", Some(registration.url.clone())),
        ("model_name", registration.model_name.clone()),
        ("handler", registration.handler.clone()),
        ("initial_workers", number(Some(registration.workers))),
        ("batch_size", number(registration.batch_size)),
        ("max_batch_delay", number(registration.max_batch_delay)),
        ("response_timeout", number(registration.response_timeout)),
        ("startup_timeout", number(registration.startup_timeout)),
        ("checksum", registration.checksum.clone()),
        ("synchronous", Some((!registration.no_wait).to_string())),
    ];
    with_query("/models".to_owned(), &parameters)
}

/// The names of all models.
pub(super) async fn names(server: &Server) -> Result<Vec<String>, ClientError> {
    let models = pages(server).await?;
    let names = models
        .iter()
        .map(|model| text(model, "modelName").to_owned());
    Ok(names.collect())
}

/// Every page of the list.
async fn pages(server: &Server) -> Result<Vec<Value>, ClientError> {
    let mut models: Vec<Value> = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let query = [("limit", Some("100".to_owned())), ("next_page_token", next)];
        let page = server
            .ask_json(Method::GET, &with_query("/models".to_owned(), &query))
            .await?;
        models.extend(page["models"].as_array().into_iter().flatten().cloned());
        next = page["nextPageToken"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(models)
}

/// All models; for people also what describe says of each default version.
async fn list(server: &Server, json: bool, out: &mut dyn Write) -> Result<(), ClientError> {
    let models = pages(server).await?;
    if json {
        return print_json(out, &json!({ "models": models }));
    }
    let mut rows = Vec::with_capacity(models.len());
    for model in &models {
        let name = text(model, "modelName");
        match server.ask_json(Method::GET, &one(name, None)).await {
            Ok(described) => rows.push(row(&described[0])),
            // Unregistered since it was listed, or its name cannot be part of a path.
            Err(ClientError::Refused { status: 404, .. }) => {
                let url = text(model, "modelUrl");
                rows.push([name, "-", "-", "-", url].map(str::to_owned));
            }
            Err(error) => return Err(error),
        }
    }
    let heading = ["MODEL", "VERSION", "WORKERS", "STATE", "URL"];
    Ok(table::print(out, heading, &rows)?)
}

fn row(version: &Value) -> [String; 5] {
    let workers = version["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = workers.iter().filter(|worker| is_ready(worker)).count();
    let min = version["minWorkers"].as_u64().unwrap_or_default();
    let worst = workers.iter().map(state);
    let state = worst
        .clone()
        .find(|state| *state == "FAILED")
        .or_else(|| worst.clone().find(|state| *state != "READY"))
        .unwrap_or(if ready == 0 { "NO WORKERS" } else { "READY" });
    [
        text(version, "modelName").to_owned(),
        text(version, "modelVersion").to_owned(),
        format!("{ready}/{}", min.max(workers.len() as u64)),
        state.to_owned(),
        text(version, "modelUrl").to_owned(),
    ]
}

fn is_ready(worker: &Value) -> bool {
    text(worker, "status") == "READY"
}

/// The state of a worker; TorchServe only has a status.
pub(super) fn state(worker: &Value) -> &str {
    let status = text(worker, "status");
    worker["state"].as_str().unwrap_or(status)
}

fn show(described: &Value, out: &mut dyn Write) -> io::Result<()> {
    for (place, version) in described.as_array().into_iter().flatten().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        for (name, key) in [
            ("model", "modelName"),
            ("version", "modelVersion"),
            ("url", "modelUrl"),
            ("workers", "minWorkers"),
            ("most workers", "maxWorkers"),
            ("batch size", "batchSize"),
            ("batch delay ms", "maxBatchDelay"),
            ("response timeout s", "responseTimeout"),
            ("device", "deviceType"),
        ] {
            writeln!(out, "{name:<18}  {}", printable(&plain(&version[key])))?;
        }
        let queue = &version["jobQueueStatus"]["pendingRequests"];
        writeln!(out, "{:<18}  {}\n", "waiting requests", plain(queue))?;
        let workers = version["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let rows: Vec<[String; 5]> = workers.iter().map(worker_row).collect();
        let heading = ["WORKER", "STATE", "PID", "MEMORY", "STARTED"];
        table::print(out, heading, &rows)?;
        for worker in workers {
            failure(worker, out)?;
        }
    }
    Ok(())
}

fn worker_row(worker: &Value) -> [String; 5] {
    let mebibytes = worker["memoryUsage"].as_u64().unwrap_or_default() >> 20;
    [
        plain(&worker["id"]),
        state(worker).to_owned(),
        plain(&worker["pid"]),
        format!("{mebibytes} MiB"),
        plain(&worker["startTime"]),
    ]
}

/// Why a worker last failed.
fn failure(worker: &Value, out: &mut dyn Write) -> io::Result<()> {
    let error = &worker["lastError"];
    let Some(summary) = error["summary"].as_str() else {
        return Ok(());
    };
    let (id, time) = (plain(&worker["id"]), plain(&error["time"]));
    let (id, time) = (printable(&id), printable(&time));
    writeln!(
        out,
        "\nworker {id} last failed at {time}:\n  {}",
        printable(summary)
    )?;
    if let (Some(file), Some(line)) = (error["file"].as_str(), error["line"].as_u64()) {
        writeln!(out, "  at {}:{line}", printable(file))?;
    }
    let traceback = error["traceback"].as_str().unwrap_or_default();
    write!(out, "{}", indented(traceback, "    "))
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A value as people write it: texts without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn print_json(out: &mut dyn Write, value: &Value) -> Result<(), ClientError> {
    writeln!(out, "{value:#}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_worst_state() {
        let version =
            |workers: Value| json!({"modelName": "m", "minWorkers": 2, "workers": workers});
        let ready = json!({"status": "READY"});
        let loading = json!({"status": "UNLOADING", "state": "LOADING"});
        let failed = json!({"status": "UNLOADING", "state": "FAILED"});
        assert_eq!(row(&version(json!([ready, ready])))[2..4], ["2/2", "READY"]);
        assert_eq!(
            row(&version(json!([ready, loading])))[2..4],
            ["1/2", "LOADING"]
        );
        assert_eq!(
            row(&version(json!([loading, failed])))[2..4],
            ["0/2", "FAILED"]
        );
        assert_eq!(row(&version(json!([])))[2..4], ["0/2", "NO WORKERS"]);
    }

    #[test]
    fn a_registration_names_only_what_was_said() {
        let registration = Registration {
            url: "a b.mar".to_owned(),
            workers: 1,
            ..Registration::default()
        };
        assert_eq!(
            register(&registration),
            "/models?url=a%20b%2Emar&initial_workers=1&synchronous=true"
        );
    }
}
