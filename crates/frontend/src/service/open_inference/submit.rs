//! The way of a request to its handler: as views of shared memory where the handler takes typed
//! inputs, else as the JSON that TorchServe's envelope knows.

use std::ops::Range;
use std::sync::Arc;

use serde_json::json;

use super::super::inference::{InferenceService, allocate};
use super::super::{
    Body, BodyBlock, InferenceRequest, Input, PendingReply, ServedModel, Value, WaitingClient,
};
use super::answer::Asked;
use super::json::{self, Texts};
use super::request::{Data, InferRequest};
use super::signature;
use crate::error::Error;
use crate::worker::InputKind;

/// Tensors begin at multiples of this, so that any element type and vector instruction may read
/// them in place.
pub(in crate::service) const ALIGNMENT: usize = 64;
/// Content type of an input that is a tensor; the worker reads it (`tserve_worker/_tensors.py`).
pub(in crate::service) const TENSOR_TYPE: &str = "application/vnd.tserve.tensor";
/// Tells the worker that a request is one of this protocol, and what its client wants.
const ASKED_HEADER: &str = "open-inference-request";
/// Name and type of the input that holds a request as JSON.
const JSON_INPUT: (&str, &str) = ("body", "application/json");

/// A request for inference and everything that came with it.
#[derive(Debug)]
pub struct InferCall<'a> {
    /// The version that serves it.
    pub model: Arc<ServedModel>,
    /// The version as the client named it, for texts.
    pub requested_version: Option<&'a str>,
    /// Request id of the server.
    pub id: &'a str,
    /// Headers for the handler.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The request.
    pub request: InferRequest,
    /// The body that its data refers to.
    pub body: InferBody<'a>,
    /// The connection it came on, if that carries one request at a time.
    pub client: Option<WaitingClient>,
}

/// Where the body of a request is.
#[derive(Debug)]
pub enum InferBody<'a> {
    /// In the adapter's memory, or nowhere.
    Here(&'a [u8]),
    /// In the model's memory.
    Arena(BodyBlock),
}

impl InferBody<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Arena(block) => block,
        }
    }
}

impl InferenceService {
    /// Room for a REST body of `len` bytes of which the first `header_length` are JSON: the tensors
    /// behind them are aligned.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the arena is full: the client may retry.
    pub fn tensor_block(
        &self,
        model: &ServedModel,
        len: usize,
        header_length: usize,
    ) -> Result<BodyBlock, Error> {
        let lead = header_length.next_multiple_of(ALIGNMENT) - header_length;
        let mut block = BodyBlock::from(allocate(model, len.saturating_add(lead))?);
        block.skip(lead);
        Ok(block)
    }

    /// Admits a request into the model's queue.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for data in JSON that is no such tensor, and for tensors that the model
    /// does not take; else as [`InferenceService::submit`].
    pub fn infer(&self, call: InferCall<'_>) -> Result<(PendingReply, Asked), Error> {
        signature::check(call.model.signature(), &call.request)?;
        let asked = Asked::new(&call.request, &call.model, call.id);
        let pending = match call.model.context().input_kind() {
            Some(InputKind::Typed(_)) => self.infer_typed(call),
            kind => self.infer_as_json(call, kind.is_none()),
        }?;
        Ok((pending, asked))
    }

    /// Hands the tensors over as they are.
    fn infer_typed(&self, call: InferCall<'_>) -> Result<PendingReply, Error> {
        let asked_header = asked_header(&call.request);
        let types: Vec<_> = call
            .request
            .inputs
            .iter()
            .map(|tensor| {
                let shape: Vec<_> = tensor.shape.iter().map(ToString::to_string).collect();
                format!(
                    "{TENSOR_TYPE};{};{}",
                    tensor.datatype.name(),
                    shape.join(",")
                )
            })
            .collect();
        let is_in_place = |data: &Data| matches!(data, Data::Body(_));
        let (block, ranges) = match call.body {
            InferBody::Arena(block)
                if call.request.inputs.iter().all(|it| is_in_place(&it.data)) =>
            {
                let ranges = call.request.inputs.iter().map(|it| match &it.data {
                    Data::Body(range) => range.clone(),
                    _ => 0..0,
                });
                (block, ranges.collect())
            }
            body => gather(&call.model, &call.request, body.bytes())?,
        };
        let inputs: Vec<_> = call
            .request
            .inputs
            .iter()
            .zip(&types)
            .zip(ranges)
            .map(|((tensor, content_type), range)| Input {
                name: &tensor.name,
                content_type,
                value: Value::Body(range),
            })
            .collect();
        let mut headers = call.headers;
        headers.push((ASKED_HEADER, &asked_header));
        self.submit(InferenceRequest {
            model: call.model,
            requested_version: call.requested_version,
            id: call.id,
            headers: &headers,
            inputs: &inputs,
            body: Body::Arena(block),
            client: call.client,
        })
    }

    /// Hands the request over as JSON. A worker that has not said yet what it takes, because none
    /// has loaded so far, is told what it needs to make tensors of it.
    fn infer_as_json(
        &self,
        call: InferCall<'_>,
        is_kind_open: bool,
    ) -> Result<PendingReply, Error> {
        let asked_header = is_kind_open.then(|| asked_header(&call.request));
        let is_json = call.request.inputs.iter().all(|it| !it.data.is_bytes());
        let written;
        let (value, body) = if is_json {
            for tensor in &call.request.inputs {
                tensor.check_json(call.body.bytes())?;
            }
            match call.body {
                InferBody::Here(bytes) => (Value::Inline(bytes), Body::None),
                InferBody::Arena(block) => (Value::Body(0..block.len()), Body::Arena(block)),
            }
        } else {
            written = write_json(&call)?;
            (Value::Inline(&written), Body::None)
        };
        let (name, content_type) = JSON_INPUT;
        let mut headers = call.headers;
        headers.extend(asked_header.as_deref().map(|it| (ASKED_HEADER, it)));
        self.submit(InferenceRequest {
            model: call.model,
            requested_version: call.requested_version,
            id: call.id,
            headers: &headers,
            inputs: &[Input {
                name,
                content_type,
                value,
            }],
            body,
            client: call.client,
        })
    }
}

/// What the worker has to know of a request besides its tensors.
fn asked_header(request: &InferRequest) -> String {
    let outputs: Vec<_> = request.outputs.iter().map(|it| &it.name).collect();
    json!({ "outputs": outputs, "parameters": request.parameters }).to_string()
}

/// Copies all tensors into one block of the model's memory.
fn gather(
    model: &ServedModel,
    request: &InferRequest,
    body: &[u8],
) -> Result<(BodyBlock, Vec<Range<usize>>), Error> {
    let mut parts = Vec::with_capacity(request.inputs.len());
    let mut ranges = Vec::with_capacity(request.inputs.len());
    let mut end = 0_usize;
    for tensor in &request.inputs {
        let bytes = tensor.bytes(body)?;
        let start = end.next_multiple_of(ALIGNMENT);
        end = start + bytes.len();
        ranges.push(start..end);
        parts.push(bytes);
    }
    let mut block = allocate(model, end.max(1))?;
    for (range, part) in ranges.iter().zip(&parts) {
        block[range.clone()].copy_from_slice(part);
    }
    Ok((block.into(), ranges))
}

/// A request as TorchServe writes those that come over gRPC. BYTES that came as bytes are base64, and
/// say so.
fn write_json(call: &InferCall<'_>) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"id\":");
    json::push(&mut out, call.request.id.as_deref().unwrap_or_default());
    out.extend_from_slice(b",\"model_name\":");
    json::push(&mut out, call.model.name());
    out.extend_from_slice(b",\"inputs\":[");
    for (index, tensor) in call.request.inputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        json::push(&mut out, &tensor.name);
        out.extend_from_slice(b",\"shape\":");
        json::push(&mut out, &tensor.shape);
        out.extend_from_slice(b",\"datatype\":");
        json::push(&mut out, tensor.datatype.name());
        if tensor.datatype.element_bytes().is_none() {
            out.extend_from_slice(b",\"parameters\":{\"content_type\":\"base64\"}");
        }
        out.extend_from_slice(b",\"data\":");
        let bytes = tensor.bytes(call.body.bytes())?;
        json::encode(&mut out, tensor.datatype, &bytes, Texts::Base64);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}
