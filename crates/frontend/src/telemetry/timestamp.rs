//! Local time as log lines begin with it: `2025-03-07T14:05:09,123`.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Characters of a time stamp.
pub(super) const LENGTH: usize = 23;

thread_local! {
    /// The last second that this thread wrote, and its text: rendering one takes longer than the
    /// rest of a line.
    static LAST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    /// The same in UTC.
    static LAST_UTC: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Appends the present time.
pub(super) fn append(line: &mut Vec<u8>) {
    let (second, milliseconds) = now();
    LAST.with_borrow_mut(|last| append_second(line, last, second, TimeZone::system));
    append_milliseconds(line, b',', milliseconds);
}

/// Appends the present time as RFC 3339 has it, in UTC: `2025-03-07T14:05:09.123Z`.
pub(super) fn append_utc(line: &mut Vec<u8>) {
    let (second, milliseconds) = now();
    LAST_UTC.with_borrow_mut(|last| append_second(line, last, second, || TimeZone::UTC));
    append_milliseconds(line, b'.', milliseconds);
    line.push(b'Z');
}

fn now() -> (i64, u32) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (second, since.subsec_millis())
}

fn append_second(
    line: &mut Vec<u8>,
    (last, text): &mut (i64, String),
    second: i64,
    zone: impl FnOnce() -> TimeZone,
) {
    if *last != second {
        *text = render(second, zone());
        *last = second;
    }
    line.extend_from_slice(text.as_bytes());
}

fn append_milliseconds(line: &mut Vec<u8>, separator: u8, milliseconds: u32) {
    let digit = |value: u32| b'0' + (value % 10) as u8;
    line.extend_from_slice(&[
        separator,
        digit(milliseconds / 100),
        digit(milliseconds / 10),
        digit(milliseconds),
    ]);
}

fn render(second: i64, zone: TimeZone) -> String {
    let time = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(zone)
        .strftime("%Y-%m-%dT%H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_look_like_those_of_the_original() {
        assert_eq!(render(1_741_356_309, TimeZone::UTC), "2025-03-07T14:05:09");
        let mut line = Vec::new();
        let mut last = (0, String::new());
        append_second(&mut line, &mut last, 1_741_356_309, || TimeZone::UTC);
        append_milliseconds(&mut line, b',', 7);
        assert_eq!(line, b"2025-03-07T14:05:09,007");
        assert_eq!(line.len(), LENGTH);
        let mut line = Vec::new();
        append_utc(&mut line);
        let text = String::from_utf8(line).unwrap();
        assert!(
            text.parse::<Timestamp>().is_ok() && text.len() == LENGTH + 1,
            "{text}"
        );
    }
}
