//! From a handler's reply to tensors, and to the body of a REST answer.
//!
//! A handler with typed inputs answers in the form of the binary extension: JSON, whose length a
//! header gives, and the bytes of all outputs behind it. Others answer with JSON, as TorchServe's
//! envelope makes it, which REST clients get as it is.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::{InferenceReply, ServedModel};
use super::datatype::{datatype, elements, shorten};
use super::json::{self, Texts, texts_of};
use super::request::{InferRequest, RequestedOutput, check_bytes};
use super::{bad, no_such};
use crate::error::Error;
use crate::model::signature::Datatype;

/// Where the JSON of a message with binary tensors ends.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// What a reply to a request has to be.
#[derive(Debug, Clone)]
pub struct Asked {
    id: String,
    model_name: String,
    model_version: String,
    outputs: Vec<RequestedOutput>,
    is_binary_wanted: bool,
}

/// The outputs of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct InferResponse {
    /// The client's id, or the server's.
    pub id: String,
    /// Registered name of the model.
    pub model_name: String,
    /// Version that answered.
    pub model_version: String,
    /// Tensors.
    pub outputs: Vec<OutputTensor>,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTensor {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub datatype: Datatype,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its elements, little endian.
    pub data: Bytes,
}

#[derive(Deserialize)]
struct WireResponse<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model_name: Option<String>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(borrow)]
    outputs: Vec<WireOutput<'a>>,
}

#[derive(Deserialize)]
struct WireOutput<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Asked {
    pub(super) fn new(request: &InferRequest, model: &ServedModel, request_id: &str) -> Self {
        Self::of(request, (model.name(), model.version()), request_id)
    }

    pub(super) fn of(
        request: &InferRequest,
        (model, version): (&str, &str),
        request_id: &str,
    ) -> Self {
        let given = request.id.as_deref().filter(|id| !id.is_empty());
        Self {
            id: given.unwrap_or(request_id).to_owned(),
            model_name: model.to_owned(),
            model_version: version.to_owned(),
            outputs: request.outputs.clone(),
            is_binary_wanted: request.is_binary_wanted,
        }
    }

    /// The outputs in a reply.
    ///
    /// # Errors
    /// [`Error::Worker`] for a reply that has none, [`Error::BadRequest`] when an output is asked for
    /// that the handler does not have.
    pub fn tensors(&self, reply: &InferenceReply) -> Result<InferResponse, Error> {
        let header_length = header_length(reply);
        let response = self.read(&reply.body, header_length).map_err(|error| {
            let hint = "hint: answer as service_envelope=kservev2 does, or set typed_inputs in the \
                        handler";
            Error::Worker {
                status: 500,
                message: format!("The model's answer is no inference response: {error}; {hint}"),
            }
        })?;
        self.select(response, header_length.is_some())
    }

    /// The answer for a REST client.
    ///
    /// # Errors
    /// As [`Self::tensors`]; never for a handler that answers REST clients itself.
    pub fn rest(&self, reply: InferenceReply) -> Result<InferenceReply, Error> {
        let is_typed = header_length(&reply).is_some();
        let is_any_binary =
            self.is_binary_wanted || self.outputs.iter().any(|it| it.is_binary == Some(true));
        if !is_typed && !is_any_binary {
            return Ok(reply);
        }
        match self.tensors(&reply) {
            Ok(response) => Ok(self.render(&response, reply)),
            Err(_) if !is_typed => Ok(reply),
            Err(error) => Err(error),
        }
    }

    /// Reads a reply, which may be anything.
    fn read(&self, body: &Bytes, header_length: Option<usize>) -> Result<InferResponse, Error> {
        let end = header_length.unwrap_or(body.len());
        let head = body.get(..end).ok_or_else(|| bad("its JSON is cut off"))?;
        let wire: WireResponse<'_> =
            serde_json::from_slice(head).map_err(|error| bad(error.to_string()))?;
        let mut next = end;
        let mut outputs = Vec::with_capacity(wire.outputs.len());
        for output in wire.outputs {
            let name = output.name.clone();
            let tensor = output.read(body, &mut next).map_err(|error| {
                let name = shorten(&name);
                bad(format!("output {name:?}: {error}"))
            })?;
            outputs.push(tensor);
        }
        Ok(InferResponse {
            id: wire.id.unwrap_or_else(|| self.id.clone()),
            model_name: wire.model_name.unwrap_or_else(|| self.model_name.clone()),
            model_version: wire
                .model_version
                .unwrap_or_else(|| self.model_version.clone()),
            outputs,
        })
    }

    /// Leaves the outputs that were asked for, in that order. TorchServe's envelope names outputs
    /// after inputs, whatever the client calls them: from there all go back.
    fn select(&self, mut response: InferResponse, is_strict: bool) -> Result<InferResponse, Error> {
        if self.outputs.is_empty() {
            return Ok(response);
        }
        let mut chosen = Vec::with_capacity(self.outputs.len());
        for wanted in &self.outputs {
            let found = response.outputs.iter().find(|it| it.name == wanted.name);
            match found {
                Some(output) => chosen.push(output.clone()),
                None if !is_strict => return Ok(response),
                None => {
                    let names = response.outputs.iter().map(|it| &*it.name);
                    return Err(no_such("output", &wanted.name, names));
                }
            }
        }
        response.outputs = chosen;
        Ok(response)
    }

    fn is_binary(&self, output: &OutputTensor) -> bool {
        let wanted = self.outputs.iter().find(|it| it.name == output.name);
        wanted
            .and_then(|it| it.is_binary)
            .unwrap_or(self.is_binary_wanted)
    }

    /// The body of a REST answer, under the status and headers that the handler has set.
    fn render(&self, response: &InferResponse, reply: InferenceReply) -> InferenceReply {
        let mut out = Vec::new();
        out.extend_from_slice(b"{\"id\":");
        json::push(&mut out, &response.id);
        out.extend_from_slice(b",\"model_name\":");
        json::push(&mut out, &response.model_name);
        out.extend_from_slice(b",\"model_version\":");
        json::push(&mut out, &response.model_version);
        out.extend_from_slice(b",\"outputs\":[");
        let mut binary = Vec::new();
        for (index, output) in response.outputs.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"name\":");
            json::push(&mut out, &output.name);
            out.extend_from_slice(b",\"datatype\":");
            json::push(&mut out, output.datatype.name());
            out.extend_from_slice(b",\"shape\":");
            json::push(&mut out, &output.shape);
            if self.is_binary(output) {
                out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
                json::push(&mut out, &output.data.len());
                out.push(b'}');
                binary.push(&output.data);
            } else {
                let texts = texts_of(output.datatype, &output.data);
                if texts == Texts::Base64 {
                    out.extend_from_slice(b",\"parameters\":{\"content_type\":\"base64\"}");
                }
                out.extend_from_slice(b",\"data\":");
                json::encode(&mut out, output.datatype, &output.data, texts);
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        let mut headers = reply.headers;
        headers.retain(|(name, _)| {
            !name.eq_ignore_ascii_case(HEADER_LENGTH) && !name.eq_ignore_ascii_case("content-type")
        });
        let content_type = if binary.is_empty() {
            "application/json"
        } else {
            headers.push((HEADER_LENGTH.to_owned(), out.len().to_string()));
            "application/octet-stream"
        };
        headers.push(("content-type".to_owned(), content_type.to_owned()));
        out.reserve_exact(binary.iter().map(|it| it.len()).sum());
        for data in binary {
            out.extend_from_slice(data);
        }
        InferenceReply {
            headers,
            body: out.into(),
            ..reply
        }
    }
}

impl WireOutput<'_> {
    /// Takes the bytes of an output without `data` from `next` on.
    fn read(self, body: &Bytes, next: &mut usize) -> Result<OutputTensor, Error> {
        let datatype = datatype(&self.datatype)?;
        let count = elements(&self.shape)?;
        let data = if let Some(data) = self.data {
            json::decode(data.get(), datatype, count, Texts::Utf8)?.into()
        } else {
            let parameters = self.parameters.as_ref();
            let size = parameters.and_then(|it| it["binary_data_size"].as_u64());
            let size = size.ok_or_else(|| bad("it has neither data nor binary_data_size"))?;
            let end = usize::try_from(size)
                .ok()
                .and_then(|size| next.checked_add(size))
                .filter(|&end| end <= body.len())
                .ok_or_else(|| bad("its bytes are cut off"))?;
            let bytes = body.slice(*next..end);
            *next = end;
            check_bytes(datatype, count, &bytes)?;
            bytes
        };
        Ok(OutputTensor {
            name: self.name,
            datatype,
            shape: self.shape,
            data,
        })
    }
}

fn header_length(reply: &InferenceReply) -> Option<usize> {
    let (_, value) = reply
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(HEADER_LENGTH))?;
    value.parse().ok()
}
