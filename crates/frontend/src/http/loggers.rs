//! Levels of the logs over REST.

use serde::Serialize;

use super::answer::Answer;
use super::response::Response;
use super::routes::{Call, Payload};
use crate::error::Error;
use crate::telemetry::LoggerLevel;

/// What `GET /loggers` answers.
#[derive(Serialize)]
struct Levels {
    loggers: Vec<LoggerLevel>,
}

/// `GET /loggers`
#[expect(clippy::unnecessary_wraps, reason = "a route handler")]
pub(super) fn list(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let loggers = call.surface.services.telemetry.loggers.list();
    Ok(Answer::Now(Response::json(200, &Levels { loggers })))
}

/// `PUT /loggers?name=...&level=...`
pub(super) fn set(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let query = call.query()?;
    let (Some(name), Some(level)) = (query.text("name"), query.text("level")) else {
        return Err(Error::BadRequest(
            "Parameters name and level are required.".to_owned(),
        ));
    };
    call.surface.services.telemetry.loggers.set(name, level)?;
    let text = format!("The level of logger {name} is {level} now.");
    Ok(Answer::Now(Response::status_text(200, &text)))
}
