//! Predictions and health: messages to neutral requests and back.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde_json::json;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::{Request, Response, Status, Streaming};
use tserve_api::inference::inference_ap_is_service_server::InferenceApIsService;
use tserve_api::inference::{PredictionResponse, PredictionsRequest, TorchServeHealthResponse};

use super::answer::timed;
use super::call;
use super::sequences::Sequences;
use super::status;
use crate::error::Error;
use crate::service::{
    Begun, Body, Health, HealthService, InferenceRequest, InferenceService, Input, PendingReply,
    ReplyStream, Services, Value,
};

/// Messages of an answer, as they come.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<PredictionResponse, Status>> + Send>>;

/// The service `InferenceAPIsService`.
pub(super) struct Inference {
    service: InferenceService,
    health: HealthService,
    sequences: Sequences,
}

impl Inference {
    pub(super) fn new(services: &Services) -> Self {
        Self {
            service: services.inference.clone(),
            health: services.health.clone(),
            sequences: Sequences::new(services),
        }
    }

    /// Admits a request and forgets the message: its bytes are in shared memory then.
    fn admit(&self, request: Request<PredictionsRequest>) -> Result<PendingReply, Status> {
        let identity = call::identity(&request);
        let message = request.into_inner();
        let given = message.sequence_id.as_deref();
        let sequence = given.filter(|id| !id.is_empty());
        let mut headers = Vec::new();
        headers.extend(sequence.map(|id| (self.sequences.id_header(), id)));
        identity.hand_on(&mut headers);
        submit(&self.service, &message, identity.id(), &headers)
            .map_err(|error| status::of_prediction(&error))
    }
}

/// Admits a request.
pub(super) fn submit(
    service: &InferenceService,
    message: &PredictionsRequest,
    id: &str,
    headers: &[(&str, &str)],
) -> Result<PendingReply, Error> {
    if message.model_name.is_empty() {
        return Err(Error::BadRequest(
            "Parameter model_name is required.".to_owned(),
        ));
    }
    let version = Some(&*message.model_version).filter(|version| !version.is_empty());
    let model = service.lookup(&message.model_name, version)?;
    let inputs: Vec<_> = message
        .input
        .iter()
        .map(|entry| Input {
            name: &entry.key,
            content_type: "",
            value: Value::Inline(&entry.value),
        })
        .collect();
    service.submit(InferenceRequest {
        model,
        requested_version: version,
        id,
        headers,
        inputs: &inputs,
        body: Body::None,
        // One connection carries many calls at a time.
        client: None,
    })
}

/// The message of an answer or of one part. Status and headers that the handler set are for HTTP
/// clients only.
pub(super) fn prediction(body: Bytes) -> PredictionResponse {
    PredictionResponse {
        prediction: body,
        ..PredictionResponse::default()
    }
}

/// An answer that comes in parts; the client's flow control holds the handler back.
struct Parts(Box<ReplyStream>);

impl Stream for Parts {
    type Item = Result<PredictionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context).map(|part| {
            part.map(|part| match part {
                Ok(body) => Ok(prediction(body)),
                Err(error) => Err(status::of_prediction(&error)),
            })
        })
    }
}

#[tonic::async_trait]
impl InferenceApIsService for Inference {
    async fn ping(&self, _: Request<()>) -> Result<Response<TorchServeHealthResponse>, Status> {
        let status = match self.health.ping() {
            Health::Healthy => "Healthy",
            Health::Unhealthy => "Unhealthy",
        };
        let health = format!("{:#}", json!({ "status": status }));
        Ok(Response::new(TorchServeHealthResponse { health }))
    }

    async fn predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<PredictionResponse>, Status> {
        let reply = self.admit(request)?.wait().await;
        let reply = reply.map_err(|error| status::of_prediction(&error))?;
        Ok(timed(prediction(reply.body), reply.stages))
    }

    type StreamPredictionsStream = Messages;

    async fn stream_predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<Messages>, Status> {
        let begun = self.admit(request)?.begin().await;
        let begun = begun.map_err(|error| status::of_prediction(&error))?;
        let (messages, stages): (Messages, _) = match begun {
            Begun::Whole(reply) => {
                let message = Ok(prediction(reply.body));
                (Box::pin(tokio_stream::once(message)), reply.stages)
            }
            Begun::Stream(parts) => {
                let stages = parts.stages;
                (Box::pin(Parts(parts)), stages)
            }
        };
        Ok(timed(messages, stages))
    }

    type StreamPredictions2Stream = Messages;

    async fn stream_predictions2(
        &self,
        request: Request<Streaming<PredictionsRequest>>,
    ) -> Result<Response<Messages>, Status> {
        let identity = call::identity(&request);
        let answers = self.sequences.answers(request.into_inner(), identity);
        Ok(Response::new(answers))
    }
}
