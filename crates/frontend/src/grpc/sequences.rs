//! `StreamPredictions2`: requests of sequences on one call, answered in order, errors in between.

use std::future::ready;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use tonic::Streaming;
use tserve_api::inference::{PredictionResponse, PredictionsRequest, Status as InBand};
use uuid::Uuid;

use super::inference::{Messages, prediction, submit};
use super::status;
use crate::error::Error;
use crate::service::{InferenceService, PendingReply, Services};

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

    /// The answers to the requests of one call, in their order.
    pub(super) fn answers(&self, requests: Streaming<PredictionsRequest>) -> Messages {
        let shared = self.clone();
        let answers = requests
            .map(move |request| match request {
                // Admitted here and not when it is waited for, so that the order is kept.
                Ok(message) => answer(shared.admit(&message)).map(Ok).left_future(),
                Err(status) => ready(Err(status)).right_future(),
            })
            .buffered(IN_FLIGHT);
        Box::pin(answers)
    }

    fn admit(&self, message: &PredictionsRequest) -> Result<Admitted, Error> {
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
        let pending = submit(&self.inference, message, &headers)?;
        Ok(Admitted { pending, new_id })
    }
}

/// What the client is told about one request, whatever became of it.
async fn answer(admitted: Result<Admitted, Error>) -> PredictionResponse {
    let outcome = match admitted {
        Ok(mut admitted) => match admitted.pending.wait().await {
            Ok(reply) => Ok(PredictionResponse {
                sequence_id: admitted.new_id,
                ..prediction(reply.body)
            }),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| PredictionResponse {
        status: Some(InBand {
            code: status::of_prediction(&error).code() as i32,
            message: error.to_string(),
            details: vec![tserve_api::error_info(&status::exception_of_prediction(
                &error,
            ))],
        }),
        ..PredictionResponse::default()
    })
}
