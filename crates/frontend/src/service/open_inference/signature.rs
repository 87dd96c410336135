//! Whether a request is what the archive of its model declares.

use super::request::{InferRequest, InputTensor};
use super::{bad, no_such};
use crate::error::Error;
use crate::model::signature::{Signature, Tensor};

/// Compares a request with the declaration; what is not declared may be anything.
///
/// # Errors
/// [`Error::BadRequest`] that says what differs.
pub(super) fn check(signature: &Signature, request: &InferRequest) -> Result<(), Error> {
    if !signature.inputs.is_empty() {
        for input in &request.inputs {
            check_input(find(&signature.inputs, "input", &input.name)?, input)?;
        }
        let is_given = |it: &Tensor| request.inputs.iter().any(|input| input.name == it.name);
        let required = |it: &&Tensor| !it.optional && !is_given(it);
        if let Some(absent) = signature.inputs.iter().find(required) {
            return Err(bad(format!("input {:?} is missing", absent.name)));
        }
    }
    if !signature.outputs.is_empty() {
        for output in &request.outputs {
            find(&signature.outputs, "output", &output.name)?;
        }
    }
    Ok(())
}

fn find<'a>(declared: &'a [Tensor], what: &str, name: &str) -> Result<&'a Tensor, Error> {
    let found = declared.iter().find(|it| it.name == name);
    found.ok_or_else(|| no_such(what, name, declared.iter().map(|it| &*it.name)))
}

fn check_input(declared: &Tensor, input: &InputTensor) -> Result<(), Error> {
    if input.datatype != declared.datatype {
        return Err(bad(format!(
            "input {:?} is {}; the model takes {}",
            declared.name,
            input.datatype.name(),
            declared.datatype.name()
        )));
    }
    if !declared.fits(&input.shape) {
        return Err(bad(format!(
            "input {:?} has the shape {:?}; the model takes {:?}",
            declared.name, input.shape, declared.shape
        )));
    }
    Ok(())
}
