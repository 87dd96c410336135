//! The header `Server-Timing`: where the time of a prediction went, in parts that add up.
//!
//! # Source
//!
//! <https://www.w3.org/TR/server-timing/>; durations are in milliseconds.

use std::time::Instant;

use super::{Stages, nanos_between};

/// As long as the value usually is.
const USUAL_LENGTH: usize = 256;

/// What the header of one answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTiming {
    /// When the head of the request had been read.
    pub started: Instant,
    /// What happened after its body had been read.
    pub stages: Stages,
}

impl ServerTiming {
    /// Appends the value of the header for an answer that is written at `now`.
    pub fn write(&self, out: &mut Vec<u8>, now: Instant) {
        let stages = &self.stages;
        out.reserve(USUAL_LENGTH);
        let received = nanos_between(self.started, stages.admitted);
        let answered = nanos_between(stages.replied(), now);
        part(out, "receive", received);
        part(out, ", batch", stages.batch_wait_ns);
        describe(out, ";desc=\"size ", u64::from(stages.batch_size));
        part(out, ", queue", stages.queue_ns);
        part(out, ", transport", stages.transport_ns);
        for (name, time) in Stages::STEPS.into_iter().zip(stages.steps_ns) {
            if time > 0 {
                out.extend_from_slice(b", ");
                part(out, name, time);
            }
        }
        let in_steps: u64 = stages.steps_ns.iter().sum();
        part(out, ", handler", stages.handler_ns.saturating_sub(in_steps));
        describe(out, ";desc=\"worker ", stages.worker);
        part(out, ", respond", answered);
    }
}

/// Milliseconds to the microsecond, without the machinery of `write!`, which would cost a no-op
/// request more than all else that is measured of it.
fn part(out: &mut Vec<u8>, name: &str, nanos: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b";dur=");
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(nanos / 1000).as_bytes();
    match digits {
        [one] => out.extend_from_slice(&[b'0', b'.', b'0', b'0', *one]),
        [one, two] => out.extend_from_slice(&[b'0', b'.', b'0', *one, *two]),
        [one, two, three] => out.extend_from_slice(&[b'0', b'.', *one, *two, *three]),
        _ => {
            let (millis, fraction) = digits.split_at(digits.len() - 3);
            out.extend_from_slice(millis);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

fn describe(out: &mut Vec<u8>, what: &str, number: u64) {
    out.extend_from_slice(what.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_parts_add_up() {
        const MS: u64 = 1_000_000;
        let ms = Duration::from_millis;
        let started = Instant::now();
        let stages = Stages {
            admitted: started + ms(1),
            batch_wait_ns: 2 * MS,
            queue_ns: 3 * MS,
            transport_ns: 4_004_000,
            handler_ns: 50 * MS,
            steps_ns: [5 * MS, 20 * MS, 0],
            batch_size: 3,
            worker: 9001,
        };
        let mut out = Vec::new();
        let timing = ServerTiming { started, stages };
        timing.write(&mut out, stages.replied() + ms(6));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "receive;dur=1.000, batch;dur=2.000;desc=\"size 3\", queue;dur=3.000, \
             transport;dur=4.004, preprocess;dur=5.000, inference;dur=20.000, \
             handler;dur=25.000;desc=\"worker 9001\", respond;dur=6.000"
        );
    }

    #[test]
    fn numbers_are_as_usual() {
        for micros in [
            0, 7, 10, 99, 100, 999, 1000, 1001, 12_345, 1_000_000, 98_765_432,
        ] {
            let mut out = Vec::new();
            part(&mut out, "a", micros * 1000 + 999);
            let expected = format!("a;dur={}.{:03}", micros / 1000, micros % 1000);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
