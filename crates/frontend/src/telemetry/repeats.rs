//! Messages that come again and again: a few are written, the rest are counted.
//!
//! A message is a line without its time. Within ten seconds of its first appearance it is written
//! as often as the limit allows; when they are over, one line says how often it came beyond that.
//! Only the writer's thread is here, so that nobody else pays for it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use super::form;
use crate::config::LogForm;

/// How long a message is counted from its first appearance.
const WINDOW: Duration = Duration::from_secs(10);

/// Messages that are watched at a time; others are written, whatever they are.
const WATCHED: usize = 1024;

/// Messages longer than this are all taken for different ones.
const LONGEST: usize = 16 * 1024;

#[derive(Debug)]
struct Seen {
    since: Instant,
    written: u32,
    left_out: u64,
    /// One of those that were left out.
    line: Vec<u8>,
}

/// What has been written lately.
#[derive(Debug)]
pub(super) struct Repeats {
    /// How often a message is written; 0: always.
    limit: u32,
    form: LogForm,
    keys: RandomState,
    seen: HashMap<u64, Seen>,
    /// When the oldest message has been counted for long enough.
    next_look: Option<Instant>,
}

impl Repeats {
    pub(super) fn new(limit: u32, form: LogForm) -> Self {
        Self {
            limit,
            form,
            keys: RandomState::new(),
            seen: HashMap::new(),
            next_look: None,
        }
    }

    /// Whether a line is to be written.
    pub(super) fn admits(&mut self, line: &[u8], now: Instant) -> bool {
        if self.limit == 0 || line.len() > LONGEST {
            return true;
        }
        let key = self.key(line);
        if let Some(seen) = self.seen.get_mut(&key) {
            if seen.written < self.limit {
                seen.written += 1;
                return true;
            }
            if seen.left_out == 0 {
                seen.line.extend_from_slice(line);
            }
            seen.left_out += 1;
            return false;
        }
        if self.seen.len() < WATCHED {
            let seen = Seen {
                since: now,
                written: 1,
                left_out: 0,
                line: Vec::new(),
            };
            self.seen.insert(key, seen);
            self.next_look.get_or_insert(now + WINDOW);
        }
        true
    }

    /// Forgets what is older than the window; hands on a line for each message that was left out.
    /// At the end of the logs all of them are.
    pub(super) fn settle(&mut self, now: Instant, is_last: bool, mut then: impl FnMut(&[u8])) {
        if !is_last && self.next_look.is_none_or(|at| now < at) {
            return;
        }
        let form = self.form;
        self.seen.retain(|_, seen| {
            let is_over = is_last || now.saturating_duration_since(seen.since) >= WINDOW;
            if is_over && seen.left_out > 0 {
                then(&form::repeated(
                    &seen.line,
                    form,
                    seen.left_out,
                    WINDOW.as_secs(),
                ));
            }
            !is_over
        });
        let oldest = self.seen.values().map(|seen| seen.since).min();
        self.next_look = oldest.map(|since| since + WINDOW);
    }

    /// A text of several lines repeats the time on each of them.
    fn key(&self, line: &[u8]) -> u64 {
        let time = form::time_length(self.form);
        let mut hasher = self.keys.build_hasher();
        for part in line.split(|byte| *byte == b'\n') {
            hasher.write(part.get(time..).unwrap_or(part));
            hasher.write_u8(b'\n');
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: u32, text: &str) -> Vec<u8> {
        format!("2025-03-07T14:05:{second:02},000 [INFO ] t l - {text}").into_bytes()
    }

    fn said(repeats: &mut Repeats, now: Instant, is_last: bool) -> Vec<String> {
        let mut said = Vec::new();
        repeats.settle(now, is_last, |line| {
            said.push(String::from_utf8(line[23..].to_vec()).unwrap());
        });
        said
    }

    #[test]
    fn a_message_is_written_so_often_and_then_counted() {
        let mut repeats = Repeats::new(2, LogForm::Text);
        let start = Instant::now();
        let admitted = |repeats: &mut Repeats, text| {
            (0..5)
                .filter(|second| repeats.admits(&line(*second, text), start))
                .count()
        };
        assert_eq!(admitted(&mut repeats, "a"), 2);
        assert_eq!(admitted(&mut repeats, "b\n2025-03-07T14:05:01,000 c"), 2);
        assert_eq!(said(&mut repeats, start + WINDOW / 2, false), [""; 0]);
        let mut lines = said(&mut repeats, start + WINDOW, false);
        lines.sort();
        assert_eq!(
            lines,
            [
                " [INFO ] t l - a (repeated 3 times within 10 s)",
                " [INFO ] t l - b (repeated 3 times within 10 s)"
            ]
        );
        assert!(repeats.admits(&line(20, "a"), start + WINDOW));
        assert!(repeats.seen.len() == 1);
    }

    #[test]
    fn what_is_left_out_is_said_at_the_end() {
        let mut repeats = Repeats::new(1, LogForm::Text);
        let now = Instant::now();
        assert!(repeats.admits(&line(0, "a"), now));
        assert!(!repeats.admits(&line(1, "a"), now));
        assert_eq!(said(&mut repeats, now, true).len(), 1);
    }

    #[test]
    fn different_messages_take_no_memory_without_end() {
        let mut repeats = Repeats::new(1, LogForm::Text);
        let now = Instant::now();
        for number in 0..3 * WATCHED {
            assert!(repeats.admits(&line(0, &number.to_string()), now));
        }
        assert_eq!(repeats.seen.len(), WATCHED);
        let mut unlimited = Repeats::new(0, LogForm::Text);
        assert!((0..9).all(|_| unlimited.admits(&line(0, "a"), now)));
    }
}
