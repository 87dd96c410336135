//! The typed fields of tensors in messages, to little-endian bytes and back.

use bytes::Bytes;
use tserve_api::open_inference::InferTensorContents;

use crate::error::Error;
use crate::service::{Datatype, Strings};

/// The elements of an input.
///
/// # Errors
/// [`Error::BadRequest`] for a number that the datatype does not hold, and for a datatype that no
/// field is for. Whether there are as many as the shape has is for others to check.
pub(super) fn read(datatype: Datatype, contents: &InferTensorContents) -> Result<Bytes, Error> {
    let signed = &contents.int_contents;
    let unsigned = &contents.uint_contents;
    Ok(match datatype {
        Datatype::Bool => contents
            .bool_contents
            .iter()
            .map(|&it| u8::from(it))
            .collect(),
        Datatype::Int8 => narrow(datatype, signed, i8::to_le_bytes)?,
        Datatype::Int16 => narrow(datatype, signed, i16::to_le_bytes)?,
        Datatype::Int32 => flat(signed, i32::to_le_bytes),
        Datatype::Int64 => flat(&contents.int64_contents, i64::to_le_bytes),
        Datatype::Uint8 => narrow(datatype, unsigned, u8::to_le_bytes)?,
        Datatype::Uint16 => narrow(datatype, unsigned, u16::to_le_bytes)?,
        Datatype::Uint32 => flat(unsigned, u32::to_le_bytes),
        Datatype::Uint64 => flat(&contents.uint64_contents, u64::to_le_bytes),
        Datatype::Fp32 => flat(&contents.fp32_contents, f32::to_le_bytes),
        Datatype::Fp64 => flat(&contents.fp64_contents, f64::to_le_bytes),
        Datatype::Bytes => Strings::join(&contents.bytes_contents)?.into(),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Error::BadRequest(format!(
                "{} has no field in contents; send it in raw_input_contents",
                datatype.name()
            )));
        }
    })
}

fn flat<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Bytes {
    values.iter().flat_map(|&it| bytes(it)).collect()
}

fn narrow<T: Copy + ToString, U: TryFrom<T>, const N: usize>(
    datatype: Datatype,
    values: &[T],
    bytes: fn(U) -> [u8; N],
) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(values.len() * N);
    for &value in values {
        let narrowed = U::try_from(value).map_err(|_| {
            let text = format!("{} is no {}", value.to_string(), datatype.name());
            Error::BadRequest(text)
        })?;
        out.extend_from_slice(&bytes(narrowed));
    }
    Ok(out.into())
}

/// The elements of an output; those of datatypes that no field is for are left out.
pub(super) fn write(datatype: Datatype, bytes: &Bytes) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match datatype {
        Datatype::Bool => contents.bool_contents = bytes.iter().map(|&it| it != 0).collect(),
        Datatype::Int8 => contents.int_contents = wide(bytes, i8::from_le_bytes),
        Datatype::Int16 => contents.int_contents = wide(bytes, i16::from_le_bytes),
        Datatype::Int32 => contents.int_contents = wide(bytes, i32::from_le_bytes),
        Datatype::Int64 => contents.int64_contents = wide(bytes, i64::from_le_bytes),
        Datatype::Uint8 => contents.uint_contents = wide(bytes, u8::from_le_bytes),
        Datatype::Uint16 => contents.uint_contents = wide(bytes, u16::from_le_bytes),
        Datatype::Uint32 => contents.uint_contents = wide(bytes, u32::from_le_bytes),
        Datatype::Uint64 => contents.uint64_contents = wide(bytes, u64::from_le_bytes),
        Datatype::Fp32 => contents.fp32_contents = wide(bytes, f32::from_le_bytes),
        Datatype::Fp64 => contents.fp64_contents = wide(bytes, f64::from_le_bytes),
        Datatype::Bytes => {
            let strings = Strings::new(bytes);
            contents.bytes_contents = strings.map(|it| bytes.slice_ref(it)).collect();
        }
        Datatype::Fp16 | Datatype::Bf16 => {}
    }
    contents
}

fn wide<T, U: From<T>, const N: usize>(bytes: &[u8], value: fn([u8; N]) -> T) -> Vec<U> {
    let elements = bytes.as_chunks().0.iter();
    elements.map(|&it| value(it).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_and_bytes_are_each_other() {
        let contents = InferTensorContents {
            bool_contents: vec![true, false],
            int_contents: vec![-1, 127],
            int64_contents: vec![i64::MIN],
            uint_contents: vec![0, 255],
            uint64_contents: vec![u64::MAX],
            fp32_contents: vec![1.5],
            fp64_contents: vec![-0.1],
            bytes_contents: vec![Bytes::from_static(b""), Bytes::from_static(b"\xff")],
        };
        for datatype in Datatype::ALL {
            if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
                assert!(read(datatype, &contents).is_err());
                continue;
            }
            let bytes = read(datatype, &contents).unwrap();
            let back = write(datatype, &bytes);
            assert_eq!(read(datatype, &back).unwrap(), bytes, "{datatype:?}");
            assert!(!bytes.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let contents = InferTensorContents {
            int_contents: vec![1, 300],
            uint_contents: vec![70_000],
            ..InferTensorContents::default()
        };
        let text = |datatype| read(datatype, &contents).unwrap_err().to_string();
        assert_eq!(text(Datatype::Int8), "300 is no INT8");
        assert_eq!(text(Datatype::Uint16), "70000 is no UINT16");
        assert!(read(Datatype::Int16, &contents).is_ok());
    }
}
