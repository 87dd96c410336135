//! The elements of a BYTES tensor: each a length of four bytes, little endian, and its bytes.

use crate::error::Error;

use super::bad;

const LENGTH_BYTES: usize = 4;

/// Reads elements one after the other; ends after the first that is cut off.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    left: &'a [u8],
    is_broken: bool,
}

impl<'a> Strings<'a> {
    /// The elements in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            left: bytes,
            is_broken: false,
        }
    }

    /// The bytes that elements are read from.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for an element of 4 GiB or more.
    pub fn join<E: AsRef<[u8]>>(elements: &[E]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        for element in elements {
            push(&mut out, element.as_ref())?;
        }
        Ok(out)
    }

    fn split(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.left.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = rest.split_at_checked(length)?;
        self.left = rest;
        Some(element)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left.is_empty() || self.is_broken {
            return None;
        }
        let element = self.split();
        self.is_broken = element.is_none();
        element
    }
}

/// Writes one element.
///
/// # Errors
/// [`Error::BadRequest`] for one of 4 GiB or more.
pub(super) fn push(out: &mut Vec<u8>, element: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(element.len())
        .map_err(|_| bad("an element of BYTES has 4 GiB or more".to_owned()))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(element);
    Ok(())
}

/// Checks that bytes are exactly so many elements.
///
/// # Errors
/// [`Error::BadRequest`] when they are not.
pub(super) fn check(bytes: &[u8], count: usize) -> Result<(), Error> {
    let mut strings = Strings::new(bytes);
    let found = strings.by_ref().count();
    if strings.is_broken {
        return Err(bad(format!("element {found} of BYTES is cut off")));
    }
    if found != count {
        return Err(bad(format!(
            "{found} elements of BYTES where the shape has {count}"
        )));
    }
    Ok(())
}
