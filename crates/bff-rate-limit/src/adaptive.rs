//! A limit that follows the health of what answers behind it: a pure state machine.
//!
//! Time is cut into windows. After one in which enough requests were answered and too many of them by a failure, half of
//! what held is left of the limit, but never less than a least share. Every other window, and one in which nobody asked,
//! gives a step of the whole back, so that it recovers by itself. Each replica follows what it sees itself.

/// All of a limit. Shares are whole thousandths, so that all arithmetic is exact.
pub const WHOLE: u64 = 1000;

/// How a limit follows health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// The length of a window, in microseconds.
    pub window: u64,
    /// How many of a thousand answers must be failures.
    pub failing: u64,
    /// How few answers say nothing.
    pub minimum: u64,
    /// What is left at least.
    pub least: u64,
    /// What a window gives back that is not failing.
    pub step: u64,
}

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    share: u64,
    /// When the window began.
    begins: u64,
    answers: u64,
    failures: u64,
}

impl Default for Health {
    /// All is well until something is known.
    fn default() -> Self {
        Self {
            share: WHOLE,
            begins: 0,
            answers: 0,
            failures: 0,
        }
    }
}

impl Adaptive {
    /// How much of the limit holds at this time.
    pub fn share(&self, health: &mut Health, now: u64) -> u64 {
        let windows = now.saturating_sub(health.begins) / self.window;
        if windows == 0 {
            return health.share;
        }
        let enough = health.answers >= self.minimum && health.failures > 0;
        if enough && health.failures * WHOLE >= self.failing * health.answers {
            health.share = (health.share / 2).max(self.least);
        } else {
            health.share = (health.share + self.step).min(WHOLE);
        }
        // In the windows since nobody was answered.
        let back = self.step.saturating_mul(windows - 1);
        *health = Health {
            share: health.share.saturating_add(back).min(WHOLE),
            begins: health.begins + windows * self.window,
            answers: 0,
            failures: 0,
        };
        health.share
    }

    /// Notes one answer.
    pub fn answered(&self, health: &mut Health, now: u64, failed: bool) {
        self.share(health, now);
        health.answers += 1;
        health.failures += u64::from(failed);
    }
}
