//! A request for inference: its tensors, checked, and where their bytes are.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::datatype::{byte_len, datatype, elements, shorten};
use super::json::{self, Texts};
use super::{bad, strings};
use crate::error::Error;
use crate::model::signature::Datatype;

/// A request, whatever protocol it came by. Everything in it has been checked but data in JSON,
/// which is read once, when it is known what the handler wants.
#[derive(Debug, Clone, Default)]
pub struct InferRequest {
    /// The client's id, to be sent back.
    pub id: Option<String>,
    /// Parameters of the request.
    pub parameters: Map<String, Value>,
    /// Tensors, in order; their names differ.
    pub inputs: Vec<InputTensor>,
    /// Outputs that are wanted; none: all.
    pub outputs: Vec<RequestedOutput>,
    /// Whether outputs that say nothing else go back as bytes.
    pub is_binary_wanted: bool,
}

/// One input.
#[derive(Debug, Clone)]
pub struct InputTensor {
    /// Its name.
    pub name: String,
    /// What its elements are.
    pub datatype: Datatype,
    /// Its shape, without negative dimensions.
    pub shape: Vec<i64>,
    /// Its elements: as many as the shape has.
    pub data: Data,
}

impl Data {
    /// Whether it is little-endian bytes already.
    pub(super) fn is_bytes(&self) -> bool {
        !matches!(self, Self::Json { .. })
    }
}

/// Where the elements of an input are.
#[derive(Debug, Clone)]
pub enum Data {
    /// Little endian, in a part of the request's body.
    Body(Range<usize>),
    /// As JSON, in a part of the request's body.
    Json {
        /// The array.
        text: Range<usize>,
        /// Whether texts in it are base64.
        is_base64: bool,
    },
    /// Little endian.
    Bytes(Bytes),
}

/// One output that the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it goes back as bytes, where the client says so.
    pub is_binary: Option<bool>,
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    inputs: Vec<WireInput<'a>>,
    #[serde(default)]
    outputs: Option<Vec<WireOutput>>,
}

#[derive(Deserialize)]
struct WireInput<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireOutput {
    name: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
}

impl InferRequest {
    /// Reads the body of a REST request: JSON, and behind the first `header_length` bytes, if that
    /// is given, the bytes of inputs.
    ///
    /// # Errors
    /// [`Error::BadRequest`] that says what is wrong.
    pub fn read(body: &[u8], header_length: Option<usize>) -> Result<Self, Error> {
        let end = header_length.unwrap_or(body.len());
        let Some((head, _)) = body.split_at_checked(end) else {
            return Err(bad(format!(
                "Inference-Header-Content-Length is {end}, the body has {} bytes",
                body.len()
            )));
        };
        let wire: WireRequest<'_> = serde_json::from_slice(head)
            .map_err(|error| bad(format!("the request is no inference request: {error}")))?;
        let mut tail = end..body.len();
        let mut inputs = Vec::with_capacity(wire.inputs.len());
        for input in wire.inputs {
            let name = input.name.clone();
            let tensor = input.read(body, &mut tail);
            inputs.push(tensor.map_err(|error| of_input(&name, &error))?);
        }
        if !tail.is_empty() {
            return Err(bad(format!(
                "{} bytes behind those of the last input",
                tail.len()
            )));
        }
        let parameters = wire.parameters.unwrap_or_default();
        let request = Self {
            id: wire.id,
            is_binary_wanted: flag(&parameters, "binary_data_output")?.unwrap_or(false),
            parameters,
            inputs,
            outputs: wire
                .outputs
                .unwrap_or_default()
                .into_iter()
                .map(WireOutput::read)
                .collect::<Result<_, _>>()?,
        };
        request.check_names()?;
        Ok(request)
    }

    /// Checks what goes beyond single tensors.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when there is no input, or two have one name.
    pub fn check_names(&self) -> Result<(), Error> {
        if self.inputs.is_empty() {
            return Err(bad("the request has no inputs"));
        }
        let mut names = HashSet::with_capacity(self.inputs.len());
        match self.inputs.iter().find(|it| !names.insert(&it.name)) {
            Some(twice) => Err(of_input(&twice.name, &bad("it occurs twice"))),
            None => Ok(()),
        }
    }
}

impl WireInput<'_> {
    /// Takes the bytes of an input with `binary_data_size` from the front of `tail`.
    fn read(self, body: &[u8], tail: &mut Range<usize>) -> Result<InputTensor, Error> {
        let datatype = datatype(&self.datatype)?;
        let count = elements(&self.shape)?;
        let parameters = self.parameters.unwrap_or_default();
        let data = match (self.data, parameters.get("binary_data_size")) {
            (Some(_), Some(_)) => return Err(bad("it has both data and binary_data_size")),
            (None, None) => return Err(bad("it has neither data nor binary_data_size")),
            (None, Some(size)) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| bad("binary_data_size is no size"))?;
                let end = tail.start.checked_add(size).filter(|&end| end <= tail.end);
                let Some(end) = end else {
                    return Err(bad(format!(
                        "binary_data_size is {size}, but only {} bytes are left",
                        tail.len()
                    )));
                };
                let range = tail.start..end;
                tail.start = end;
                check_bytes(datatype, count, &body[range.clone()])?;
                Data::Body(range)
            }
            (Some(data), None) => {
                let is_base64 = parameters.get("content_type").and_then(Value::as_str)
                    == Some("base64")
                    && datatype == Datatype::Bytes;
                let start = data.get().as_ptr() as usize - body.as_ptr() as usize;
                Data::Json {
                    text: start..start + data.get().len(),
                    is_base64,
                }
            }
        };
        Ok(InputTensor {
            name: self.name,
            datatype,
            shape: self.shape,
            data,
        })
    }
}

impl WireOutput {
    fn read(self) -> Result<RequestedOutput, Error> {
        let parameters = self.parameters.unwrap_or_default();
        if parameters.contains_key("classification") {
            return Err(bad(format!(
                "output {:?}: the classification extension is not served",
                shorten(&self.name)
            )));
        }
        Ok(RequestedOutput {
            is_binary: flag(&parameters, "binary_data")?,
            name: self.name,
        })
    }
}

impl InputTensor {
    /// The elements as bytes; those in JSON are read.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the JSON is no such tensor.
    pub(super) fn bytes<'b>(&'b self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Error> {
        match &self.data {
            Data::Body(range) => Ok(Cow::Borrowed(&body[range.clone()])),
            Data::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Data::Json { .. } => {
                let read =
                    |text: &str, count, texts| json::decode(text, self.datatype, count, texts);
                self.json(body, read).map(Cow::Owned)
            }
        }
    }

    /// Checks data in JSON.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when it is no such tensor.
    pub(super) fn check_json(&self, body: &[u8]) -> Result<(), Error> {
        if self.data.is_bytes() {
            return Ok(());
        }
        self.json(body, |text, count, texts| {
            json::check(text, self.datatype, count, texts)
        })
    }

    fn json<T>(
        &self,
        body: &[u8],
        read: impl FnOnce(&str, usize, Texts) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Data::Json { text, is_base64 } = &self.data else {
            return Err(bad("its data is no JSON"));
        };
        let text = str::from_utf8(&body[text.clone()]).unwrap_or_default();
        let texts = if *is_base64 {
            Texts::Base64
        } else {
            Texts::Utf8
        };
        let count = elements(&self.shape)?;
        read(text, count, texts).map_err(|error| of_input(&self.name, &error))
    }

    /// An input whose bytes came by themselves.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for an unknown datatype, an impossible shape, or bytes that do not fit
    /// it.
    pub fn new(
        name: String,
        datatype: &str,
        shape: Vec<i64>,
        data: impl FnOnce(Datatype, usize) -> Result<Bytes, Error>,
    ) -> Result<Self, Error> {
        let read = || {
            let datatype = self::datatype(datatype)?;
            let count = elements(&shape)?;
            let bytes = data(datatype, count)?;
            check_bytes(datatype, count, &bytes)?;
            Ok((datatype, bytes))
        };
        let (datatype, bytes) = read().map_err(|error| of_input(&name, &error))?;
        Ok(Self {
            name,
            datatype,
            shape,
            data: Data::Bytes(bytes),
        })
    }
}

/// Checks that bytes are the elements of a tensor.
pub(super) fn check_bytes(datatype: Datatype, count: usize, bytes: &[u8]) -> Result<(), Error> {
    match byte_len(datatype, count)? {
        None => strings::check(bytes, count),
        Some(expected) if expected != bytes.len() => Err(bad(format!(
            "{} bytes where the shape has {expected}",
            bytes.len()
        ))),
        Some(_) => Ok(()),
    }
}

fn of_input(name: &str, error: &Error) -> Error {
    bad(format!("input {:?}: {error}", shorten(name)))
}

fn flag(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(bad(format!("the parameter {name} is not true or false"))),
    }
}
