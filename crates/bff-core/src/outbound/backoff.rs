//! How long to wait before the next attempt: exponential with full jitter, never earlier than the backend asks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::monotonic::nanos;

/// How long attempts of one call stand apart.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The longest wait before the first retry; each further one doubles it. Default 25ms: longer than a
    /// hiccup of the network, shorter than a person notices.
    #[serde(with = "crate::config::duration")]
    pub base: Duration,
    /// The longest wait before any retry. Default 250ms: a request that waits longer runs into its deadline.
    #[serde(with = "crate::config::duration")]
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
    /// How long to wait before the retry after `retries` others, or `None` when that leaves no time.
    ///
    /// Full jitter: anything between nothing and the bound, because callers that failed together would come
    /// back together. It is added to what the backend asked for, for the same reason.
    pub fn wait(
        &self,
        retries: u32,
        random: u64,
        retry_after: Option<Duration>,
        time_left: Duration,
    ) -> Option<Duration> {
        let bound = self.base.saturating_mul(1 << retries.min(20)).min(self.cap);
        let asked = retry_after.unwrap_or_default();
        let wait = asked.saturating_add(up_to(bound, random));
        fits(wait, time_left).then_some(wait)
    }
}

/// Whether something is left after the wait to make an attempt in.
pub fn fits(wait: Duration, time_left: Duration) -> bool {
    wait < time_left
}

/// A duration between nothing and `bound`, both included, as `random` has it.
pub(super) fn up_to(bound: Duration, random: u64) -> Duration {
    let scaled = (u128::from(nanos(bound)) * u128::from(random)) >> 64;
    // What is left of a 64-bit number scaled down fits.
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
        let longest = |retries| config.wait(retries, u64::MAX, None, LONG).unwrap();
        for (retries, bound) in [(0, 25), (1, 50), (2, 100), (3, 200), (4, 250), (40, 250)] {
            let missing = Duration::from_millis(bound).saturating_sub(longest(retries));
            assert!(missing <= Duration::from_nanos(1), "{retries}: {missing:?}");
        }
        assert_eq!(config.wait(3, 0, None, LONG), Some(Duration::ZERO));
    }

    #[test]
    fn jitter_uses_the_whole_range_evenly() {
        let config = Config::default();
        let waits = (0..1000_u64).map(|n| config.wait(0, n * (u64::MAX / 1000), None, LONG));
        let early = waits.filter(|w| w.unwrap() < Duration::from_micros(6250));
        assert!((240..=260).contains(&early.count()));
    }

    proptest! {
        #[test]
        fn it_is_never_earlier_than_asked_and_never_past_the_time_left(
            retries in 0_u32..50, random: u64, asked in 0_u64..3000, left in 0_u64..3000,
        ) {
            let config = Config::default();
            let (asked, left) = (Duration::from_millis(asked), Duration::from_millis(left));
            match config.wait(retries, random, Some(asked), left) {
                Some(wait) => {
                    prop_assert!(wait >= asked);
                    prop_assert!(wait < left);
                    prop_assert!(wait <= asked + config.cap);
                }
                // Given up only where the wait that was drawn does not fit.
                None => prop_assert!(config.wait(retries, random, Some(asked), LONG).unwrap() >= left),
            }
        }
    }
}
