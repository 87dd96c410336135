//! `StreamPredictions2`: requests of sequences on one call, answered in order, errors in between.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{once, poll_fn};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tonic::Streaming;
use tserve_api::inference::{PredictionResponse, PredictionsRequest, Status as InBand};
use uuid::Uuid;

use super::inference::{Messages, prediction, submit};
use super::status;
use crate::error::Error;
use crate::service::{Begun, Identity, InferenceService, PendingReply, Services};

/// Requests of one call that may be under way at once; further ones are read when one is done.
const IN_FLIGHT: usize = 16;

/// What the calls of all clients share.
#[derive(Clone)]
pub(super) struct Sequences {
    inference: InferenceService,
    /// Names of the sequence headers: id, start, end.
    headers: Arc<[String; 3]>,
}

/// A request that was admitted, and the id that the server gave its sequence.
struct Admitted {
    pending: PendingReply,
    new_id: Option<String>,
}

impl Sequences {
    pub(super) fn new(services: &Services) -> Self {
        Self {
            inference: services.inference.clone(),
            headers: Arc::new(services.config.sequence_headers.clone()),
        }
    }

    /// The header that names a sequence.
    pub(super) fn id_header(&self) -> &str {
        &self.headers[0]
    }

    /// The answers to the requests of one call, in their order.
    pub(super) fn answers(
        &self,
        requests: Streaming<PredictionsRequest>,
        identity: Arc<Identity>,
    ) -> Messages {
        let shared = self.clone();
        let answers = requests
            .map(move |request| match request {
                // Admitted here and not when it is waited for, so that the order is kept.
                Ok(message) => answer(shared.admit(&message, &identity))
                    .map(Ok)
                    .left_future(),
                Err(status) => ready(Err(status)).right_future(),
            })
            .buffered(IN_FLIGHT)
            .try_flatten();
        Box::pin(answers)
    }

    fn admit(&self, message: &PredictionsRequest, call: &Identity) -> Result<Admitted, Error> {
        let [id_header, start_header, end_header] = &*self.headers;
        let is_flagged = |name: &String| {
            let flag = message.input.iter().rfind(|entry| entry.key == *name);
            flag.is_some_and(|flag| flag.value.eq_ignore_ascii_case(b"true"))
        };
        let (starts, ends) = (is_flagged(start_header), is_flagged(end_header));
        let given = message.sequence_id.as_deref().filter(|id| !id.is_empty());
        let new_id = match given {
            None if starts => Some(format!("ts-seq-{}", Uuid::new_v4())),
            None => {
                let text = "Parameter sequenceId is required.".to_owned();
                return Err(Error::BadRequest(text));
            }
            Some(_) => None,
        };
        let id = given.or(new_id.as_deref()).unwrap_or_default();
        let mut headers = vec![(id_header.as_str(), id)];
        headers.extend(starts.then_some((start_header.as_str(), "true")));
        headers.extend(ends.then_some((end_header.as_str(), "true")));
        call.hand_on(&mut headers);
        // Each request of the call is one of its own to the handler.
        let request_id = Identity::new();
        let pending = submit(&self.inference, message, request_id.id(), &headers)?;
        Ok(Admitted { pending, new_id })
    }
}

/// What the client is told about one request, whatever became of it: a message for the answer, or for
/// each of its parts.
async fn answer(admitted: Result<Admitted, Error>) -> Messages {
    let begun = match admitted {
        Ok(mut admitted) => admitted
            .pending
            .begin()
            .await
            .map(|begun| (begun, admitted.new_id)),
        Err(error) => Err(error),
    };
    let (mut parts, mut new_id) = match begun {
        Ok((Begun::Stream(parts), new_id)) => (parts, new_id),
        Ok((Begun::Whole(reply), new_id)) => return alone(named(reply.body, new_id)),
        Err(error) => return alone(in_band(&error)),
    };
    Box::pin(poll_fn(move |context| {
        parts.poll_next(context).map(|part| {
            let message =
                part?.map_or_else(|error| in_band(&error), |body| named(body, new_id.take()));
            Some(Ok(message))
        })
    }))
}

fn alone(message: PredictionResponse) -> Messages {
    Box::pin(once(ready(Ok(message))))
}

/// An answer, and the id that the server gave its sequence.
fn named(body: Bytes, new_id: Option<String>) -> PredictionResponse {
    PredictionResponse {
        sequence_id: new_id,
        ..prediction(body)
    }
}

/// An error in the place of an answer.
fn in_band(error: &Error) -> PredictionResponse {
    PredictionResponse {
        status: Some(InBand {
            code: status::of_prediction(error).code() as i32,
            message: error.to_string(),
            details: vec![tserve_api::error_info(&status::exception_of_prediction(
                error,
            ))],
        }),
        ..PredictionResponse::default()
    }
}
