//! The Open Inference Protocol (KServe v2), once for REST and gRPC: what a request may hold, how its
//! tensors reach a handler, and how the handler's answer becomes tensors again.
//!
//! A protocol adapter makes an [`InferRequest`] (REST: [`InferRequest::read`]), hands it to
//! [`InferenceService::infer`](super::InferenceService::infer), and renders what [`Asked`] makes of the
//! handler's reply. Everywhere between, tensors are little-endian bytes as in the binary extension.
//!
//! # Source
//!
//! <https://github.com/kserve/open-inference-protocol>; the binary tensor data extension of Triton.

mod answer;
mod datatype;
mod json;
mod metadata;
mod request;
mod signature;
mod strings;
mod submit;
#[cfg(test)]
mod tests;

pub use self::answer::{Asked, InferResponse, OutputTensor};
pub(super) use self::datatype::elements;
use self::datatype::shorten;
pub use self::metadata::{ModelMetadata, ServerMetadata};
pub use self::request::{InferRequest, InputTensor, RequestedOutput};
pub use self::strings::Strings;
pub(super) use self::submit::{ALIGNMENT, TENSOR_TYPE};
pub use self::submit::{InferBody, InferCall};

use serde::Serialize;

use crate::error::Error;
pub use crate::model::signature::{Datatype, Tensor};

/// How an error is told to REST clients of the protocol: in its own form, and in the one that
/// clients of the other routes know.
#[derive(Debug, Serialize)]
pub struct InferError {
    error: String,
    code: u16,
    r#type: &'static str,
    message: String,
}

impl From<&Error> for InferError {
    fn from(error: &Error) -> Self {
        Self {
            error: error.to_string(),
            code: error.code().http(),
            r#type: error.wire_name(),
            message: error.to_string(),
        }
    }
}

/// A request that breaks the protocol.
fn bad(text: impl Into<String>) -> Error {
    Error::BadRequest(text.into())
}

/// A name of an input or output that the model does not have.
fn no_such<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    bad(format!(
        "The model has no {what} {:?}; it has {}",
        shorten(name),
        known.collect::<Vec<_>>().join(", ")
    ))
}
