//! Request targets: percent-decoding, path and query, as the original's decoder reads them.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use crate::error::Error;

/// A request target whose path has been decoded.
#[derive(Debug, Clone)]
pub(super) struct Target<'a> {
    raw: &'a str,
    path: Cow<'a, str>,
    query: Range<usize>,
}

impl<'a> Target<'a> {
    /// Splits a target and decodes its path.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for a broken percent escape in the path.
    pub(super) fn parse(raw: &'a str) -> Result<Self, Error> {
        let path_end = memchr2(b'?', b'#', raw.as_bytes()).unwrap_or(raw.len());
        let query = if raw[path_end..].starts_with('?') {
            let start = path_end + 1;
            start
                ..raw[start..]
                    .find('#')
                    .map_or(raw.len(), |found| start + found)
        } else {
            path_end..path_end
        };
        Ok(Self {
            raw,
            path: decode(raw, 0, path_end, Plus::IsPlus)?,
            query,
        })
    }

    /// The decoded path without its first and its trailing slashes; `None` when the target is not
    /// a path at all (`*`, or an absolute form).
    pub(super) fn path(&self) -> Option<&str> {
        Some(self.path.strip_prefix('/')?.trim_end_matches('/'))
    }

    /// Decodes the query.
    ///
    /// # Errors
    /// [`Error::IllegalArgument`] for a broken percent escape.
    pub(super) fn query(&self) -> Result<Query<'a>, Error> {
        let mut pairs = Vec::new();
        let mut start = self.query.start;
        for pair in self.raw[self.query.clone()].split(['&', ';']) {
            let end = start + pair.len();
            // `=x` names a parameter `x`, as in the original.
            let skipped = pair.len() - pair.trim_start_matches('=').len();
            if skipped < pair.len() {
                let from = start + skipped;
                let equals = pair[skipped..].find('=').map(|found| from + found);
                let name = decode(self.raw, from, equals.unwrap_or(end), Plus::IsSpace)?;
                let value = match equals {
                    Some(equals) => decode(self.raw, equals + 1, end, Plus::IsSpace)?,
                    None => Cow::Borrowed(""),
                };
                pairs.push((name, value));
            }
            start = end + 1;
        }
        Ok(Query { pairs })
    }
}

/// Decoded query parameters, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Query<'_> {
    /// The first value of a name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| &**value)
    }

    /// A whole number; `None` when it is absent or is not one.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        // Java's integers have 32 bits: what does not fit is not a number.
        self.first(name)?.parse::<i32>().ok().map(i64::from)
    }

    /// A flag: true only for `true` in any case.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.first(name)
            .map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }

    /// All pairs, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// What a plus sign stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself: in paths.
    IsPlus,
    /// A space: in queries and forms.
    IsSpace,
}

/// Decodes `text[from..to]`; texts of errors name positions in the whole `text`.
pub(super) fn decode(
    text: &str,
    from: usize,
    to: usize,
    plus: Plus,
) -> Result<Cow<'_, str>, Error> {
    let piece = &text[from..to];
    let is_plain = |byte: &u8| *byte != b'%' && (*byte != b'+' || plus == Plus::IsPlus);
    let Some(first) = piece.bytes().position(|byte| !is_plain(&byte)) else {
        return Ok(Cow::Borrowed(piece));
    };
    let bytes = piece.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut at = first;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let Some(pair) = bytes.get(at + 1..at + 3) else {
                    return Err(Error::IllegalArgument(format!(
                        "unterminated escape sequence at index {} of: {text}",
                        from + at
                    )));
                };
                let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                    return Err(Error::IllegalArgument(format!(
                        "invalid hex byte '{}' at index {} of '{text}'",
                        String::from_utf8_lossy(pair),
                        from + at + 1
                    )));
                };
                decoded.push(high << 4 | low);
                at += 3;
            }
            b'+' if plus == Plus::IsSpace => {
                decoded.push(b' ');
                at += 1;
            }
            byte => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Ok(Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

/// The value of one hexadecimal digit.
pub(super) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailing_slashes_vanish_and_leading_double_slashes_do_not() {
        let path = |raw| Target::parse(raw).unwrap().path().map(str::to_owned);
        assert_eq!(path("/a/b//").as_deref(), Some("a/b"));
        assert_eq!(path("//").as_deref(), Some(""));
        assert_eq!(path("//predictions/m").as_deref(), Some("/predictions/m"));
        assert_eq!(path("*"), None);
        assert_eq!(path("http://h/ping"), None);
        assert_eq!(path("/a%2Fb%20c+d?x=1").as_deref(), Some("a/b c+d"));
    }

    #[test]
    fn broken_escapes_are_named_with_their_place() {
        let message = |raw| Target::parse(raw).unwrap_err().to_string();
        assert_eq!(
            message("/ping%zz"),
            "invalid hex byte 'zz' at index 6 of '/ping%zz'"
        );
        assert_eq!(
            message("/ping%4"),
            "unterminated escape sequence at index 5 of: /ping%4"
        );
        let target = Target::parse("/x?a=%q1").unwrap();
        assert_eq!(
            target.query().unwrap_err().to_string(),
            "invalid hex byte 'q1' at index 6 of '/x?a=%q1'"
        );
    }

    #[test]
    fn queries_are_read_as_the_original_reads_them() {
        let target = Target::parse("/x?a=1&a=2;b=x+y&c&=d&&e=%41=z#f=1").unwrap();
        let query = target.query().unwrap();
        let pairs: Vec<_> = query.pairs().collect();
        let expected = [
            ("a", "1"),
            ("a", "2"),
            ("b", "x y"),
            ("c", ""),
            ("d", ""),
            ("e", "A=z"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(query.integer("a"), Some(1));
        assert_eq!(query.integer("b"), None);
        let query = Target::parse("/x?s=TRUE&t=yes&n=-3")
            .unwrap()
            .query()
            .unwrap();
        assert!(query.flag("s", false) && !query.flag("t", true) && query.flag("u", true));
        assert_eq!(query.integer("n"), Some(-3));
    }

    proptest! {
        #[test]
        fn any_target_is_read_without_a_panic(raw in "[/%a-f0-9?&;=+#\u{e9}]{0,40}") {
            if let Ok(target) = Target::parse(&raw) {
                let _ = target.path();
                let _ = target.query();
            }
        }
    }
}
