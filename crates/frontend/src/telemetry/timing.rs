//! The header `Server-Timing`: where the time of a prediction went, in parts that add up.
//!
//! # Source
//!
//! <https://www.w3.org/TR/server-timing/>; durations are in milliseconds.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::Stages;

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
        let steps = [
            ("preprocess", stages.preprocess),
            ("inference", stages.inference),
            ("postprocess", stages.postprocess),
        ];
        let in_steps: Duration = steps.iter().map(|(_, time)| time).sum();
        let received = stages.admitted.saturating_duration_since(self.started);
        let answered = now.saturating_duration_since(stages.replied());
        part(out, "receive", received);
        part(out, ", batch", stages.batch_wait);
        // Writing to memory cannot fail.
        let _ = write!(out, ";desc=\"size {}\"", stages.batch_size);
        part(out, ", queue", stages.queue);
        part(out, ", transport", stages.transport);
        for (name, time) in steps.into_iter().filter(|(_, time)| !time.is_zero()) {
            out.extend_from_slice(b", ");
            part(out, name, time);
        }
        part(out, ", handler", stages.handler.saturating_sub(in_steps));
        let _ = write!(out, ";desc=\"worker {}\"", stages.worker);
        part(out, ", respond", answered);
    }
}

fn part(out: &mut Vec<u8>, name: &str, time: Duration) {
    let micros = time.as_micros();
    let _ = write!(out, "{name};dur={}.{:03}", micros / 1000, micros % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up() {
        let ms = Duration::from_millis;
        let started = Instant::now();
        let stages = Stages {
            admitted: started + ms(1),
            batch_wait: ms(2),
            queue: ms(3),
            transport: Duration::from_micros(4004),
            handler: ms(50),
            preprocess: ms(5),
            inference: ms(20),
            postprocess: ms(0),
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
}
