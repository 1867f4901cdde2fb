//! Adaptive limits: a limit that follows the health of the responses to its requests. A pure state machine.
//!
//! Time is divided into windows. A window with enough responses and too many failures halves the limit, down to a
//! minimum fraction. Every other window, even one without requests, adds a fixed step, so the limit recovers by itself.
//! Each replica follows its own responses.

/// The whole limit. Fractions are whole thousandths, so that all arithmetic is exact.
pub const FULL_FRACTION: u64 = 1000;

/// The parameters of an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveRule {
    /// The length of a window, in microseconds.
    pub window: u64,
    /// Failures per thousand responses from which a window halves the limit.
    pub failure_ratio: u64,
    /// A window with fewer responses never halves the limit.
    pub min_samples: u64,
    /// The smallest fraction of the limit, in thousandths.
    pub min_fraction: u64,
    /// The fraction that a healthy window adds, in thousandths.
    pub recovery_step: u64,
}

/// The state of an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    fraction: u64,
    window_start: u64,
    responses: u64,
    failures: u64,
}

impl Default for Health {
    /// Starts with the full limit.
    fn default() -> Self {
        Self {
            fraction: FULL_FRACTION,
            window_start: 0,
            responses: 0,
            failures: 0,
        }
    }
}

impl AdaptiveRule {
    /// The fraction of the limit that applies now, in thousandths.
    pub fn fraction(&self, health: &mut Health, now: u64) -> u64 {
        let windows = now.saturating_sub(health.window_start) / self.window;
        if windows == 0 {
            return health.fraction;
        }
        let enough = health.responses >= self.min_samples && health.failures > 0;
        if enough && health.failures * FULL_FRACTION >= self.failure_ratio * health.responses {
            health.fraction = (health.fraction / 2).max(self.min_fraction);
        } else {
            health.fraction = (health.fraction + self.recovery_step).min(FULL_FRACTION);
        }
        // The windows after that one had no responses.
        let recovered = self.recovery_step.saturating_mul(windows - 1);
        *health = Health {
            fraction: health.fraction.saturating_add(recovered).min(FULL_FRACTION),
            window_start: health.window_start + windows * self.window,
            responses: 0,
            failures: 0,
        };
        health.fraction
    }

    /// Records one response.
    pub fn record_outcome(&self, health: &mut Health, now: u64, failed: bool) {
        self.fraction(health, now);
        health.responses += 1;
        health.failures += u64::from(failed);
    }
}
