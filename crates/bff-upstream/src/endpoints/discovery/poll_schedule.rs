//! The delay between queries to a source: its TTL after a success, an exponential backoff after failures.

use std::time::Duration;

use super::config::Config;
use bff_context::context::Env;

/// The maximum number of doublings of the backoff, so that the shift stays in range.
const MAX_DOUBLINGS: u32 = 16;

/// The schedule of queries to one source.
#[derive(Debug)]
pub(super) struct PollSchedule {
    min: Duration,
    max: Duration,
    env: Env,
    failures: u32,
}

impl PollSchedule {
    pub(super) fn new(config: &Config, env: Env) -> Self {
        Self {
            min: config.min_interval,
            max: config.max_interval,
            env,
            failures: 0,
        }
    }

    /// The delay after a successful query: the TTL, clamped to the configured interval.
    ///
    /// Jitter adds up to a tenth, so that many gateways do not query together. A source without a TTL uses blocking
    /// queries. It is queried again at once, but not before `min_interval` has passed since the last query.
    pub(super) fn delay_after_success(
        &mut self,
        ttl: Option<Duration>,
        elapsed: Duration,
    ) -> Duration {
        self.failures = 0;
        match ttl {
            Some(ttl) => {
                let delay = ttl.clamp(self.min, self.max);
                delay + delay.mul_f64(self.random_fraction() / 10.0)
            }
            None => self.min.saturating_sub(elapsed),
        }
    }

    /// The delay after a failure: it doubles each time up to the maximum. Jitter takes off up to a half.
    pub(super) fn delay_after_failure(&mut self) -> Duration {
        let doublings = self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let delay = self.min.saturating_mul(1 << doublings).min(self.max);
        delay.mul_f64(f64::midpoint(1.0, self.random_fraction()))
    }

    /// Whether the last query failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A random number in [0, 1].
    fn random_fraction(&self) -> f64 {
        // The upper 32 bits fit in an `f64` without rounding.
        let random = u32::try_from(self.env.random() >> 32).unwrap_or(u32::MAX);
        f64::from(random) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule() -> PollSchedule {
        PollSchedule::new(&Config::default(), Env::real())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    proptest! {
        #[test]
        fn a_ttl_is_clamped_and_jittered(ttl in 0_u64..100_000) {
            let delay = schedule().delay_after_success(Some(seconds(ttl)), seconds(0));
            let clamped = seconds(ttl.clamp(1, 60));
            prop_assert!(clamped <= delay && delay <= clamped.mul_f64(1.1));
        }

        #[test]
        fn delays_after_failures_double_up_to_the_maximum(failures in 0_u32..100) {
            let mut schedule = schedule();
            for _ in 0..failures {
                schedule.delay_after_failure();
            }
            let max = seconds(1 << failures.min(10)).min(seconds(60));
            let delay = schedule.delay_after_failure();
            prop_assert!(max / 2 <= delay && delay <= max, "{delay:?} of {max:?}");
            schedule.delay_after_success(None, seconds(0));
            prop_assert!(schedule.delay_after_failure() <= seconds(1));
        }
    }

    #[test]
    fn a_source_with_blocking_queries_is_queried_again_after_min_interval() {
        assert_eq!(
            schedule().delay_after_success(None, seconds(30)),
            Duration::ZERO
        );
        let quick = Duration::from_millis(300);
        assert_eq!(
            schedule().delay_after_success(None, quick),
            Duration::from_millis(700)
        );
    }
}
