//! `application/x-www-form-urlencoded` bodies, with the original's treatment of odd ones.

use super::target::{Plus, decode, nibble};
use crate::error::Error;

/// One field: its decoded name and the decoded bytes of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Name.
    pub(super) name: String,
    /// Value; any bytes.
    pub(super) value: Vec<u8>,
}

/// Reads all fields in order. A line end closes the form, and a last field without `=` is dropped.
///
/// # Errors
/// [`Error::FormData`] for a broken percent escape, an empty name or a carriage return on its own.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Field>, Error> {
    let mut fields = Vec::new();
    let mut rest = body;
    loop {
        let (piece, is_last) = match rest.iter().position(|&byte| byte == b'&') {
            Some(at) => (&rest[..at], false),
            None => (rest, true),
        };
        let Some(equals) = piece.iter().position(|&byte| byte == b'=') else {
            if is_last {
                return Ok(fields);
            }
            push(&mut fields, piece, b"")?;
            rest = &rest[piece.len() + 1..];
            continue;
        };
        let value = &piece[equals + 1..];
        let line_end = value.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        if let Some(at) = line_end {
            if value[at] == b'\r' && value.get(at + 1) != Some(&b'\n') {
                return Err(Error::FormData("Bad end of line".to_owned()));
            }
            push(&mut fields, &piece[..equals], &value[..at])?;
            return Ok(fields);
        }
        push(&mut fields, &piece[..equals], value)?;
        if is_last {
            return Ok(fields);
        }
        rest = &rest[piece.len() + 1..];
    }
}

fn push(fields: &mut Vec<Field>, name: &[u8], value: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(name);
    let name = decode(&text, 0, text.len(), Plus::IsSpace)
        .map_err(|_| Error::FormData(format!("Bad string: '{text}'")))?
        .trim()
        .to_owned();
    if name.is_empty() {
        return Err(Error::FormData("empty name".to_owned()));
    }
    let value = decode_value(value)?;
    fields.push(Field { name, value });
    Ok(())
}

fn decode_value(value: &[u8]) -> Result<Vec<u8>, Error> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b'%' => {
                let pair = value.get(at + 1..at + 3);
                let byte = pair.and_then(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?));
                let Some(byte) = byte else {
                    return Err(Error::FormData(format!(
                        "Invalid hex byte at index '{at}' in string: '{}'",
                        String::from_utf8_lossy(value)
                    )));
                };
                decoded.push(byte);
                at += 3;
            }
            b'+' => {
                decoded.push(b' ');
                at += 1;
            }
            byte => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(body: &[u8]) -> Vec<(String, Vec<u8>)> {
        let parsed = parse(body).unwrap();
        parsed
            .into_iter()
            .map(|field| (field.name, field.value))
            .collect()
    }

    fn pair(name: &str, value: &[u8]) -> (String, Vec<u8>) {
        (name.to_owned(), value.to_vec())
    }

    #[test]
    fn fields_are_decoded_in_order() {
        assert_eq!(
            fields(b"a=1&b=two+words&a=%33&e=&n%20m=%ff%00&z=x=y"),
            [
                pair("a", b"1"),
                pair("b", b"two words"),
                pair("a", b"3"),
                pair("e", b""),
                pair("n m", b"\xff\0"),
                pair("z", b"x=y"),
            ]
        );
    }

    #[test]
    fn text_without_an_equals_sign_is_dropped() {
        assert_eq!(fields(br#"{"q":1}"#), []);
        assert_eq!(fields(b""), []);
        assert_eq!(fields(b"a&b=1"), [pair("a", b""), pair("b", b"1")]);
        assert_eq!(fields(b" b =1&"), [pair("b", b"1")]);
    }

    #[test]
    fn a_line_end_closes_the_form() {
        assert_eq!(fields(b"a=1\r\nb=2"), [pair("a", b"1")]);
        assert_eq!(fields(b"a=1&b=2\n"), [pair("a", b"1"), pair("b", b"2")]);
        assert!(parse(b"a=1\rx").is_err());
    }

    #[test]
    fn what_does_not_decode_is_named() {
        let message = |body: &[u8]| parse(body).unwrap_err().to_string();
        assert_eq!(
            message(b"x=%zz"),
            "Invalid hex byte at index '0' in string: '%zz'"
        );
        assert_eq!(
            message(b"a=1&x=ab%4"),
            "Invalid hex byte at index '2' in string: 'ab%4'"
        );
        assert_eq!(message(b"%zz=1"), "Bad string: '%zz'");
        for nameless in [&b"=x&b=1"[..], b"&a=1", b"+=1"] {
            assert_eq!(message(nameless), "empty name");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn encoded_fields_come_back(
            fields in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..20)), 0..6),
        ) {
            let body = fields
                .iter()
                .map(|(name, value)| {
                    let value = percent_encoding::percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
                    format!("{name}={value}")
                })
                .collect::<Vec<_>>()
                .join("&");
            let parsed = parse(body.as_bytes()).unwrap();
            let parsed: Vec<_> = parsed.into_iter().map(|f| (f.name, f.value)).collect();
            prop_assert_eq!(parsed, fields);
        }
    }
}
