//! From a body to the named inputs that a handler sees.

use super::form::{self, Field};
use super::multipart::{self, Part};
use super::target::Query;
use crate::error::Error;
use crate::service::{Input, Value};

/// Name of the only input of a body that is not a form.
const RAW_INPUT: &str = "body";

/// A body as its content type says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// One value of this content type (without parameters, otherwise as sent).
    Raw(&'a str),
    /// The parts of a multipart form.
    Parts(Vec<Part>),
    /// The fields of an urlencoded form.
    Fields(Vec<Field>),
}

impl<'a> Content<'a> {
    /// Reads a body of the content type that the client sent.
    ///
    /// # Errors
    /// [`Error::FormData`] for a form that does not decode.
    pub(super) fn read(content_type: &'a str, body: &[u8]) -> Result<Self, Error> {
        if is_urlencoded(content_type) {
            return form::parse(body).map(Self::Fields);
        }
        Ok(match multipart::boundary(content_type) {
            Some(boundary) => Self::Parts(multipart::parse(body, &boundary)?),
            None => Self::Raw(mime_type(content_type)),
        })
    }

    /// The text of the last input of a name, as it reaches the handler.
    pub(super) fn text(&self, name: &str, body: &[u8]) -> Option<String> {
        let bytes = match self {
            Self::Raw(_) => None,
            Self::Parts(parts) => {
                let part = parts.iter().rev().find(|part| part.name == name)?;
                body.get(part.range.clone())
            }
            Self::Fields(fields) => {
                let field = fields.iter().rev().find(|field| field.name == name)?;
                Some(&field.value[..])
            }
        }?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// All inputs: query parameters first, then the body's.
    ///
    /// `body` is where values are found that were not decoded; `in_arena` makes them ranges of it.
    pub(super) fn inputs<'s>(
        &'s self,
        query: &'s Query<'_>,
        body: BodyPlace<'s>,
    ) -> Vec<Input<'s>> {
        let mut inputs: Vec<_> = query
            .pairs()
            .map(|(name, value)| Input {
                name,
                content_type: "",
                value: Value::Inline(value.as_bytes()),
            })
            .collect();
        match self {
            Self::Raw(content_type) => inputs.push(Input {
                name: RAW_INPUT,
                content_type,
                value: body.value(0..body.len()),
            }),
            Self::Parts(parts) => inputs.extend(parts.iter().map(|part| Input {
                name: &part.name,
                content_type: &part.content_type,
                value: body.value(part.range.clone()),
            })),
            Self::Fields(fields) => inputs.extend(fields.iter().map(|field| Input {
                name: &field.name,
                content_type: "",
                value: Value::Inline(&field.value),
            })),
        }
        inputs
    }
}

/// Where the bytes of a body are.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyPlace<'a> {
    /// In the adapter's memory.
    Here(&'a [u8]),
    /// In the model's memory, with this many bytes.
    Arena(usize),
}

impl<'a> BodyPlace<'a> {
    fn len(self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Arena(len) => len,
        }
    }

    fn value(self, range: std::ops::Range<usize>) -> Value<'a> {
        match self {
            Self::Here(bytes) => Value::Inline(&bytes[range]),
            Self::Arena(_) => Value::Body(range),
        }
    }
}

/// A content type without its parameters; a blank before them stays, as in the original.
pub(super) fn mime_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default()
}

/// Whether a body is an urlencoded form, whose values are decoded outside of the body.
pub(super) fn is_urlencoded(content_type: &str) -> bool {
    mime_type(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::target::Target;

    fn names(content_type: &str, body: &[u8], target: &str) -> Vec<(String, String)> {
        let target = Target::parse(target).unwrap();
        let query = target.query().unwrap();
        let content = Content::read(content_type, body).unwrap();
        content
            .inputs(&query, BodyPlace::Here(body))
            .iter()
            .map(|input| (input.name.to_owned(), input.content_type.to_owned()))
            .collect()
    }

    fn pair(name: &str, content_type: &str) -> (String, String) {
        (name.to_owned(), content_type.to_owned())
    }

    #[test]
    fn bodies_that_are_no_forms_are_one_input() {
        let json = "application/json; charset=utf-8";
        assert_eq!(names(json, b"{}", "/"), [pair("body", "application/json")]);
        assert_eq!(names("", b"", "/"), [pair("body", "")]);
        assert_eq!(names("Text/Plain", b"", "/"), [pair("body", "Text/Plain")]);
        assert_eq!(names("text/x ;a=b", b"", "/"), [pair("body", "text/x ")]);
        let unbounded = "multipart/form-data";
        assert_eq!(names(unbounded, b"x", "/"), [pair("body", unbounded)]);
    }

    #[test]
    fn forms_name_their_inputs_and_query_parameters_come_first() {
        let form = "Application/X-WWW-Form-Urlencoded; x=y";
        assert_eq!(
            names(form, b"a=1&b=2", "/?q=3"),
            [pair("q", ""), pair("a", ""), pair("b", "")]
        );
        assert_eq!(names(form, b"{\"q\":1}", "/"), []);
        let multipart = "multipart/form-data; boundary=B";
        assert_eq!(names(multipart, b"garbage", "/"), []);
        let body = b"--B\r\nContent-Disposition: form-data; name=f; filename=g\r\n\r\nx\r\n--B--";
        assert_eq!(
            names(multipart, body, "/"),
            [pair("f", "application/octet-stream")]
        );
        let content = Content::read(multipart, body).unwrap();
        assert_eq!(content.text("f", body).as_deref(), Some("x"));
        let query = Query::default();
        let in_arena = content.inputs(&query, BodyPlace::Arena(body.len()))[0]
            .value
            .clone();
        assert!(matches!(in_arena, Value::Body(range) if &body[range.clone()] == b"x"));
    }

    #[test]
    fn a_form_that_does_not_decode_is_an_error() {
        let error = Content::read("application/x-www-form-urlencoded", b"a=%zz").unwrap_err();
        assert_eq!(error.wire_name(), "ErrorDataDecoderException");
    }
}
