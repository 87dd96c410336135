//! Heads of HTTP/2: laid out as if they had come as text, so that routes and handlers see no
//! difference but the names of headers, which HTTP/2 has in lower case only.

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;

use super::{
    FramingHeaders, HEADERS_LIMIT, Head, Malformed, REQUEST_LINE_LIMIT, Span, Version, expectation,
};

/// Between the pieces of a cookie that a client has split (RFC 9113 §8.2.3).
const COOKIE_SEPARATOR: &[u8] = b"; ";

impl Head {
    /// Lays out a head in `bytes`, which become what [`Head::view`] needs.
    ///
    /// # Errors
    /// It is larger than HTTP/1 allows, or its length is not one.
    pub(in super::super) fn of_http2(
        parts: &Parts,
        has_body: bool,
        bytes: &mut Vec<u8>,
    ) -> Result<Self, Malformed> {
        let mut head = Self {
            version: Version::Http2,
            is_ascii: true,
            ..Self::default()
        };
        head.method = append(bytes, parts.method.as_str().as_bytes());
        // The target of CONNECT is an authority, which is no path.
        let target = parts.uri.path_and_query();
        let target = target.map_or("", http::uri::PathAndQuery::as_str);
        head.target = append(bytes, target.as_bytes());
        if bytes.len() > REQUEST_LINE_LIMIT {
            return Err(Malformed);
        }
        let limit = bytes.len() + HEADERS_LIMIT;
        let authority = parts.uri.authority();
        if let Some(authority) = authority.filter(|_| !parts.headers.contains_key(header::HOST)) {
            head.field(bytes, &header::HOST, authority.as_str().as_bytes(), limit)?;
        }
        let mut framing = FramingHeaders::default();
        for (name, value) in &parts.headers {
            let value = value.as_bytes();
            match *name {
                header::COOKIE => continue,
                header::CONTENT_LENGTH => framing.length(value)?,
                header::EXPECT => head.expect = expectation(value, false),
                _ => {}
            }
            let span = head.field(bytes, name, value, limit)?;
            if *name == header::CONTENT_TYPE {
                head.content_type.get_or_insert(span);
            }
        }
        if let Some(cookie) = cookie(&parts.headers) {
            head.field(bytes, &header::COOKIE, &cookie, limit)?;
        }
        // A body of unknown length is what chunks are in HTTP/1.
        framing.is_chunked = has_body && framing.length.is_none();
        head.framing = framing.decide(false)?;
        head.len = bytes.len();
        Ok(head)
    }

    fn field(
        &mut self,
        bytes: &mut Vec<u8>,
        name: &HeaderName,
        value: &[u8],
        limit: usize,
    ) -> Result<Span, Malformed> {
        self.is_ascii &= value.is_ascii();
        let name = append(bytes, name.as_str().as_bytes());
        let value = append(bytes, value);
        if bytes.len() > limit {
            return Err(Malformed);
        }
        self.headers.push((name, value));
        Ok(value)
    }
}

/// Appends a piece of a head. Pieces are far smaller than what a span can tell: `h2` sees to it.
fn append(bytes: &mut Vec<u8>, piece: &[u8]) -> Span {
    let start = bytes.len();
    bytes.extend_from_slice(piece);
    Span {
        start: start as u16,
        end: bytes.len() as u16,
    }
}

/// The pieces of the cookie together: of headers with one name handlers see the last.
fn cookie(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let mut cookie = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        cookie.extend_from_slice(COOKIE_SEPARATOR);
        cookie.extend_from_slice(piece.as_bytes());
    }
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::{Expect, Framing};
    use super::*;

    fn laid_out(
        request: http::request::Builder,
        has_body: bool,
    ) -> Result<(Head, Vec<u8>), Malformed> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut bytes = Vec::new();
        Head::of_http2(&parts, has_body, &mut bytes).map(|head| (head, bytes))
    }

    fn at(target: &str) -> http::request::Builder {
        Request::post(format!("http://host.test:8080{target}"))
    }

    #[test]
    fn a_head_reads_as_if_it_had_come_as_text() {
        let request = at("/predictions/m?a=b")
            .header("content-type", "text/plain; charset=utf-8")
            .header("cookie", "a=1")
            .header("x-name", "w\u{f6}rter".as_bytes())
            .header("cookie", "b=2")
            .header("content-length", "3");
        let (head, bytes) = laid_out(request, true).unwrap();
        let view = head.view(&bytes);
        assert_eq!(
            (view.method(), view.target(), view.protocol()),
            ("POST", "/predictions/m?a=b", "HTTP/2.0")
        );
        assert_eq!(view.content_type(), "text/plain; charset=utf-8");
        assert_eq!(view.framing(), Framing::Length(3));
        assert!(!view.is_ascii());
        let fields: Vec<_> = view.headers().collect();
        assert_eq!(
            fields,
            [
                ("host", &b"host.test:8080"[..]),
                ("content-type", b"text/plain; charset=utf-8"),
                ("x-name", "w\u{f6}rter".as_bytes()),
                ("content-length", b"3"),
                ("cookie", b"a=1; b=2"),
            ]
        );
    }

    #[test]
    fn bodies_are_framed_by_length_or_by_their_end() {
        for (length, has_body, framing) in [
            (None, false, Ok(Framing::None)),
            (None, true, Ok(Framing::Chunked)),
            (Some("5"), true, Ok(Framing::Length(5))),
            (Some("x"), true, Err(Malformed)),
        ] {
            let mut request = at("/");
            if let Some(length) = length {
                request = request.header("content-length", length);
            }
            let found = laid_out(request, has_body).map(|(head, _)| head.framing);
            assert_eq!(found, framing);
        }
        let (head, _) = laid_out(at("/").header("expect", "tea"), false).unwrap();
        assert_eq!(head.expect, Expect::Unsupported);
    }

    #[test]
    fn limits_are_those_of_text() {
        assert!(laid_out(at(&"/x".repeat(2000)), false).is_ok());
        assert!(laid_out(at(&"/x".repeat(2050)), false).is_err());
        assert!(laid_out(at("/").header("x", "y".repeat(8100)), false).is_ok());
        assert!(laid_out(at("/").header("x", "y".repeat(8192)), false).is_err());
    }

    #[test]
    fn the_host_of_a_client_is_kept() {
        let (head, bytes) = laid_out(at("/").header("host", "other"), false).unwrap();
        assert_eq!(
            head.view(&bytes).headers().next(),
            Some(("host", &b"other"[..]))
        );
    }
}
