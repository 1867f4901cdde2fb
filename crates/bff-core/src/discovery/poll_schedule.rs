//! When a source is asked again: by its TTL while it answers, ever later while it does not.

use std::time::Duration;

use super::Config;
use crate::context::Env;

/// How many doublings a wait after failures goes through at most, so that the shift stays in range.
const MAX_DOUBLINGS: u32 = 16;

/// The waits between questions to one source.
#[derive(Debug)]
pub(super) struct PollSchedule {
    min: Duration,
    max: Duration,
    world: Env,
    failures: u32,
}

impl PollSchedule {
    pub(super) fn new(config: &Config, world: Env) -> Self {
        Self {
            min: config.min_interval,
            max: config.max_interval,
            world,
            failures: 0,
        }
    }

    /// The wait after an answer that took `took`: its TTL within bounds, up to a tenth more so that many gateways do
    /// not ask together. A source without TTL, one that blocks until something changes, is asked again at once,
    /// unless it answers faster than the least interval.
    pub(super) fn answered(&mut self, ttl: Option<Duration>, took: Duration) -> Duration {
        self.failures = 0;
        match ttl {
            Some(ttl) => {
                let wait = ttl.clamp(self.min, self.max);
                wait + wait.mul_f64(self.share() / 10.0)
            }
            None => self.min.saturating_sub(took),
        }
    }

    /// The wait after a failure: doubled each time up to the most, of which between half and all is waited.
    pub(super) fn failed(&mut self) -> Duration {
        let doublings = self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let wait = self.min.saturating_mul(1 << doublings).min(self.max);
        wait.mul_f64(f64::midpoint(1.0, self.share()))
    }

    /// Whether the last question failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A random number of [0, 1].
    fn share(&self) -> f64 {
        // The upper 32 bits, because they fit a float without rounding.
        let drawn = u32::try_from(self.world.random() >> 32).unwrap_or(u32::MAX);
        f64::from(drawn) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pace() -> PollSchedule {
        PollSchedule::new(&Config::default(), Env::real())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    proptest! {
        #[test]
        fn a_ttl_is_bounded_and_jittered(ttl in 0_u64..100_000) {
            let wait = pace().answered(Some(seconds(ttl)), seconds(0));
            let bounded = seconds(ttl.clamp(1, 60));
            prop_assert!(bounded <= wait && wait <= bounded.mul_f64(1.1));
        }

        #[test]
        fn waits_after_failures_double_up_to_the_most(failures in 0_u32..100) {
            let mut pace = pace();
            for _ in 0..failures {
                pace.failed();
            }
            let whole = seconds(1 << failures.min(10)).min(seconds(60));
            let wait = pace.failed();
            prop_assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
            pace.answered(None, seconds(0));
            prop_assert!(pace.failed() <= seconds(1));
        }
    }

    #[test]
    fn a_blocking_source_is_asked_again_at_once_but_not_in_a_circle() {
        assert_eq!(pace().answered(None, seconds(30)), Duration::ZERO);
        let quick = Duration::from_millis(300);
        assert_eq!(pace().answered(None, quick), Duration::from_millis(700));
    }
}
