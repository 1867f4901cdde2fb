//! Calls counted over a window that slides in ten steps.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::monotonic::nanos;

const STEPS: usize = 10;

/// How many calls there were, and how many of them failed or were slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) bad: u32,
    pub(super) slow: u32,
}

/// The last ten steps, the present one included, and their sum.
#[derive(Debug)]
pub(super) struct Window {
    steps: [Counts; STEPS],
    sum: Counts,
    at: usize,
    ends: Instant,
    step: Duration,
}

impl Window {
    /// An empty window as long as `length`, whose first step begins `now`.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        // A step of nothing would never end.
        let step = (length / 10).max(Duration::from_millis(1));
        Self {
            steps: [Counts::default(); STEPS],
            sum: Counts::default(),
            at: 0,
            ends: now + step,
            step,
        }
    }

    /// Counts one call that ended `now`.
    pub(super) fn record(&mut self, now: Instant, bad: bool, slow: bool) {
        self.slide(now);
        for counts in [&mut self.steps[self.at], &mut self.sum] {
            counts.calls += 1;
            counts.bad += u32::from(bad);
            counts.slow += u32::from(slow);
        }
    }

    /// What was counted up to the last record.
    pub(super) fn sum(&self) -> Counts {
        self.sum
    }

    fn slide(&mut self, now: Instant) {
        if now < self.ends {
            return;
        }
        let step = nanos(self.step);
        let over = nanos(now - self.ends) / step + 1;
        for _ in 0..over.min(STEPS as u64) {
            self.at = (self.at + 1) % STEPS;
            let old = std::mem::take(&mut self.steps[self.at]);
            self.sum.calls -= old.calls;
            self.sum.bad -= old.bad;
            self.sum.slow -= old.slow;
        }
        self.ends += Duration::from_nanos(over * step);
    }
}
