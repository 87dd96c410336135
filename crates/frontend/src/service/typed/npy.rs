//! Headers of numpy's own files (`numpy.save`), which are checked before anything is made of them.
//!
//! # Source
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use super::{Layout, bad, byte_len};
use crate::error::Error;
use crate::service::Datatype;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longer headers have only structured types, which are not served.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Most dimensions: as many as every numpy knows.
const MAX_RANK: usize = 32;

/// Reads the header; also yields where the elements start.
///
/// # Errors
/// [`Error::BadRequest`] for what is no such file, for types that are no plain numbers in little
/// endian, and where bytes and shape do not agree.
pub(super) fn read(file: &[u8]) -> Result<(Layout, usize), Error> {
    let no_file = || bad("the body is no file of numpy.save");
    let rest = file.strip_prefix(MAGIC).ok_or_else(no_file)?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(no_file)?;
    let (len, rest) = match version[0] {
        1 => {
            let (len, rest) = rest.split_first_chunk().ok_or_else(no_file)?;
            (usize::from(u16::from_le_bytes(*len)), rest)
        }
        2 | 3 => {
            let (len, rest) = rest.split_first_chunk().ok_or_else(no_file)?;
            (u32::from_le_bytes(*len) as usize, rest)
        }
        other => return Err(bad(format!("npy version {other} is not known"))),
    };
    if len > MAX_HEADER_BYTES {
        return Err(bad(format!("an npy header of {len} bytes is too long")));
    }
    let (header, data) = rest
        .split_at_checked(len)
        .ok_or_else(|| bad("the npy header ends before its length"))?;
    let layout = Header(header).layout()?;
    let expected = byte_len(layout.datatype, &layout.shape)?;
    if expected != data.len() {
        return Err(bad(format!(
            "an npy array of shape {:?} and type {} takes {expected} bytes, not {}",
            layout.shape,
            layout.datatype.name(),
            data.len()
        )));
    }
    Ok((layout, file.len() - data.len()))
}

/// What is left of a header: a dict as Python writes it.
struct Header<'a>(&'a [u8]);

impl<'a> Header<'a> {
    fn layout(mut self) -> Result<Layout, Error> {
        let (mut datatype, mut is_fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.takes(b'}') {
            let key = self.text()?;
            self.expect(b':')?;
            let is_new = match key {
                b"descr" => datatype.replace(self.datatype()?).is_none(),
                b"fortran_order" => is_fortran.replace(self.truth()?).is_none(),
                b"shape" => shape.replace(self.shape()?).is_none(),
                _ => false,
            };
            if !is_new {
                return Err(malformed());
            }
            if !self.takes(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_blanks();
        match (datatype, is_fortran, shape) {
            (Some(datatype), Some(is_fortran), Some(shape)) if self.0.is_empty() => Ok(Layout {
                datatype,
                shape,
                is_fortran,
            }),
            _ => Err(malformed()),
        }
    }

    fn datatype(&mut self) -> Result<Datatype, Error> {
        self.skip_blanks();
        if self.0.first() == Some(&b'[') {
            return Err(bad("npy arrays of structured types are not served"));
        }
        let code = self.text()?;
        Ok(match code {
            b"|b1" => Datatype::Bool,
            b"|u1" => Datatype::Uint8,
            b"|i1" => Datatype::Int8,
            b"<u2" => Datatype::Uint16,
            b"<u4" => Datatype::Uint32,
            b"<u8" => Datatype::Uint64,
            b"<i2" => Datatype::Int16,
            b"<i4" => Datatype::Int32,
            b"<i8" => Datatype::Int64,
            b"<f2" => Datatype::Fp16,
            b"<f4" => Datatype::Fp32,
            b"<f8" => Datatype::Fp64,
            _ => {
                let code = String::from_utf8_lossy(&code[..code.len().min(16)]).into_owned();
                return Err(bad(format!(
                    "npy arrays of type {code:?} are not served; those of booleans, integers and \
                     floats in little endian are"
                )));
            }
        })
    }

    fn shape(&mut self) -> Result<Vec<usize>, Error> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.takes(b')') {
            if shape.len() == MAX_RANK {
                return Err(bad(format!(
                    "an npy array of more than {MAX_RANK} dimensions"
                )));
            }
            shape.push(self.number()?);
            if !self.takes(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn number(&mut self) -> Result<usize, Error> {
        self.skip_blanks();
        let end = self.0.iter().position(|it| !it.is_ascii_digit());
        let (digits, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        let digits = str::from_utf8(digits).map_err(|_| malformed())?;
        digits.parse().map_err(|_| malformed())
    }

    fn truth(&mut self) -> Result<bool, Error> {
        self.skip_blanks();
        for (word, value) in [(&b"True"[..], true), (&b"False"[..], false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(malformed())
    }

    /// A text between quotes of either kind, without any escapes.
    fn text(&mut self) -> Result<&'a [u8], Error> {
        self.skip_blanks();
        let (quote, rest) = self.0.split_first().ok_or_else(malformed)?;
        if !matches!(quote, b'\'' | b'"') {
            return Err(malformed());
        }
        let end = rest.iter().position(|it| it == quote);
        let end = end.ok_or_else(malformed)?;
        self.0 = &rest[end + 1..];
        Ok(&rest[..end])
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        self.takes(byte).then_some(()).ok_or_else(malformed)
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let is_there = self.0.first() == Some(&byte);
        if is_there {
            self.0 = &self.0[1..];
        }
        is_there
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

fn malformed() -> Error {
    bad("the npy header is not as numpy writes it")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(header.len()).unwrap().to_le_bytes();
        [MAGIC, &[1, 0], &len, header.as_bytes(), data].concat()
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn arrays_are_read_where_they_are() {
        let bytes = file(&header("<f4", "(2, 3)"), &[0; 24]);
        let (layout, start) = read(&bytes).unwrap();
        assert_eq!(
            (layout.datatype, &layout.shape[..]),
            (Datatype::Fp32, &[2, 3][..])
        );
        assert_eq!(bytes.len() - start, 24);
        let other = "{\"shape\":(), \"fortran_order\" : True,'descr':'|b1'}";
        let (layout, _) = read(&file(other, &[1])).unwrap();
        assert!(layout.is_fortran && layout.shape.is_empty());
        assert_eq!(
            layout.content_type(),
            "application/vnd.tserve.tensor;BOOL;;F"
        );
        let mut second = file("", &[]);
        second.truncate(MAGIC.len());
        let text = header("<i8", "(0,)");
        second.extend([2, 0]);
        second.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        second.extend(text.as_bytes());
        assert_eq!(read(&second).unwrap().0.shape, [0]);
    }

    #[test]
    fn lies_are_refused_with_the_reason() {
        let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        for descr in ["|O", ">f4", "<U4", "<c8", "<M8[ns]", "|V8"] {
            let text = told(&file(&header(descr, "(1,)"), &[0; 8]));
            assert!(text.contains("are not served"), "{descr}: {text}");
        }
        let fields = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
        assert!(told(&file(fields, &[0; 4])).contains("structured"));
        for shape in ["(2,)", "(1, 2)", "(0,)"] {
            assert!(told(&file(&header("<f4", shape), &[0; 4])).contains("takes"));
        }
        let huge = "(9223372036854775807, 9223372036854775807)";
        assert!(told(&file(&header("<f8", huge), &[])).contains("too many elements"));
        assert!(told(&file(&header("<f8", "(18446744073709551615,)"), &[])).contains("too many"));
        let deep = format!("({})", "1, ".repeat(33));
        assert!(told(&file(&header("<f8", &deep), &[0; 8])).contains("32 dimensions"));
        for shape in [
            "(-1,)",
            "(1.5,)",
            "1",
            "(99999999999999999999,)",
            "(1 1)",
            "(,)",
        ] {
            assert!(
                told(&file(&header("<f8", shape), &[0; 8])).contains("header"),
                "{shape}"
            );
        }
        for broken in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'shape': (1,), 'shape': (1,)}",
            "{'x': 1}",
        ] {
            assert!(told(&file(broken, &[])).contains("header"), "{broken}");
        }
        assert!(told(b"not at all").contains("no file"));
        assert!(told(b"\x93NUMPY\x09\x00").contains("version 9"));
        assert!(told(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("too long"));
        assert!(told(b"\x93NUMPY\x01\x00\x10\x00{").contains("ends before"));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(text in "[{}()':, a-zA-Z0-9<|]{0,80}", data in any::<Vec<u8>>()) {
            let _ = read(&file(&text, &data));
            let _ = read(&data);
        }
    }
}
