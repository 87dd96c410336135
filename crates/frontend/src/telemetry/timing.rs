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
        let [preprocess, inference, postprocess] = stages.steps_ns;
        part(out, b"receive;dur=", received);
        part(out, b", batch;dur=", stages.batch_wait_ns);
        describe(out, b";desc=\"size ", u64::from(stages.batch_size));
        part(out, b", queue;dur=", stages.queue_ns);
        part(out, b", transport;dur=", stages.transport_ns);
        if preprocess > 0 {
            part(out, b", preprocess;dur=", preprocess);
        }
        if inference > 0 {
            part(out, b", inference;dur=", inference);
        }
        if postprocess > 0 {
            part(out, b", postprocess;dur=", postprocess);
        }
        let in_steps = preprocess + inference + postprocess;
        let handler = stages.handler_ns.saturating_sub(in_steps);
        part(out, b", handler;dur=", handler);
        describe(out, b";desc=\"worker ", stages.worker);
        part(out, b", respond;dur=", answered);
    }
}

/// A time in milliseconds to the microsecond. Lengths that the compiler knows and no `write!`: that
/// would cost a no-op request more than all else that is measured of it.
fn part<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], nanos: u64) {
    let micros = nanos / 1000;
    let digit = |unit: u64| b'0' + (micros / unit % 10) as u8;
    out.extend_from_slice(name);
    append(out, micros / 1000);
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

fn describe<const N: usize>(out: &mut Vec<u8>, what: &[u8; N], number: u64) {
    out.extend_from_slice(what);
    append(out, number);
    out.push(b'"');
}

fn append(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
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
            part(&mut out, b"a=", micros * 1000 + 999);
            let expected = format!("a={}.{:03}", micros / 1000, micros % 1000);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
