//! `tserve config show`: each effective value and where it comes from.

use std::io::{self, Write};

use serde_json::json;

use super::start::{self, Refusal};
use crate::cli::Flags;
use crate::config::{Effective, Place};

/// What stands in for a value that nobody should read over a shoulder.
const HIDDEN: &str = "********";

/// Longest value in the table; JSON has all of it.
const LONGEST: usize = 60;

/// Prints the configuration that a server with these flags would have; returns the exit code.
pub(super) fn show(
    flags: &Flags,
    is_json: bool,
    environment: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = match start::read(flags, environment, true) {
        Ok((loaded, _)) => loaded,
        Err(Refusal::Check(text)) => {
            writeln!(err, "{text}")?;
            return Ok(1);
        }
        Err(Refusal::Config(error)) => {
            writeln!(err, "{error}")?;
            return Ok(1);
        }
    };
    if is_json {
        let rows: Vec<_> = loaded.values.iter().map(as_json).collect();
        let shown = json!({ "settings": rows, "warnings": loaded.warnings });
        writeln!(out, "{shown:#}")?;
        return Ok(0);
    }
    let rows: Vec<_> = loaded
        .values
        .iter()
        .map(|it| (it.key, shortened(value(it)), source(&it.place)))
        .collect();
    let keys = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let values = rows.iter().map(|row| row.1.chars().count()).max();
    let values = values.unwrap_or(0);
    for (key, value, source) in rows {
        writeln!(out, "{key:keys$}  {value:values$}  {source}")?;
    }
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    Ok(0)
}

fn as_json(it: &Effective) -> serde_json::Value {
    let kind = match &it.place {
        Place::Default => "default",
        Place::Line(..) => "file",
        Place::Snapshot(..) => "snapshot",
        Place::Flag(_) => "flag",
        Place::Variable(_) => "environment",
    };
    let at = (it.place != Place::Default).then(|| match &it.place {
        Place::Variable(name) => (*name).to_owned(),
        place => place.to_string(),
    });
    json!({ "key": it.key, "value": value(it), "source": kind, "at": at })
}

fn source(place: &Place) -> String {
    match place {
        Place::Snapshot(..) => format!("snapshot {place}"),
        Place::Flag(flag) => format!("flag {flag}"),
        _ => place.to_string(),
    }
}

fn value(it: &Effective) -> Option<&str> {
    let is_secret = it.key.ends_with("_pass");
    it.value
        .as_deref()
        .map(|value| if is_secret { HIDDEN } else { value })
}

fn shortened(value: Option<&str>) -> String {
    let line = value.unwrap_or("(not set)").replace(['\n', '\r'], " ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    let cut: String = line.chars().take(LONGEST).collect();
    format!("{cut}...")
}
