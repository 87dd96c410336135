//! Metrics over HTTP.

use super::answer::Answer;
use super::response::Response;
use super::routes::{Call, Payload};
use crate::error::Error;

/// Content type of the metrics, whatever the client accepts.
const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics` and what is below it
pub(super) fn classic(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let page = call.surface.services.metrics.page(wanted(call)?);
    Ok(Answer::Now(Response::text(TYPE, page.into())))
}

/// `/metrics/tserve`
pub(super) fn own(call: &Call<'_>, _payload: Payload<'_>) -> Result<Answer, Error> {
    let page = call.surface.services.metrics.own_page(wanted(call)?);
    Ok(Answer::Now(Response::text(TYPE, page.into())))
}

/// Names of the samples that are asked for.
fn wanted(call: &Call<'_>) -> Result<Vec<String>, Error> {
    let query = call.target.query()?;
    let named = query.pairs().filter(|(key, _)| *key == "name[]");
    Ok(named.map(|(_, name)| name.to_owned()).collect())
}
