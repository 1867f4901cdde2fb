//! The delay before a retry: exponential backoff with full jitter, never shorter than the backend's `Retry-After`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policies::latency::nanos;

/// The delay between the attempts of one call.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The maximum delay before the first retry. Each further retry doubles it. Default 25ms: longer than a
    /// short network disturbance, too short for a person to notice.
    #[serde(with = "bff_config::duration")]
    pub base: Duration,
    /// The maximum delay before any retry. Default 250ms: with longer delays requests exceed their deadline.
    #[serde(with = "bff_config::duration")]
    pub cap: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            cap: Duration::from_millis(250),
        }
    }
}

impl Config {
    /// The delay before the next retry after `retries` earlier ones. `None` if no time would be left for an attempt.
    ///
    /// Full jitter draws the delay between zero and the bound: otherwise callers that failed together would retry
    /// together. For the same reason the jitter is added to the backend's `retry_after`.
    pub fn delay(
        &self,
        retries: u32,
        random: u64,
        retry_after: Option<Duration>,
        time_left: Duration,
    ) -> Option<Duration> {
        let bound = self.base.saturating_mul(1 << retries.min(20)).min(self.cap);
        let min_delay = retry_after.unwrap_or_default();
        let delay = min_delay.saturating_add(random_below(bound, random));
        fits(delay, time_left).then_some(delay)
    }
}

/// Whether time is left for an attempt after the delay.
pub fn fits(delay: Duration, time_left: Duration) -> bool {
    delay < time_left
}

/// Scales `random` to a duration from zero to `bound`.
pub(super) fn random_below(bound: Duration, random: u64) -> Duration {
    let scaled = (u128::from(nanos(bound)) * u128::from(random)) >> 64;
    // The product of two 64-bit numbers, shifted by 64 bits, fits.
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn the_bound_doubles_up_to_its_cap() {
        let config = Config::default();
        let max_delay = |retries| config.delay(retries, u64::MAX, None, LONG).unwrap();
        for (retries, bound) in [(0, 25), (1, 50), (2, 100), (3, 200), (4, 250), (40, 250)] {
            let missing = Duration::from_millis(bound).saturating_sub(max_delay(retries));
            assert!(missing <= Duration::from_nanos(1), "{retries}: {missing:?}");
        }
        assert_eq!(config.delay(3, 0, None, LONG), Some(Duration::ZERO));
    }

    #[test]
    fn jitter_uses_the_whole_range_evenly() {
        let config = Config::default();
        let delays = (0..1000_u64).map(|n| config.delay(0, n * (u64::MAX / 1000), None, LONG));
        let short = delays.filter(|d| d.unwrap() < Duration::from_micros(6250));
        assert!((240..=260).contains(&short.count()));
    }

    proptest! {
        #[test]
        fn the_delay_respects_retry_after_and_the_time_left(
            retries in 0_u32..50, random: u64, retry_after in 0_u64..3000, left in 0_u64..3000,
        ) {
            let config = Config::default();
            let min = Duration::from_millis(retry_after);
            let left = Duration::from_millis(left);
            match config.delay(retries, random, Some(min), left) {
                Some(delay) => {
                    prop_assert!(delay >= min);
                    prop_assert!(delay < left);
                    prop_assert!(delay <= min + config.cap);
                }
                // The drawn delay does not fit.
                None => prop_assert!(config.delay(retries, random, Some(min), LONG).unwrap() >= left),
            }
        }
    }
}
