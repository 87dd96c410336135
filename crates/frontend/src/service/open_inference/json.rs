//! Tensor data in JSON: numbers and texts to bytes, and back.

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::datatype::byte_len;
use super::{Strings, bad, strings};
use crate::error::Error;
use crate::model::signature::Datatype;

/// Floats up to here hold whole numbers exactly.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

/// How the texts of a BYTES tensor stand for its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// As UTF-8.
    Utf8,
    /// As base64, which the parameter `content_type` says.
    Base64,
}

/// Reads `data`, flat or nested, in row-major order.
///
/// # Errors
/// [`Error::BadRequest`] when it is no array of `count` elements of the datatype.
pub(super) fn decode(
    text: &str,
    datatype: Datatype,
    count: usize,
    texts: Texts,
) -> Result<Vec<u8>, Error> {
    check_length(text, count)?;
    let room = byte_len(datatype, count)?.unwrap_or(text.len());
    let mut bytes = Vec::with_capacity(room);
    read(text, datatype, count, texts, Some(&mut bytes))?;
    Ok(bytes)
}

/// Checks `data` without keeping it.
///
/// # Errors
/// As [`decode`].
pub(super) fn check(
    text: &str,
    datatype: Datatype,
    count: usize,
    texts: Texts,
) -> Result<(), Error> {
    check_length(text, count)?;
    read(text, datatype, count, texts, None)
}

/// Every element takes a byte of text, so that a shape alone makes nobody allocate memory.
fn check_length(text: &str, count: usize) -> Result<(), Error> {
    if count > text.len() {
        return Err(bad(format!(
            "data has fewer elements than the shape, which has {count}"
        )));
    }
    Ok(())
}

fn read(
    text: &str,
    datatype: Datatype,
    count: usize,
    texts: Texts,
    out: Option<&mut Vec<u8>>,
) -> Result<(), Error> {
    let mut elements = Elements {
        datatype,
        texts,
        count,
        seen: 0,
        is_inside: false,
        out,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    Nested(&mut elements)
        .deserialize(&mut reader)
        .map_err(|error| bad(format!("data: {error}")))?;
    if elements.seen != count {
        return Err(bad(format!(
            "data has {} elements where the shape has {count}",
            elements.seen
        )));
    }
    Ok(())
}

/// What is known of the elements while they are read.
struct Elements<'o> {
    datatype: Datatype,
    texts: Texts,
    count: usize,
    seen: usize,
    is_inside: bool,
    out: Option<&'o mut Vec<u8>>,
}

impl Elements<'_> {
    fn begin<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if !self.is_inside {
            return Err(E::custom("it is not an array"));
        }
        if self.seen == self.count {
            return Err(E::custom(format_args!(
                "more elements than the shape, which has {}",
                self.count
            )));
        }
        self.seen += 1;
        Ok(())
    }

    fn mismatch<E: serde::de::Error>(&self, what: impl fmt::Display) -> E {
        E::custom(format_args!("{what} is no {}", self.datatype.name()))
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(out) = &mut self.out {
            out.extend_from_slice(bytes);
        }
    }

    fn integer<E: serde::de::Error>(&mut self, value: i128) -> Result<(), E> {
        self.begin()?;
        match self.datatype {
            Datatype::Bool if (0..=1).contains(&value) => self.put(&[u8::from(value != 0)]),
            #[expect(clippy::cast_precision_loss, reason = "the client asked for floats")]
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                self.float_bytes(value as f64);
            }
            datatype => match (datatype.range(), datatype.element_bytes()) {
                (Some((least, most)), Some(size)) if (least..=most).contains(&value) => {
                    self.put(&value.to_le_bytes()[..size]);
                }
                _ => return Err(self.mismatch(value)),
            },
        }
        Ok(())
    }

    fn float<E: serde::de::Error>(&mut self, value: f64) -> Result<(), E> {
        if self.datatype.range().is_some() && value.fract() == 0.0 && value.abs() <= EXACT_FLOAT {
            return self.integer(value as i128);
        }
        self.begin()?;
        match self.datatype {
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                self.float_bytes(value);
                Ok(())
            }
            _ => Err(self.mismatch(value)),
        }
    }

    fn float_bytes(&mut self, value: f64) {
        match self.datatype {
            Datatype::Fp16 => self.put(&f16::from_f64(value).to_le_bytes()),
            Datatype::Bf16 => self.put(&bf16::from_f64(value).to_le_bytes()),
            Datatype::Fp32 => self.put(&(value as f32).to_le_bytes()),
            _ => self.put(&value.to_le_bytes()),
        }
    }

    fn text<E: serde::de::Error>(&mut self, value: &str) -> Result<(), E> {
        self.begin()?;
        if self.datatype != Datatype::Bytes {
            return Err(self.mismatch("a text"));
        }
        let decoded;
        let bytes = match self.texts {
            Texts::Utf8 => value.as_bytes(),
            Texts::Base64 => {
                decoded = STANDARD
                    .decode(value)
                    .map_err(|error| E::custom(format_args!("base64: {error}")))?;
                &decoded
            }
        };
        match &mut self.out {
            Some(out) => strings::push(out, bytes).map_err(E::custom),
            None => Ok(()),
        }
    }
}

/// One element, or an array of such.
struct Nested<'e, 'o>(&'e mut Elements<'o>);

impl<'de> DeserializeSeed<'de> for Nested<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array of {}", self.0.datatype.name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        self.0.is_inside = true;
        while sequence.next_element_seed(Nested(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        if self.0.datatype != Datatype::Bool {
            return Err(self.0.mismatch(value));
        }
        self.0.integer(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.integer(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.float(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.0.text(value)
    }
}

/// How the elements of a tensor have to be written: as base64 where BYTES are no text.
pub(super) fn texts_of(datatype: Datatype, bytes: &[u8]) -> Texts {
    let is_text =
        datatype != Datatype::Bytes || Strings::new(bytes).all(|it| str::from_utf8(it).is_ok());
    if is_text { Texts::Utf8 } else { Texts::Base64 }
}

/// Writes elements as a flat array; what is no number in JSON as Python's `json` writes it.
pub(super) fn encode(out: &mut Vec<u8>, datatype: Datatype, bytes: &[u8], texts: Texts) {
    out.push(b'[');
    match datatype {
        Datatype::Bool => each(out, bytes, |out, [it]| {
            out.extend_from_slice(if it == 0 { b"false" } else { b"true" });
        }),
        Datatype::Uint8 => each(out, bytes, |out, it| whole(out, u8::from_le_bytes(it))),
        Datatype::Uint16 => each(out, bytes, |out, it| whole(out, u16::from_le_bytes(it))),
        Datatype::Uint32 => each(out, bytes, |out, it| whole(out, u32::from_le_bytes(it))),
        Datatype::Uint64 => each(out, bytes, |out, it| whole(out, u64::from_le_bytes(it))),
        Datatype::Int8 => each(out, bytes, |out, it| whole(out, i8::from_le_bytes(it))),
        Datatype::Int16 => each(out, bytes, |out, it| whole(out, i16::from_le_bytes(it))),
        Datatype::Int32 => each(out, bytes, |out, it| whole(out, i32::from_le_bytes(it))),
        Datatype::Int64 => each(out, bytes, |out, it| whole(out, i64::from_le_bytes(it))),
        Datatype::Fp16 => each(out, bytes, |out, it| {
            single(out, f16::from_le_bytes(it).to_f32());
        }),
        Datatype::Bf16 => each(out, bytes, |out, it| {
            single(out, bf16::from_le_bytes(it).to_f32());
        }),
        Datatype::Fp32 => each(out, bytes, |out, it| single(out, f32::from_le_bytes(it))),
        Datatype::Fp64 => each(out, bytes, |out, it| {
            let value = f64::from_le_bytes(it);
            number(out, value, &value);
        }),
        Datatype::Bytes => {
            for (index, element) in Strings::new(bytes).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let text = match texts {
                    Texts::Utf8 => String::from_utf8_lossy(element),
                    Texts::Base64 => STANDARD.encode(element).into(),
                };
                push(out, &text);
            }
        }
    }
    out.push(b']');
}

fn each<const N: usize>(out: &mut Vec<u8>, bytes: &[u8], write: impl Fn(&mut Vec<u8>, [u8; N])) {
    for (index, element) in bytes.as_chunks().0.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, *element);
    }
}

fn whole(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn single(out: &mut Vec<u8>, value: f32) {
    number(out, value.into(), &value);
}

fn number(out: &mut Vec<u8>, value: f64, exact: &impl serde::Serialize) {
    if value.is_finite() {
        push(out, exact);
    } else {
        let text = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes a value of plain data.
pub(super) fn push(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing to memory does not fail, and neither do texts and finite numbers.
        let _ = out.write_all(b"null");
    }
}
