//! `multipart/form-data` bodies: where each part lies. Nothing is copied but names.
//!
//! The syntax is RFC 7578 over RFC 2046 §5.1, read forgivingly: what does not parse as a part is
//! not a part, and a body without any is an empty form, as in the original. A part that is one, but
//! has no name, is an error.

use std::ops::Range;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::error::Error;

/// Content type of a file part that names none.
const DEFAULT_FILE_TYPE: &str = "application/octet-stream";

/// One part with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Name of the form field.
    pub(super) name: String,
    /// Content type without parameters; empty for parts that are not files.
    pub(super) content_type: String,
    /// Where its bytes lie in the body.
    pub(super) range: Range<usize>,
}

/// The boundary that a `Content-Type` header declares; `None` when the type is not
/// `multipart/form-data` or there is no boundary, so that the body is raw.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    // The letter case matters here, as in the original: others are raw bodies.
    if kind != "multipart/form-data" {
        return None;
    }
    let mut found = None;
    each_parameter(parameters, |name, value| {
        if found.is_none() && name.eq_ignore_ascii_case("boundary") && !value.is_empty() {
            found = Some(value);
        }
    });
    found
}

/// Finds the complete parts of a body in order.
///
/// # Errors
/// [`Error::FormData`] for a part without a name, or in an encoding that has to be undone first.
pub(super) fn parse(body: &[u8], boundary: &str) -> Result<Vec<Part>, Error> {
    let line = [b"\n--", boundary.as_bytes()].concat();
    let delimiters = Delimiters {
        body,
        line: Finder::new(&line),
        boundary: boundary.as_bytes(),
    };
    let mut parts = Vec::new();
    let mut delimiter = delimiters.first();
    while let Some(Delimiter::Part { end: headers, .. }) = delimiter {
        let Some((content, description)) = PartHeaders::parse(body, headers) else {
            break;
        };
        // The blank line before an empty part may serve as the line end of the next delimiter.
        delimiter = delimiters.after(content - 1);
        let Some(next) = delimiter else {
            break;
        };
        let end = next.content_end(body).max(content);
        if let Some(encoding) = description.foreign_encoding {
            return Err(Error::FormData(format!(
                "TransferEncoding Unknown: {encoding}"
            )));
        }
        let name = clean_name(&description.name.unwrap_or_default());
        if name.is_empty() {
            return Err(Error::FormData("empty name".to_owned()));
        }
        parts.push(Part {
            name,
            content_type: description.content_type.unwrap_or_default(),
            range: content..end,
        });
    }
    Ok(parts)
}

/// A name as the original passes it on: without quotes, and with blanks for separators.
fn clean_name(name: &str) -> String {
    let letters = name.chars().filter(|&letter| letter != '"');
    let cleaned: String = letters
        .map(|letter| match letter {
            ':' | ',' | '=' | ';' | '\t' => ' ',
            _ => letter,
        })
        .collect();
    cleaned.trim().to_owned()
}

/// A delimiter line.
#[derive(Debug, Clone, Copy)]
enum Delimiter {
    /// A part follows; `start` is at the line feed before the dashes, `end` behind the line.
    Part { start: usize, end: usize },
    /// The last one.
    Last { start: usize },
}

impl Delimiter {
    /// Where the content before this delimiter ends: its line end belongs to the delimiter.
    fn content_end(self, body: &[u8]) -> usize {
        let (Self::Part { start, .. } | Self::Last { start }) = self;
        if start > 0 && body[start - 1] == b'\r' {
            start - 1
        } else {
            start
        }
    }
}

struct Delimiters<'a> {
    body: &'a [u8],
    line: Finder<'a>,
    boundary: &'a [u8],
}

impl Delimiters<'_> {
    fn first(&self) -> Option<Delimiter> {
        let opening = self.body.strip_prefix(b"--");
        if opening.is_some_and(|rest| rest.starts_with(self.boundary))
            && let Some(delimiter) = self.classify(0, 2 + self.boundary.len())
        {
            return Some(delimiter);
        }
        self.after(0)
    }

    /// The first delimiter whose line feed is at `from` or later.
    fn after(&self, mut from: usize) -> Option<Delimiter> {
        loop {
            let start = from + self.line.find(self.body.get(from..)?)?;
            let end = start + self.line.needle().len();
            if let Some(delimiter) = self.classify(start, end) {
                return Some(delimiter);
            }
            from = end;
        }
    }

    /// What the text after the boundary makes of the line; `None` when it is only content that
    /// looks like a delimiter.
    fn classify(&self, start: usize, end: usize) -> Option<Delimiter> {
        let rest = &self.body[end..];
        if rest.starts_with(b"--") {
            return Some(Delimiter::Last { start });
        }
        let padding = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let line_end = match &rest[padding..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return None,
        };
        Some(Delimiter::Part {
            start,
            end: end + padding + line_end,
        })
    }
}

/// What the headers of a part say.
#[derive(Default)]
struct PartHeaders {
    name: Option<String>,
    content_type: Option<String>,
    /// A transfer encoding that changes the bytes; RFC 7578 §4.7 deprecates them all.
    foreign_encoding: Option<String>,
}

impl PartHeaders {
    /// Reads headers from `at` on; returns where the content begins.
    fn parse(body: &[u8], mut at: usize) -> Option<(usize, Self)> {
        let mut headers = Self::default();
        let mut is_file = false;
        loop {
            let end = at + memchr(b'\n', body.get(at..)?)?;
            let line = body[at..end].strip_suffix(b"\r").unwrap_or(&body[at..end]);
            at = end + 1;
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8_lossy(line);
            let Some((field, value)) = line.split_once(':') else {
                continue;
            };
            if field.trim().eq_ignore_ascii_case("content-disposition") {
                let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
                if !kind.trim().eq_ignore_ascii_case("form-data") {
                    continue;
                }
                each_parameter(parameters, |name, value| {
                    if name.eq_ignore_ascii_case("name") {
                        headers.name.get_or_insert(value);
                    } else if name.eq_ignore_ascii_case("filename")
                        || name.eq_ignore_ascii_case("filename*")
                    {
                        is_file = true;
                    }
                });
            } else if field.trim().eq_ignore_ascii_case("content-type") {
                let kind = value.split(';').next().unwrap_or_default().trim();
                headers.content_type = Some(kind.to_owned());
            } else if field
                .trim()
                .eq_ignore_ascii_case("content-transfer-encoding")
            {
                let encoding = value.trim().to_ascii_lowercase();
                if !matches!(&*encoding, "7bit" | "8bit" | "binary") {
                    headers.foreign_encoding = Some(encoding);
                }
            }
        }
        if !is_file {
            headers.content_type = None;
        } else if headers
            .content_type
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            headers.content_type = Some(DEFAULT_FILE_TYPE.to_owned());
        }
        Some((at, headers))
    }
}

/// Calls `each` with the name and the value of every `name=value` parameter. Quotes around a value
/// go; backslashes inside stay, because browsers do not mean them as escapes.
fn each_parameter(parameters: &str, mut each: impl FnMut(&str, String)) {
    let mut rest = parameters;
    while let Some((name, after)) = rest.split_once('=') {
        // Parameters without a value may stand before this one.
        let name = name.rsplit(';').next().unwrap_or_default().trim();
        let after = after.trim_start();
        let Some(quoted) = after.strip_prefix('"') else {
            let end = after.find(';').unwrap_or(after.len());
            each(name, after[..end].trim().to_owned());
            rest = &after[end..];
            continue;
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        let mut end = quoted.len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => {
                    value.push(letter);
                    value.extend(letters.next().map(|(_, escaped)| escaped));
                }
                _ => value.push(letter),
            }
        }
        each(name, value);
        rest = &quoted[end..];
    }
}

#[cfg(test)]
mod tests;
