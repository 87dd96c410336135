//! Plain requests for handlers that take typed inputs: raw bytes, files of numpy and numbers in JSON
//! become tensors before they reach a worker.
//!
//! What is sound is described in the content type of the input, as for the tensors of the Open
//! Inference Protocol, and stays where it was read to wherever that can be.

mod json;
mod npy;

use std::ops::Range;

use super::inference::allocate;
use super::open_inference::{ALIGNMENT, Datatype, TENSOR_TYPE, elements};
use super::{Body, BodyBlock, InferenceRequest, Value};
use crate::error::Error;
use crate::worker::InputKind;

/// Name of the only input of a body that is no form.
const RAW_INPUT: &str = "body";

/// A body that is one tensor.
#[derive(Debug)]
pub(super) struct TypedBody {
    /// What the worker is told of it.
    pub(super) content_type: String,
    /// Where its elements are in the body.
    pub(super) range: Range<usize>,
    /// The body, unless it is the one that the request has.
    pub(super) block: Option<BodyBlock>,
}

/// Type, shape and order of a tensor.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    datatype: Datatype,
    shape: Vec<usize>,
    /// Whether the first index runs fastest.
    is_fortran: bool,
}

impl Layout {
    fn content_type(&self) -> String {
        let shape: Vec<_> = self.shape.iter().map(ToString::to_string).collect();
        let order = if self.is_fortran { ";F" } else { "" };
        format!(
            "{TENSOR_TYPE};{};{}{order}",
            self.datatype.name(),
            shape.join(",")
        )
    }
}

/// Makes a tensor of a body whose content type says that it is one, for a handler that wants it;
/// `None` for every other request.
///
/// # Errors
/// [`Error::BadRequest`] for a body that is not what its type says, [`Error::Unavailable`] when the
/// arena is full.
pub(super) fn read(request: &InferenceRequest<'_>) -> Result<Option<TypedBody>, Error> {
    let Some(InputKind::Typed(numbers)) = request.model.context().input_kind() else {
        return Ok(None);
    };
    let [input] = request.inputs else {
        return Ok(None);
    };
    if input.name != RAW_INPUT {
        return Ok(None);
    }
    let (bytes, place) = match (&input.value, &request.body) {
        (Value::Inline(bytes), _) => (*bytes, None),
        (Value::Body(range), Body::Heap(body)) => (&body[range.clone()], None),
        (Value::Body(range), Body::Arena(block)) => (&block[range.clone()], Some(range.start)),
        (Value::Body(_), Body::None) => return Ok(None),
    };
    let (layout, start) = match input.content_type {
        "application/octet-stream" => {
            let layout = Layout {
                datatype: Datatype::Uint8,
                shape: vec![bytes.len()],
                is_fortran: false,
            };
            (layout, 0)
        }
        "application/x-npy" | "application/npy" => npy::read(bytes)?,
        "application/json" if json::is_numbers(bytes) => {
            let (layout, elements) = json::read(bytes, numbers)?;
            return written(request, &layout, &elements).map(Some);
        }
        _ => return Ok(None),
    };
    if let Some(place) = place {
        return Ok(Some(TypedBody {
            content_type: layout.content_type(),
            range: place + start..place + bytes.len(),
            block: None,
        }));
    }
    written(request, &layout, &bytes[start..]).map(Some)
}

/// Copies elements into the model's memory.
fn written(
    request: &InferenceRequest<'_>,
    layout: &Layout,
    elements: &[u8],
) -> Result<TypedBody, Error> {
    // Blocks begin on boundaries of their size; the smallest is larger than this.
    let mut block = allocate(&request.model, elements.len().max(ALIGNMENT))?;
    block[..elements.len()].copy_from_slice(elements);
    Ok(TypedBody {
        content_type: layout.content_type(),
        range: 0..elements.len(),
        block: Some(block.into()),
    })
}

/// Bytes that the elements of a shape take.
fn byte_len(datatype: Datatype, shape: &[usize]) -> Result<usize, Error> {
    let signed: Result<Vec<i64>, _> = shape.iter().map(|&it| i64::try_from(it)).collect();
    let signed = signed.map_err(|_| bad(format!("shape {shape:?} has too many elements")))?;
    let size = datatype.element_bytes().unwrap_or(1);
    elements(&signed)?
        .checked_mul(size)
        .ok_or_else(|| bad(format!("shape {shape:?} has too many elements")))
}

fn bad(text: impl Into<String>) -> Error {
    Error::BadRequest(text.into())
}
