//! Request records: written by the server into the arena, read by the worker.

use super::{
    Malformed,
    cursor::{Cursor, Sink, SliceSink},
};

const FIXED_BYTES: usize = 12;
const HEADER_BYTES: usize = 8;
const INPUT_BYTES: usize = 28;
const KIND_INLINE: u32 = 0;
const KIND_ARENA: u32 = 1;

/// One input of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputRef<'a> {
    /// The parameter's name, `body` for a raw body.
    pub name: &'a str,
    /// MIME type without parameters; empty for none.
    pub content_type: &'a str,
    /// Where its bytes are.
    pub value: ValueRef<'a>,
}

/// The bytes of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// Inside the record itself.
    Inline(&'a [u8]),
    /// Elsewhere in the arena.
    Arena {
        /// From the start of the arena, in bytes.
        offset: u64,
        /// In bytes.
        len: u64,
    },
}

/// Bytes that a request record takes.
pub fn request_len(id: &str, headers: &[(&str, &str)], inputs: &[InputRef<'_>]) -> usize {
    let headers: usize = headers
        .iter()
        .map(|(name, value)| HEADER_BYTES + name.len() + value.len())
        .sum();
    let inputs: usize = inputs
        .iter()
        .map(|input| {
            let inline = match input.value {
                ValueRef::Inline(bytes) => bytes.len(),
                ValueRef::Arena { .. } => 0,
            };
            INPUT_BYTES + input.name.len() + input.content_type.len() + inline
        })
        .sum();
    FIXED_BYTES + id.len() + headers + inputs
}

/// Writes a request record.
///
/// # Panics
///
/// When `out` is not exactly [`request_len`] bytes.
pub fn write_request(out: &mut [u8], id: &str, headers: &[(&str, &str)], inputs: &[InputRef<'_>]) {
    let mut sink = SliceSink(out);
    sink.put_len(id.len());
    sink.put_len(headers.len());
    sink.put_len(inputs.len());
    sink.put(id.as_bytes());
    for header in headers {
        sink.put_pair(*header);
    }
    for input in inputs {
        let (kind, first, second, inline) = match input.value {
            ValueRef::Inline(bytes) => (KIND_INLINE, bytes.len() as u64, 0, bytes),
            ValueRef::Arena { offset, len } => (KIND_ARENA, offset, len, &[][..]),
        };
        sink.put_len(input.name.len());
        sink.put_len(input.content_type.len());
        sink.put_u32(kind);
        sink.put_u64(first);
        sink.put_u64(second);
        sink.put(input.name.as_bytes());
        sink.put(input.content_type.as_bytes());
        sink.put(inline);
    }
    assert!(sink.0.is_empty(), "the record fills its space exactly");
}

/// A request record, checked as a whole and read in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestView<'a> {
    id: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    inputs: Vec<InputRef<'a>>,
}

impl<'a> RequestView<'a> {
    /// Checks a record.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when a length, a kind or a string is wrong, or bytes are left over.
    pub fn parse(record: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(record);
        let (id_len, header_count, input_count) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let id = cursor.str(id_len)?;
        let mut headers = Vec::with_capacity(cursor.plausible(header_count, HEADER_BYTES));
        for _ in 0..header_count {
            headers.push(cursor.pair()?);
        }
        let mut inputs = Vec::with_capacity(cursor.plausible(input_count, INPUT_BYTES));
        for _ in 0..input_count {
            inputs.push(parse_input(&mut cursor)?);
        }
        if !cursor.is_at_end() {
            return Err(Malformed("bytes are left over"));
        }
        Ok(Self {
            id,
            headers,
            inputs,
        })
    }

    /// The request's id.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Header names and values in order.
    pub fn headers(&self) -> &[(&'a str, &'a str)] {
        &self.headers
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[InputRef<'a>] {
        &self.inputs
    }
}

fn parse_input<'a>(cursor: &mut Cursor<'a>) -> Result<InputRef<'a>, Malformed> {
    let (name_len, type_len, kind) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let (first, second) = (cursor.u64()?, cursor.u64()?);
    let name = cursor.str(name_len)?;
    let content_type = cursor.str(type_len)?;
    let value = match kind {
        KIND_INLINE => ValueRef::Inline(cursor.take(first)?),
        KIND_ARENA => ValueRef::Arena {
            offset: first,
            len: second,
        },
        _ => return Err(Malformed("an input is of no known kind")),
    };
    Ok(InputRef {
        name,
        content_type,
        value,
    })
}
