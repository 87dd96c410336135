//! How clients name datatypes, and how many bytes a shape of them takes.

use super::bad;
use crate::error::Error;
use crate::model::signature::Datatype;

/// Most dimensions of a tensor: as many as every numpy knows.
const MAX_RANK: usize = 32;

/// The datatype of a name.
///
/// # Errors
/// [`Error::BadRequest`] for a name that the protocol does not have.
pub(super) fn datatype(name: &str) -> Result<Datatype, Error> {
    Datatype::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Datatype::ALL.iter().map(|it| it.name()).collect();
        bad(format!(
            "unknown datatype {:?}; the protocol has {}",
            shorten(name),
            known.join(", ")
        ))
    })
}

/// Elements of a shape.
///
/// # Errors
/// [`Error::BadRequest`] for negative dimensions, too many of them, or more elements than memory
/// has addresses.
pub(in crate::service) fn elements(shape: &[i64]) -> Result<usize, Error> {
    if shape.len() > MAX_RANK {
        return Err(bad(format!(
            "a shape of {} dimensions; at most {MAX_RANK} are served",
            shape.len()
        )));
    }
    if let Some(negative) = shape.iter().find(|&&it| it < 0) {
        return Err(bad(format!("shape {shape:?} has the dimension {negative}")));
    }
    // A dimension of zero makes the tensor empty, however large the others are.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |product, &it| {
            product.checked_mul(usize::try_from(it).ok()?)
        })
        .filter(|&count| isize::try_from(count).is_ok())
        .ok_or_else(|| bad(format!("shape {shape:?} has too many elements")))
}

/// Bytes that so many elements take; `None` for a datatype whose elements differ in length.
///
/// # Errors
/// [`Error::BadRequest`] when no memory could hold them.
pub(super) fn byte_len(datatype: Datatype, count: usize) -> Result<Option<usize>, Error> {
    let Some(size) = datatype.element_bytes() else {
        return Ok(None);
    };
    let len = count.checked_mul(size);
    len.map(Some).ok_or_else(|| {
        bad(format!(
            "{count} elements of {} are too many",
            datatype.name()
        ))
    })
}

/// A name from a client, cut where it gets long.
pub(super) fn shorten(text: &str) -> &str {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
