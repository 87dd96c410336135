//! The clock that server and workers share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment that is the same for all processes of a machine; the clock of
/// [`Instant`](std::time::Instant). No system call where the kernel lets processes read it.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::monotonic_ns;
    use std::time::Instant;

    #[test]
    fn it_runs_as_instants_do() {
        let (before, begun) = (monotonic_ns(), Instant::now());
        let mut after = before;
        while begun.elapsed().as_millis() < 3 {
            after = monotonic_ns();
        }
        assert!((1_000_000..60_000_000_000).contains(&(after - before)));
    }
}
