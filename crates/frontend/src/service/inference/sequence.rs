//! Which sequence a request belongs to.

use uuid::Uuid;

use super::{InferenceRequest, Job, PendingReply, SequenceTag, admit as admit_tagged, no_worker};
use crate::error::Error;

/// Admits a request to a model whose requests belong to sequences. One without an id begins a
/// sequence, and its handler is told the id.
pub(super) fn admit(request: InferenceRequest<'_>) -> Result<(Job, PendingReply), Error> {
    let names = &request.model.context().config.sequence_headers;
    let [id_name, start_name, end_name] = names.clone();
    let given = find(request.headers, &id_name);
    let is_spelled = request.headers.iter().any(|(name, _)| *name == id_name);
    let ends = find(request.headers, &end_name).is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let id = given.map_or_else(|| format!("ts-seq-{}", Uuid::new_v4()), str::to_owned);
    let mut headers = request.headers.to_vec();
    if given.is_none() {
        headers.push((&start_name, "true"));
    }
    if given.is_none() || !is_spelled {
        // Handlers look it up by this name and no other.
        headers.push((&id_name, &id));
    }
    let refusal = no_worker(request.model.name(), request.requested_version);
    let tag = SequenceTag::new(id.clone(), ends, refusal);
    let request = InferenceRequest {
        headers: &headers,
        ..request
    };
    admit_tagged(request, Some(tag))
}

/// The last header of a name that says something; one in another case counts when there is none
/// in the right one.
fn find<'a>(headers: &[(&'a str, &'a str)], wanted: &str) -> Option<&'a str> {
    let values = || headers.iter().rev().filter(|(_, value)| !value.is_empty());
    values()
        .find(|(name, _)| *name == wanted)
        .or_else(|| values().find(|(name, _)| name.eq_ignore_ascii_case(wanted)))
        .map(|(_, value)| *value)
}
