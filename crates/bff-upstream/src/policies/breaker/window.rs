//! A time-based sliding window that counts calls in ten steps.

use std::time::Duration;

use tokio::time::Instant;

use crate::policies::latency::nanos;

const STEPS: usize = 10;

/// The number of calls, and how many of them failed or were slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

/// The last ten steps, including the current one, and their sum.
#[derive(Debug)]
pub(super) struct Window {
    steps: [Counts; STEPS],
    sum: Counts,
    current: usize,
    step_end: Instant,
    step: Duration,
}

impl Window {
    /// Creates an empty window. Its first step begins `now`.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        // A step of zero length would divide by zero in `slide`.
        let step = (length / 10).max(Duration::from_millis(1));
        Self {
            steps: [Counts::default(); STEPS],
            sum: Counts::default(),
            current: 0,
            step_end: now + step,
            step,
        }
    }

    /// Records one call that ended `now`.
    pub(super) fn record(&mut self, now: Instant, failed: bool, slow: bool) {
        self.slide(now);
        for counts in [&mut self.steps[self.current], &mut self.sum] {
            counts.calls += 1;
            counts.failures += u32::from(failed);
            counts.slow += u32::from(slow);
        }
    }

    /// The counts of the window as of the last record.
    pub(super) fn sum(&self) -> Counts {
        self.sum
    }

    fn slide(&mut self, now: Instant) {
        if now < self.step_end {
            return;
        }
        let step = nanos(self.step);
        let elapsed_steps = nanos(now - self.step_end) / step + 1;
        for _ in 0..elapsed_steps.min(STEPS as u64) {
            self.current = (self.current + 1) % STEPS;
            let old = std::mem::take(&mut self.steps[self.current]);
            self.sum.calls -= old.calls;
            self.sum.failures -= old.failures;
            self.sum.slow -= old.slow;
        }
        self.step_end += Duration::from_nanos(elapsed_steps * step);
    }
}
