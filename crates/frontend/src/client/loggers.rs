//! `tserve log-level`.

use std::io::Write;

use reqwest::Method;

use super::ClientError;
use super::connection::{Server, with_query};
use super::models::{print_json, text};
use super::table::{self, printable};

/// Shows the levels of all loggers, or changes that of one.
pub(super) async fn perform(
    change: Option<(&str, &str)>,
    server: &Server,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), ClientError> {
    let path = "/loggers".to_owned();
    let Some((logger, level)) = change else {
        let listed = server.ask_json(Method::GET, &path).await?;
        if json {
            return print_json(out, &listed);
        }
        let rows: Vec<[String; 2]> = (listed["loggers"].as_array().into_iter().flatten())
            .map(|logger| [text(logger, "name"), text(logger, "level")].map(str::to_owned))
            .collect();
        return Ok(table::print(out, ["LOGGER", "LEVEL"], &rows)?);
    };
    let parameters = [
        ("name", Some(logger.to_owned())),
        ("level", Some(level.to_owned())),
    ];
    let done = server
        .ask_json(Method::PUT, &with_query(path, &parameters))
        .await?;
    if json {
        return print_json(out, &done);
    }
    writeln!(out, "{}", printable(text(&done, "status")))?;
    Ok(())
}
