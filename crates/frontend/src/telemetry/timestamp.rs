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
}

/// Appends the present time.
pub(super) fn append(line: &mut Vec<u8>) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    append_at(line, second, since.subsec_millis());
}

fn append_at(line: &mut Vec<u8>, second: i64, milliseconds: u32) {
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            *text = render(second, TimeZone::system());
            *last = second;
        }
        line.extend_from_slice(text.as_bytes());
    });
    let digit = |value: u32| b'0' + (value % 10) as u8;
    line.extend_from_slice(&[
        b',',
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
        append_at(&mut line, 1_741_356_309, 7);
        let text = String::from_utf8(line).unwrap();
        assert!(text.ends_with(":09,007"), "{text}");
        assert_eq!(text.len(), LENGTH);
    }
}
