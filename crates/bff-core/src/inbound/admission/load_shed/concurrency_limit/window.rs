//! One measurement of how long answers take, and of how many requests there were.

use std::time::Duration;

use tokio::time::Instant;

/// A window with fewer answers says nothing and goes on.
const MIN_SAMPLES: u32 = 10;

/// What is being measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) began: Instant,
    pub(super) answers: u32,
    pub(super) lost: u32,
    /// The time all answers took together, in seconds.
    pub(super) sum: f64,
    /// How many were in flight whenever one ended, summed up.
    pub(super) in_flight: u64,
    pub(super) refused: bool,
}

/// A window that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// What an answer took, in seconds.
    pub(super) mean: f64,
    /// How many were in flight on average.
    pub(super) used: f64,
    pub(super) lost: f64,
    pub(super) refused: bool,
}

impl Window {
    /// Nothing measured yet.
    pub(super) fn open(now: Instant) -> Self {
        Self {
            began: now,
            answers: 0,
            lost: 0,
            sum: 0.0,
            in_flight: 0,
            refused: false,
        }
    }

    /// What was measured, if that was long enough to say something.
    pub(super) fn over(&self, now: Instant, least: Duration) -> Option<Measured> {
        let lasted = now.saturating_duration_since(self.began).as_secs_f64();
        let mean = self.sum / f64::from(self.answers.max(1));
        let enough = self.answers >= MIN_SAMPLES && lasted > 0.0;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a window's sum is far from 2^52"
        )]
        let in_flight = self.in_flight as f64;
        (enough && lasted >= least.as_secs_f64().max(mean)).then(|| Measured {
            mean,
            used: in_flight / f64::from(self.answers),
            lost: f64::from(self.lost) / f64::from(self.answers),
            refused: self.refused,
        })
    }
}
