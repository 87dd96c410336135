//! What a line looks like: the original's text, or one JSON object.

use std::fmt::Write as _;

use super::timestamp;
use crate::config::LogForm;

/// Appends the start of a line: when, how important, which thread (in parts), which logger.
///
/// As text, only the message is missing after it. As JSON, members follow ([`member`]) and then
/// [`finish`].
pub(super) fn start(line: &mut Vec<u8>, form: LogForm, level: &str, thread: &[&str], logger: &str) {
    match form {
        LogForm::Text => {
            timestamp::append(line);
            line.extend_from_slice(b" [");
            line.extend_from_slice(level.as_bytes());
            line.extend_from_slice(b"] ");
            for part in thread {
                line.extend_from_slice(part.as_bytes());
            }
            line.push(b' ');
            line.extend_from_slice(logger.as_bytes());
            line.extend_from_slice(b" - ");
        }
        LogForm::Json => {
            line.extend_from_slice(b"{\"time\":\"");
            timestamp::append_utc(line);
            line.push(b'"');
            member(line, "level", level.trim_end());
            if let [one] = thread {
                member(line, "thread", one);
            } else {
                member(line, "thread", &thread.concat());
            }
            member(line, "logger", logger);
        }
    }
}

/// Bytes at the start of a line that are nothing but the time.
pub(super) fn time_length(form: LogForm) -> usize {
    match form {
        LogForm::Text => timestamp::LENGTH,
        // {"time":"2025-03-07T14:05:09.123Z"
        LogForm::Json => 34,
    }
}

/// Appends a member with a text.
pub(super) fn member(line: &mut Vec<u8>, name: &str, value: &str) {
    key(line, name);
    // Writing to memory cannot fail, and texts are always JSON.
    serde_json::to_writer(line, value).ok();
}

/// Appends a member that is JSON already: a number, or whatever a library has rendered.
pub(super) fn raw_member(line: &mut Vec<u8>, name: &str, value: &str) {
    key(line, name);
    line.extend_from_slice(value.as_bytes());
}

/// Ends a line of JSON.
pub(super) fn finish(line: &mut Vec<u8>) {
    line.push(b'}');
}

fn key(line: &mut Vec<u8>, name: &str) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

/// The same line once more, at the present time, with how often it came meanwhile.
pub(super) fn repeated(line: &[u8], form: LogForm, times: u64, seconds: u64) -> Vec<u8> {
    let rest = line.get(time_length(form)..).unwrap_or_default();
    let mut again = Vec::with_capacity(line.len() + 64);
    match form {
        LogForm::Text => {
            timestamp::append(&mut again);
            let first = rest.split(|byte| *byte == b'\n').next().unwrap_or(rest);
            again.extend_from_slice(first);
            let mut note = String::new();
            let _ = write!(note, " (repeated {times} times within {seconds} s)");
            again.extend_from_slice(note.as_bytes());
        }
        LogForm::Json => {
            again.extend_from_slice(b"{\"time\":\"");
            timestamp::append_utc(&mut again);
            again.push(b'"');
            again.extend_from_slice(rest.strip_suffix(b"}").unwrap_or(rest));
            raw_member(&mut again, "repeated", &times.to_string());
            finish(&mut again);
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_one_object_whatever_is_in_it() {
        let mut line = Vec::new();
        start(
            &mut line,
            LogForm::Json,
            "WARN ",
            &["W-1-a_1", "-stderr"],
            "MODEL_LOG",
        );
        member(&mut line, "message", "say \"no\"\n\u{1}\u{2028}");
        raw_member(&mut line, "status", "200");
        finish(&mut line);
        assert!(line.starts_with(b"{\"time\":\""));
        assert_eq!(&line[33..34], b"\"", "{}", String::from_utf8_lossy(&line));
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["thread"], "W-1-a_1-stderr");
        assert_eq!(read["level"], "WARN");
        assert_eq!(read["message"], "say \"no\"\n\u{1}\u{2028}");
        assert_eq!(read["status"], 200);
        let again = repeated(&line, LogForm::Json, 7, 10);
        let read: serde_json::Value = serde_json::from_slice(&again).unwrap();
        assert_eq!(
            (&read["logger"], &read["repeated"]),
            (&"MODEL_LOG".into(), &7.into())
        );
    }

    #[test]
    fn a_repeated_text_keeps_its_first_line() {
        let mut line = Vec::new();
        start(&mut line, LogForm::Text, "WARN ", &["main"], "a::b");
        line.extend_from_slice(b"one\ntwo");
        let again = String::from_utf8(repeated(&line, LogForm::Text, 3, 10)).unwrap();
        assert_eq!(
            &again[23..],
            " [WARN ] main a::b - one (repeated 3 times within 10 s)"
        );
    }
}
