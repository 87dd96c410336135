//! The Open Inference Protocol: messages to neutral requests and back.

use bytes::Bytes;
use serde_json::{Map, Value};
use tonic::{Request, Response, Status};
use tserve_api::open_inference as pb;
use tserve_api::open_inference::grpc_inference_service_server::GrpcInferenceService;
use tserve_api::open_inference::infer_parameter::ParameterChoice;
use tserve_api::open_inference::model_infer_request::InferInputTensor;
use tserve_api::open_inference::model_infer_response::InferOutputTensor;
use tserve_api::open_inference::model_metadata_response::TensorMetadata;

use super::answer::timed;
use super::call;
use super::contents;
use super::status;
use crate::error::Error;
use crate::service::{
    Datatype, HealthService, Identity, InferBody, InferCall, InferRequest, InferResponse,
    InferenceService, InputTensor, RequestedOutput, Services, Tensor,
};

/// Whose clients call, which decides about the codes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Those of TorchServe's package.
    TorchServe,
    /// Those of the protocol's own package.
    Standard,
}

/// The service `GRPCInferenceService`.
#[derive(Debug, Clone)]
pub(super) struct OpenInference {
    service: InferenceService,
    health: HealthService,
    dialect: Dialect,
}

impl OpenInference {
    pub(super) fn new(services: &Services, dialect: Dialect) -> Self {
        Self {
            service: services.inference.clone(),
            health: services.health.clone(),
            dialect,
        }
    }

    /// The end of a call about a model.
    fn lookup_failed(&self, error: &Error) -> Status {
        match self.dialect {
            Dialect::TorchServe => status::of_operation(error),
            Dialect::Standard => status::of_inference(error),
        }
    }

    /// The end of a request for inference. What TorchServe does not check is told in the way of the
    /// protocol to everybody.
    fn inference_failed(&self, error: &Error) -> Status {
        match (self.dialect, error) {
            (Dialect::TorchServe, Error::BadRequest(_)) | (Dialect::Standard, _) => {
                status::of_inference(error)
            }
            (Dialect::TorchServe, _) => status::of_prediction(error),
        }
    }

    /// A name that has to be there; TorchServe's clients match on the text.
    fn named<'a>(&self, parameter: &str, name: &'a str) -> Result<&'a str, Status> {
        if !name.is_empty() {
            return Ok(name);
        }
        let error = Error::BadRequest(format!("Parameter {parameter} is required."));
        Err(match self.dialect {
            Dialect::TorchServe => status::of_prediction(&error),
            Dialect::Standard => status::of_inference(&error),
        })
    }

    async fn infer(
        &self,
        message: pb::ModelInferRequest,
        identity: &Identity,
    ) -> Result<Response<pb::ModelInferResponse>, Error> {
        let version = given(&message.model_version).map(str::to_owned);
        let model = self
            .service
            .lookup(&message.model_name, version.as_deref())?;
        let is_raw = !message.raw_input_contents.is_empty();
        let request = read(message)?;
        let mut headers = Vec::new();
        identity.hand_on(&mut headers);
        let (mut pending, asked) = self.service.infer(InferCall {
            model,
            requested_version: version.as_deref(),
            id: identity.id(),
            headers,
            request,
            body: InferBody::Here(&[]),
            // One connection carries many calls at a time.
            client: None,
        })?;
        let reply = pending.wait().await?;
        Ok(timed(write(asked.tensors(&reply)?, is_raw), reply.stages))
    }
}

/// The request in a message.
fn read(message: pb::ModelInferRequest) -> Result<InferRequest, Error> {
    let mut raw = message.raw_input_contents.into_iter();
    let is_raw = raw.len() > 0;
    if is_raw && raw.len() != message.inputs.len() {
        return Err(Error::BadRequest(format!(
            "raw_input_contents has {} entries for {} inputs",
            raw.len(),
            message.inputs.len()
        )));
    }
    let inputs = message.inputs.into_iter().map(|tensor| {
        if is_raw {
            read_raw(tensor, raw.next().unwrap_or_default())
        } else {
            let contents = tensor.contents.unwrap_or_default();
            let data = |datatype, _| contents::read(datatype, &contents);
            InputTensor::new(tensor.name, &tensor.datatype, tensor.shape, data)
        }
    });
    let outputs = message.outputs.into_iter().map(|output| RequestedOutput {
        name: output.name,
        is_binary: None,
    });
    let request = InferRequest {
        id: given(&message.id).map(str::to_owned),
        inputs: inputs.collect::<Result<_, _>>()?,
        outputs: outputs.collect(),
        parameters: message
            .parameters
            .into_iter()
            .filter_map(|entry| Some((entry.key, parameter(entry.value?.parameter_choice?))))
            .collect::<Map<_, _>>(),
        is_binary_wanted: false,
    };
    request.check_names()?;
    Ok(request)
}

fn read_raw(tensor: InferInputTensor, bytes: Bytes) -> Result<InputTensor, Error> {
    let has_contents = tensor
        .contents
        .is_some_and(|it| it != pb::InferTensorContents::default());
    InputTensor::new(tensor.name, &tensor.datatype, tensor.shape, |_, _| {
        if has_contents {
            let text = "it has contents besides raw_input_contents";
            return Err(Error::BadRequest(text.to_owned()));
        }
        Ok(bytes)
    })
}

fn parameter(choice: ParameterChoice) -> Value {
    match choice {
        ParameterChoice::BoolParam(flag) => flag.into(),
        ParameterChoice::Int64Param(number) => number.into(),
        ParameterChoice::StringParam(text) => text.into(),
    }
}

/// The message of an answer: in bytes if the request was, or if no field could hold its elements.
fn write(response: InferResponse, is_raw: bool) -> pb::ModelInferResponse {
    let has_no_field = |datatype| matches!(datatype, Datatype::Fp16 | Datatype::Bf16);
    let is_raw = is_raw || response.outputs.iter().any(|it| has_no_field(it.datatype));
    let mut outputs = Vec::with_capacity(response.outputs.len());
    let mut raw_output_contents = Vec::new();
    for tensor in response.outputs {
        let contents = if is_raw {
            raw_output_contents.push(tensor.data);
            None
        } else {
            Some(contents::write(tensor.datatype, &tensor.data))
        };
        outputs.push(InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape,
            parameters: Vec::new(),
            contents,
        });
    }
    pb::ModelInferResponse {
        model_name: response.model_name,
        model_version: response.model_version,
        id: response.id,
        parameters: Vec::new(),
        outputs,
        raw_output_contents,
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenInference {
    async fn server_live(
        &self,
        _: Request<pb::ServerLiveRequest>,
    ) -> Result<Response<pb::ServerLiveResponse>, Status> {
        Ok(Response::new(pb::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<pb::ServerReadyRequest>,
    ) -> Result<Response<pb::ServerReadyResponse>, Status> {
        let ready = self.health.readiness().is_ready();
        Ok(Response::new(pb::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<pb::ModelReadyRequest>,
    ) -> Result<Response<pb::ModelReadyResponse>, Status> {
        let message = request.into_inner();
        let name = self.named("name", &message.name)?;
        let ready = self.health.is_model_ready(name, given(&message.version));
        let ready = ready.map_err(|error| self.lookup_failed(&error))?;
        Ok(Response::new(pb::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<pb::ServerMetadataRequest>,
    ) -> Result<Response<pb::ServerMetadataResponse>, Status> {
        let metadata = self.service.server_metadata();
        Ok(Response::new(pb::ServerMetadataResponse {
            name: metadata.name.to_owned(),
            version: metadata.version.to_owned(),
            extensions: metadata.extensions.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<pb::ModelMetadataRequest>,
    ) -> Result<Response<pb::ModelMetadataResponse>, Status> {
        let message = request.into_inner();
        let name = self.named("model_name", &message.name)?;
        let metadata = self.service.model_metadata(name, given(&message.version));
        let metadata = metadata.map_err(|error| self.lookup_failed(&error))?;
        let tensors = |tensors: Vec<Tensor>| {
            let tensors = tensors.into_iter().map(|tensor| TensorMetadata {
                name: tensor.name,
                datatype: tensor.datatype.name().to_owned(),
                shape: tensor.shape,
            });
            tensors.collect()
        };
        Ok(Response::new(pb::ModelMetadataResponse {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform,
            inputs: tensors(metadata.inputs),
            outputs: tensors(metadata.outputs),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<pb::ModelInferRequest>,
    ) -> Result<Response<pb::ModelInferResponse>, Status> {
        let identity = call::identity(&request);
        let message = request.into_inner();
        self.named("model_name", &message.model_name)?;
        let answer = self.infer(message, &identity).await;
        answer.map_err(|error| self.inference_failed(&error))
    }
}
