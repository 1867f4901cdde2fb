//! The current latency between two cores of the machine.
//!
//! A hypervisor may move virtual cores. A higher latency makes communication between processes and threads more expensive,
//! so it explains different results of the baseline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{spawn, yield_now};
use std::time::Duration;

use tokio::time::Instant;

use crate::Result;

/// The number of round trips. They take some milliseconds.
const ROUND_TRIPS: u32 = 20_000;
/// The number of polls before a thread yields: both threads may start on the same core.
const POLLS_BEFORE_YIELD: u32 = 10_000;

/// Measures the time in which a cache line moves to another core and back.
pub(crate) fn round_trip() -> Result<Duration> {
    let line = Arc::new(AtomicU32::new(0));
    let other_line = line.clone();
    let other = spawn(move || ping_pong(&other_line, 1));
    let elapsed = ping_pong(&line, 0);
    other.join().map_err(|_| "a thread panicked")?;
    Ok(elapsed / ROUND_TRIPS)
}

/// Increments the counter whenever its value modulo two is `remainder`.
fn ping_pong(line: &AtomicU32, remainder: u32) -> Duration {
    let mut start = Instant::now();
    for turn in 0..ROUND_TRIPS {
        let expected = turn * 2 + remainder;
        let mut polls = 0_u32;
        while line.load(Ordering::Acquire) != expected {
            polls += 1;
            if polls.is_multiple_of(POLLS_BEFORE_YIELD) {
                yield_now();
            }
            std::hint::spin_loop();
        }
        if turn == 0 {
            // The other thread is running now.
            start = Instant::now();
        }
        line.store(expected + 1, Ordering::Release);
    }
    start.elapsed()
}
