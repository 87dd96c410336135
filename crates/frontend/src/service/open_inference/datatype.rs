//! The datatypes of the protocol, and how many bytes a shape of them takes.

use crate::error::Error;

use super::bad;

/// Most dimensions of a tensor: as many as every numpy knows.
const MAX_RANK: usize = 32;

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The datatype of a name.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a name that the protocol does not have.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|it| it.name()).collect();
            bad(format!(
                "unknown datatype {:?}; the protocol has {}",
                shorten(name),
                known.join(", ")
            ))
        })
    }

    /// Bytes of one element; `None` where elements differ in length.
    pub fn element_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Least and greatest value of an integer type; `None` for the others.
    pub(super) fn range(self) -> Option<(i128, i128)> {
        let bits = match self {
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => {
                let bits = self.element_bytes()? * 8;
                return Some((0, (1 << bits) - 1));
            }
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => self.element_bytes()? * 8,
            _ => return None,
        };
        Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    }
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
