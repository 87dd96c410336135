//! `tserve why`: what went wrong lately with a model.

use std::io::{self, Write};

use reqwest::Method;
use serde_json::Value;

use super::ClientError;
use super::connection::{Server, path, with_query};
use super::models::{plain, print_json, text};
use super::table::{indented, printable};

/// Prints the last failures of a model's workers and handler, the latest last: that is where a
/// person looks.
pub(super) async fn perform(
    model: &str,
    version: Option<&str>,
    server: &Server,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let place = path(&["models", model, version.unwrap_or("all")]);
    let query = [("failures", Some("true".to_owned()))];
    let described = server
        .ask_json(Method::GET, &with_query(place, &query))
        .await?;
    let versions = described.as_array().map_or(&[][..], Vec::as_slice);
    if json {
        let picked = versions.iter().map(|version| {
            let mut fields = serde_json::Map::new();
            for key in ["modelName", "modelVersion", "failures"] {
                fields.insert(key.to_owned(), version[key].clone());
            }
            Value::Object(fields)
        });
        return print_json(out, &Value::Array(picked.collect()));
    }
    for (place, version) in versions.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        show(version, out)?;
    }
    Ok(())
}

fn show(version: &Value, out: &mut dyn Write) -> io::Result<()> {
    let failures = version["failures"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let workers = version["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = workers.iter().filter(|it| text(it, "status") == "READY");
    writeln!(
        out,
        "{} {}: {} of {} workers ready, {}",
        printable(text(version, "modelName")),
        printable(text(version, "modelVersion")),
        ready.count(),
        workers
            .len()
            .max(version["minWorkers"].as_u64().unwrap_or_default() as usize),
        match failures.len() {
            0 => "no failures".to_owned(),
            1 => "one failure remembered".to_owned(),
            several => format!("{several} failures remembered, the latest last"),
        }
    )?;
    for failure in failures.iter().rev() {
        writeln!(out)?;
        show_failure(failure, out)?;
    }
    Ok(())
}

fn show_failure(failure: &Value, out: &mut dyn Write) -> io::Result<()> {
    let times = match failure["times"].as_u64() {
        Some(times) if times > 1 => format!(", {times} times in a row"),
        _ => String::new(),
    };
    writeln!(
        out,
        "{}  worker {}{times}\n  {}",
        printable(&plain(&failure["time"])),
        printable(&plain(&failure["worker"])),
        printable(text(failure, "summary"))
    )?;
    if let (Some(file), Some(line)) = (failure["file"].as_str(), failure["line"].as_u64()) {
        writeln!(out, "  at {}:{line}", printable(file))?;
    }
    write!(out, "{}", indented(text(failure, "traceback"), "    "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_failure_is_the_last_one_shown() {
        let version = json!({
            "modelName": "m", "modelVersion": "1.0", "minWorkers": 2,
            "workers": [{"status": "READY"}],
            "failures": [
                {"of": "handler", "worker": "9001", "times": 3, "time": "T2",
                 "summary": "the handler raised ValueError: no\u{1b}",
                 "traceback": "Traceback\n  File \"handler.py\", line 3\n"},
                {"of": "worker", "worker": "9000", "times": 1, "time": "T1",
                 "summary": "the worker process ended with exit status 3", "exitStatus": 3},
            ],
        });
        let mut out = Vec::new();
        show(&version, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "m 1.0: 1 of 2 workers ready, 2 failures remembered, the latest last\n\n\
             T1  worker 9000\n  the worker process ended with exit status 3\n\n\
             T2  worker 9001, 3 times in a row\n  the handler raised ValueError: no\u{fffd}\n    \
             Traceback\n      File \"handler.py\", line 3\n"
        );
    }
}
