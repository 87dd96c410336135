//! `tserve config show`: each effective value and where it comes from.

use std::io::{self, Write};

use serde_json::json;

use super::show_models::{self, Model, Row};
use super::start::{self, Refusal};
use crate::cli::Flags;
use crate::config::{Effective, Place, StartupModel, StartupModels};

/// What stands in for a value that nobody should read over a shoulder.
const HIDDEN: &str = "********";

/// Longest value in the table; JSON has all of it.
const LONGEST: usize = 60;

/// Prints the configuration that a server with these flags would have, or only that of one model;
/// returns the exit code.
pub(super) fn show(
    flags: &Flags,
    model: Option<&str>,
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
    let mut models = show_models::models(&loaded.config, &loaded.values);
    if let Some(wanted) = model {
        models.retain(|it| it.name == wanted || it.location == wanted);
        if models.is_empty() {
            // Not named at start: how it would be served if it were.
            let mut config = loaded.config.clone();
            config.startup_models = StartupModels::List(vec![StartupModel {
                name: None,
                location: wanted.to_owned(),
            }]);
            models = show_models::models(&config, &loaded.values);
        }
    }
    if is_json {
        let shown: Vec<_> = models.iter().map(Model::as_json).collect();
        let shown = if model.is_some() {
            json!({ "models": shown })
        } else {
            let rows: Vec<_> = loaded.values.iter().map(as_json).collect();
            json!({ "settings": rows, "models": shown, "warnings": loaded.warnings })
        };
        writeln!(out, "{shown:#}")?;
    } else {
        if model.is_none() {
            let row = |it: &Effective| (it.key, shortened(value(it)), source(&it.place));
            print_table(&loaded.values.iter().map(row).collect::<Vec<_>>(), out)?;
            for warning in &loaded.warnings {
                writeln!(err, "warning: {warning}")?;
            }
        }
        for model in &models {
            print_model(model, out)?;
        }
    }
    let is_asked_for = model.is_some();
    let has_failed = models.iter().any(|it| it.settings.is_err());
    Ok(u8::from(is_asked_for && has_failed))
}

fn print_model(model: &Model, out: &mut dyn Write) -> io::Result<()> {
    let version = model.version.as_deref().unwrap_or("?");
    writeln!(
        out,
        "\nmodel {} {version}, from {}",
        model.name, model.location
    )?;
    match &model.settings {
        Ok(rows) => {
            let row = |it: &Row| {
                let source = it.at.clone().unwrap_or_else(|| it.source.to_owned());
                (it.key, shortened(it.value.as_deref()), source)
            };
            print_table(&rows.iter().map(row).collect::<Vec<_>>(), out)
        }
        Err(reason) => writeln!(out, "{reason}"),
    }
}

fn print_table(rows: &[(&str, String, String)], out: &mut dyn Write) -> io::Result<()> {
    let keys = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let values = rows.iter().map(|row| row.1.chars().count()).max();
    let values = values.unwrap_or(0);
    for (key, value, source) in rows {
        writeln!(out, "{key:keys$}  {value:values$}  {source}")?;
    }
    Ok(())
}

fn as_json(it: &Effective) -> serde_json::Value {
    let kind = match &it.place {
        Place::Default => "default",
        Place::Line(..) => "file",
        Place::Snapshot(..) => "snapshot",
        Place::Flag(_) => "flag",
        Place::Variable(_) => "environment",
        Place::Platform(_) => "platform",
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
