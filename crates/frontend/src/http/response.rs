//! Responses: status lines, the headers that every answer carries, JSON bodies.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use crate::config::Cors;
use crate::error::{Error, ErrorDetail};
use crate::service::{InferenceReply, ReplyStream, StatusReply};
use crate::telemetry::ServerTiming;

/// Content type of everything the server itself says.
const JSON: &str = "application/json";
/// Content type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// Headers of every answer that never change.
const CACHE_HEADERS: &[u8] = b"Pragma: no-cache\r\n\
    Cache-Control: no-cache; no-store, must-revalidate, private\r\n\
    Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\n";
/// Headers that the server sets whatever a handler wants.
const RESERVED: [&str; 7] = [
    "x-request-id",
    "pragma",
    "cache-control",
    "expires",
    "content-length",
    "connection",
    "transfer-encoding",
];

/// How an error is told to clients.
#[derive(Serialize)]
pub(super) struct ErrorObject {
    code: u16,
    r#type: &'static str,
    message: String,
    /// Only where the operator allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<ErrorDetail>,
}

impl ErrorObject {
    pub(super) fn new(error: &Error) -> Self {
        Self {
            code: error.code().http(),
            r#type: error.wire_name(),
            message: error.to_string(),
            detail: error.detail().cloned(),
        }
    }
}

/// An answer before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    status: u16,
    /// `None` for the standard phrase.
    phrase: Option<String>,
    content_type: Option<&'static str>,
    headers: Vec<(String, String)>,
    body: Bytes,
    timing: Option<ServerTiming>,
}

impl Response {
    /// A JSON document, pretty-printed, with a line end.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        let mut body = serde_json::to_vec_pretty(value)
            .unwrap_or_else(|error| format!("\"{error}\"").into_bytes());
        body.push(b'\n');
        Self {
            status,
            phrase: None,
            content_type: Some(JSON),
            headers: Vec::new(),
            body: body.into(),
            timing: None,
        }
    }

    /// An error object.
    pub(super) fn error(error: &Error) -> Self {
        Self::error_as(error, ErrorObject::new)
    }

    /// An error in the form of another protocol.
    pub(super) fn error_as<T: Serialize>(error: &Error, form: impl Fn(&Error) -> T) -> Self {
        let code = error.code().http();
        if is_final_status(code) {
            Self::json(code, &form(error))
        } else {
            let error = impossible_status(code);
            Self::json(error.code().http(), &form(&error))
        }
    }

    /// A status object.
    pub(super) fn status_text(status: u16, text: &str) -> Self {
        #[derive(Serialize)]
        struct StatusObject<'a> {
            status: &'a str,
        }
        Self::json(status, &StatusObject { status: text })
    }

    /// Text that is not JSON.
    pub(super) fn text(content_type: &'static str, body: Bytes) -> Self {
        Self {
            status: 200,
            phrase: None,
            content_type: Some(content_type),
            headers: Vec::new(),
            body,
            timing: None,
        }
    }

    /// What a handler answered: its own status, phrase (none unless it set one) and headers.
    pub(super) fn reply(reply: InferenceReply) -> Self {
        if !is_final_status(reply.status) {
            return Self::error(&impossible_status(reply.status));
        }
        Self {
            status: reply.status,
            phrase: Some(reply.phrase.unwrap_or_default()),
            content_type: None,
            headers: reply.headers,
            body: reply.body,
            timing: None,
        }
    }

    /// The head of a handler's reply in parts; as server-sent events if `as_events`, whatever type
    /// the handler has set.
    pub(super) fn stream(stream: &mut ReplyStream, as_events: bool) -> Self {
        let mut response = Self::reply(InferenceReply {
            status: stream.status,
            phrase: stream.phrase.take(),
            headers: std::mem::take(&mut stream.headers),
            body: Bytes::new(),
            stages: stream.stages,
        });
        if as_events && response.content_type.is_none() {
            let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
            response.headers.retain(|(name, _)| !is_type(name));
            response.content_type = Some(EVENT_STREAM);
        }
        response
    }

    /// A JSON document under the status and headers of a handler's reply.
    pub(super) fn json_as(reply: InferenceReply, value: &impl Serialize) -> Self {
        let has_type = reply
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let body = Self::json(reply.status, value).body;
        let mut response = Self::reply(InferenceReply { body, ..reply });
        if !has_type {
            response.content_type = Some(JSON);
        }
        response
    }

    /// Lets the head say where the time went.
    pub(super) fn set_timing(&mut self, timing: Option<ServerTiming>) {
        self.timing = timing;
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The body; empty for statuses that have none.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether HTTP forbids a body, so that sending one would shift all later answers.
    pub(super) fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    /// Writes status line and headers, the blank line included.
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        request_id: Option<&str>,
        cors: &CorsHeaders,
        closes: bool,
    ) {
        self.write_fields(out, request_id, cors);
        if !self.is_bodiless() {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        push_end(out, closes);
    }

    /// Writes the head of a response whose body comes in parts: in chunks, or until the connection
    /// is closed.
    pub(super) fn write_stream_head(
        &self,
        out: &mut Vec<u8>,
        request_id: Option<&str>,
        cors: &CorsHeaders,
        is_chunked: bool,
        closes: bool,
    ) {
        self.write_fields(out, request_id, cors);
        if is_chunked && !self.is_bodiless() {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        push_end(out, closes);
    }

    /// Writes the status line and all headers that do not depend on how the body is sent.
    fn write_fields(&self, out: &mut Vec<u8>, request_id: Option<&str>, cors: &CorsHeaders) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        match &self.phrase {
            Some(phrase) => push_clean(out, phrase),
            None => push_standard_phrase(out, self.status),
        }
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            if is_token(name)
                && !RESERVED
                    .iter()
                    .any(|taken| name.eq_ignore_ascii_case(taken))
            {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                push_clean(out, value);
                out.extend_from_slice(b"\r\n");
            }
        }
        if let Some(content_type) = self.content_type {
            out.extend_from_slice(b"content-type: ");
            out.extend_from_slice(content_type.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if let Some(id) = request_id {
            out.extend_from_slice(b"x-request-id: ");
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if let Some(timing) = &self.timing {
            out.extend_from_slice(b"Server-Timing: ");
            timing.write(out, Instant::now());
            out.extend_from_slice(b"\r\n");
        }
        cors.write(out, &self.headers);
        out.extend_from_slice(CACHE_HEADERS);
    }
}

impl From<StatusReply> for Response {
    fn from(reply: StatusReply) -> Self {
        Self::status_text(reply.code, &reply.status)
    }
}

/// The configured CORS headers, rendered once.
#[derive(Debug, Default)]
pub(super) struct CorsHeaders {
    lines: Vec<(&'static str, Vec<u8>)>,
}

impl CorsHeaders {
    /// Renders the headers whose values are not empty.
    pub(super) fn new(cors: &Cors) -> Self {
        let configured = [
            ("access-control-allow-origin", &cors.allow_origin),
            ("access-control-allow-methods", &cors.allow_methods),
            ("access-control-allow-headers", &cors.allow_headers),
        ];
        let mut lines = Vec::new();
        for (name, value) in configured {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                let mut line = format!("{name}: ").into_bytes();
                push_clean(&mut line, value);
                line.extend_from_slice(b"\r\n");
                lines.push((name, line));
            }
        }
        Self { lines }
    }

    fn write(&self, out: &mut Vec<u8>, set_by_handler: &[(String, String)]) {
        for (name, line) in &self.lines {
            let is_set = |(set, _): &(String, String)| set.eq_ignore_ascii_case(name);
            if !set_by_handler.iter().any(is_set) {
                out.extend_from_slice(line);
            }
        }
    }
}

fn push_end(out: &mut Vec<u8>, closes: bool) {
    out.extend_from_slice(if closes {
        b"connection: close\r\n\r\n"
    } else {
        b"connection: keep-alive\r\n\r\n"
    });
}

fn is_final_status(status: u16) -> bool {
    (200..=999).contains(&status)
}

fn impossible_status(status: u16) -> Error {
    Error::Internal(format!(
        "The handler set the response status {status}, which cannot end a response."
    ))
}

/// Writes text from a handler without the control characters that would end the line.
fn push_clean(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|byte| match byte {
        b'\t' => byte,
        0..=31 | 127 => b' ',
        _ => byte,
    }));
}

fn is_token(name: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
}

fn push_standard_phrase(out: &mut Vec<u8>, status: u16) {
    if let Some(phrase) = standard_phrase(status) {
        out.extend_from_slice(phrase.as_bytes());
        return;
    }
    let class = match status {
        200..=299 => "Success",
        300..=399 => "Redirection",
        400..=499 => "Client Error",
        500..=599 => "Server Error",
        _ => "Unknown Status",
    };
    out.extend_from_slice(format!("{class} ({status})").as_bytes());
}

/// Phrases as the original sends them; 413 keeps its old name.
fn standard_phrase(status: u16) -> Option<&'static str> {
    Some(match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Unordered Collection",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
