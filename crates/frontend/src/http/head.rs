//! Request heads: where one ends, what it says, and how the body after it is framed.
//!
//! The tokens are parsed by `httparse`, hyper's own parser; this file adds the limits of the
//! original, the framing rules of RFC 9112 §6.3 and nothing else. A [`Head`] holds ranges, not
//! text, so that one value is reused for all requests of a connection.

mod http2;

use std::mem::MaybeUninit;
use std::ops::Range;

use memchr::memchr;

/// Longest request line, bytes without its end.
const REQUEST_LINE_LIMIT: usize = 4096;
/// Longest header block, bytes without line ends.
const HEADERS_LIMIT: usize = 8192;
/// Headers that are parsed on the stack; more are legal and take a heap array.
const USUAL_HEADERS: usize = 64;
/// More headers than fit into [`HEADERS_LIMIT`]: a header takes at least two bytes.
const MOST_HEADERS: usize = HEADERS_LIMIT / 2 + 1;

/// The message is not HTTP, or not HTTP that a proxy in front would read in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Framing {
    /// Neither length nor encoding: there is no body.
    #[default]
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What the client wants to hear before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Expect {
    /// Nothing.
    #[default]
    Nothing,
    /// `100-continue`.
    Continue,
    /// Something that HTTP does not define.
    Unsupported,
}

/// Finds the end of a head in a buffer that grows, without looking at any byte twice.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    scanned: usize,
    line_start: usize,
    has_request_line: bool,
    header_bytes: usize,
}

impl HeadScanner {
    /// Whether not even the request line has begun.
    pub(super) fn is_blank(&self, bytes: &[u8]) -> bool {
        !self.has_request_line && self.line_start == bytes.len()
    }

    /// The length of the head including its blank line, or `None` when more bytes are needed.
    /// `bytes` begins where it began in earlier calls and has only grown.
    ///
    /// # Errors
    /// A line or the block of headers is longer than the limits.
    pub(super) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while let Some(found) = memchr(b'\n', &bytes[self.scanned..]) {
            let end = self.scanned + found;
            let line = &bytes[self.line_start..end];
            let length = line.strip_suffix(b"\r").unwrap_or(line).len();
            self.scanned = end + 1;
            self.line_start = end + 1;
            if self.has_request_line {
                if length == 0 {
                    return Ok(Some(end + 1));
                }
                self.header_bytes += length;
                if self.header_bytes > HEADERS_LIMIT {
                    return Err(Malformed);
                }
            } else if length > REQUEST_LINE_LIMIT || (length == 0 && end > REQUEST_LINE_LIMIT) {
                return Err(Malformed);
            } else if length > 0 {
                self.has_request_line = true;
            }
        }
        self.scanned = bytes.len();
        let unfinished = bytes.len() - self.line_start;
        // One more byte than the limit: a carriage return does not count.
        let too_long = if self.has_request_line {
            self.header_bytes + unfinished > HEADERS_LIMIT + 1
        } else {
            unfinished > REQUEST_LINE_LIMIT + 1
        };
        if too_long { Err(Malformed) } else { Ok(None) }
    }
}

/// A piece of a head; heads are far smaller than 64 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    end: u16,
}

impl Span {
    fn of(piece: &[u8], whole: &[u8]) -> Self {
        let start = piece.as_ptr() as usize - whole.as_ptr() as usize;
        Self {
            start: start as u16,
            end: (start + piece.len()) as u16,
        }
    }

    fn range(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// One parsed request head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    method: Span,
    target: Span,
    headers: Vec<(Span, Span)>,
    content_type: Option<Span>,
    is_ascii: bool,
    /// Bytes of the head, the blank line included.
    pub(super) len: usize,
    version: Version,
    /// Whether the client says that it will close after this request.
    pub(super) wants_close: bool,
    /// How the body is delimited.
    pub(super) framing: Framing,
    /// What the client waits for.
    pub(super) expect: Expect,
}

impl Head {
    /// Parses `bytes`, which are exactly one head as [`HeadScanner`] found it.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut few = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut few) {
            Err(httparse::Error::TooManyHeaders) => {}
            outcome => return self.take(bytes, &request, outcome),
        }
        let mut many = vec![MaybeUninit::uninit(); MOST_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let outcome = request.parse_with_uninit_headers(bytes, &mut many);
        self.take(bytes, &request, outcome)
    }

    fn take(
        &mut self,
        bytes: &[u8],
        request: &httparse::Request<'_, '_>,
        outcome: httparse::Result<usize>,
    ) -> Result<(), Malformed> {
        // A head that ends elsewhere than the scanner saw it would be read in two ways.
        if outcome != Ok(httparse::Status::Complete(bytes.len())) {
            return Err(Malformed);
        }
        let (Some(method), Some(target), Some(version)) =
            (request.method, request.path, request.version)
        else {
            return Err(Malformed);
        };
        self.method = Span::of(method.as_bytes(), bytes);
        self.target = Span::of(target.as_bytes(), bytes);
        let is_http10 = version == 0;
        self.version = if is_http10 {
            Version::Http10
        } else {
            Version::Http11
        };
        self.is_ascii = bytes.is_ascii();
        self.len = bytes.len();
        self.content_type = None;
        self.expect = Expect::Nothing;
        self.wants_close = is_http10;
        self.headers.clear();
        let mut framing = FramingHeaders::default();
        for header in request.headers.iter() {
            let value = Span::of(header.value, bytes);
            self.headers
                .push((Span::of(header.name.as_bytes(), bytes), value));
            match header.name.len() {
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    self.expect = expectation(header.value, is_http10);
                }
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    if has_token(header.value, b"close") {
                        self.wants_close = true;
                    } else if has_token(header.value, b"keep-alive") {
                        self.wants_close = false;
                    }
                }
                12 if header.name.eq_ignore_ascii_case("content-type") => {
                    self.content_type.get_or_insert(value);
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    framing.length(header.value)?;
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    framing.encoding(header.value)?;
                }
                _ => {}
            }
        }
        self.framing = framing.decide(is_http10)?;
        Ok(())
    }

    /// The head together with the bytes it was parsed from.
    pub(super) fn view<'a>(&'a self, bytes: &'a [u8]) -> HeadView<'a> {
        // Checked once for all its pieces.
        let text = if self.is_ascii {
            str::from_utf8(&bytes[..self.len]).ok()
        } else {
            None
        };
        HeadView {
            head: self,
            bytes,
            text,
        }
    }
}

/// A head and its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadView<'a> {
    head: &'a Head,
    bytes: &'a [u8],
    /// The same as text, where all of it is ASCII.
    text: Option<&'a str>,
}

impl<'a> HeadView<'a> {
    /// The method as sent.
    pub(super) fn method(&self) -> &'a str {
        self.text(self.head.method)
    }

    /// The request target as sent.
    pub(super) fn target(&self) -> &'a str {
        self.text(self.head.target)
    }

    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub(super) fn protocol(&self) -> &'static str {
        match self.head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }

    /// How the body is delimited.
    pub(super) fn framing(&self) -> Framing {
        self.head.framing
    }

    /// The first `Content-Type`, with its parameters; empty when there is none or it is not text.
    pub(super) fn content_type(&self) -> &'a str {
        self.head.content_type.map_or("", |value| self.text(value))
    }

    /// Names and values in order, as sent.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let bytes = self.bytes;
        let view = *self;
        self.head
            .headers
            .iter()
            .map(move |&(name, value)| (view.text(name), &bytes[value.range()]))
    }

    /// The first header of this name, if it is text.
    pub(super) fn first(&self, wanted: &str) -> Option<&'a str> {
        let is_wanted = |name: Span| {
            name.range().len() == wanted.len()
                && self.bytes[name.range()].eq_ignore_ascii_case(wanted.as_bytes())
        };
        let mut headers = self.head.headers.iter();
        let (_, value) = headers.find(|(name, _)| is_wanted(*name))?;
        match self.text {
            Some(text) => Some(&text[value.range()]),
            None => str::from_utf8(&self.bytes[value.range()]).ok(),
        }
    }

    /// Number of headers.
    pub(super) fn header_count(&self) -> usize {
        self.head.headers.len()
    }

    /// Whether every header value is plain ASCII.
    pub(super) fn is_ascii(&self) -> bool {
        self.head.is_ascii
    }

    /// Names and values in order; a value that is not ASCII is `None`.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let view = *self;
        self.head.headers.iter().map(move |&(name, value)| {
            let is_text = view.text.is_some() || view.bytes[value.range()].is_ascii();
            (view.text(name), is_text.then(|| view.text(value)))
        })
    }

    fn text(&self, span: Span) -> &'a str {
        match self.text {
            Some(text) => &text[span.range()],
            None => str::from_utf8(&self.bytes[span.range()]).unwrap_or_default(),
        }
    }
}

/// A header value as the original reads it: every byte is one Latin-1 character.
pub(super) fn latin1(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

fn expectation(value: &[u8], is_http10: bool) -> Expect {
    if is_http10 {
        Expect::Nothing
    } else if value.eq_ignore_ascii_case(b"100-continue") {
        Expect::Continue
    } else {
        Expect::Unsupported
    }
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|piece| piece.trim_ascii().eq_ignore_ascii_case(token))
}

/// Collects the headers that decide where a message ends.
#[derive(Default)]
struct FramingHeaders {
    length: Option<u64>,
    is_chunked: bool,
}

impl FramingHeaders {
    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        // One length, written once: a list of equal ones is legal, but nobody sends it, and the
        // original refuses it too.
        if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        // A number that does not fit is a length that no limit allows.
        let digits = std::str::from_utf8(value).map_err(|_| Malformed)?;
        self.length = Some(digits.parse().unwrap_or(u64::MAX));
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        // Only one encoding is understood, and twice the same would be encoded twice.
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed);
        }
        self.is_chunked = true;
        Ok(())
    }

    fn decide(&self, is_http10: bool) -> Result<Framing, Malformed> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Malformed),
            (None, true) if is_http10 => Err(Malformed),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::None),
        }
    }
}

#[cfg(test)]
mod tests;
