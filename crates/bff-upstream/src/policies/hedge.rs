//! Hedging: when a read is slower than nearly all others, a second attempt runs in parallel. It uses the retry budget.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::policies::latency::{CachedQuantile, Latency};
use bff_config::Ratio;

/// The delay between the first attempt and its hedge.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The latency quantile after which the hedge is sent. Default 0.95: one call in twenty is hedged, which uses half
    /// of the retry budget.
    pub quantile: Ratio,
    /// The minimum delay. Default 5ms: below it a second attempt costs more than it saves.
    #[serde(with = "bff_config::duration")]
    pub min_delay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            quantile: Ratio::percent(95),
            min_delay: Duration::from_millis(5),
        }
    }
}

/// The hedging delay of one backend.
#[derive(Debug)]
pub struct Hedge {
    min_delay: Duration,
    quantile: CachedQuantile,
}

impl Hedge {
    /// Creates the policy without latency data.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            min_delay: config.min_delay,
            quantile: CachedQuantile::new(config.quantile, now),
        }
    }

    /// The delay after which a hedge is sent. `None` (no hedge) while there are too few latency samples.
    pub fn delay(&self, latency: &Latency, now: Instant) -> Option<Duration> {
        let quantile = self.quantile.get(latency, now)?;
        Some(quantile.max(self.min_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::latency;
    use proptest::prelude::*;

    fn with_latencies(times: impl IntoIterator<Item = u64>) -> (Latency, Hedge, Instant) {
        let now = Instant::now();
        let latency = Latency::new(&latency::Config::default(), now);
        for millis in times {
            latency.record(now, Duration::from_millis(millis));
        }
        (latency, Hedge::new(&Config::default(), now), now)
    }

    #[test]
    fn the_delay_is_the_95th_percentile() {
        let (latency, hedge, now) = with_latencies((0..100).map(|n| if n < 95 { 20 } else { 900 }));
        let delay = hedge.delay(&latency, now).unwrap().as_millis();
        assert!((20..=22).contains(&delay), "{delay}");
    }

    #[test]
    fn the_delay_is_at_least_five_milliseconds() {
        let (latency, hedge, now) = with_latencies([1; 100]);
        assert_eq!(hedge.delay(&latency, now), Some(Duration::from_millis(5)));
    }

    #[test]
    fn the_delay_is_recomputed_every_100_ms() {
        let (latency, hedge, now) = with_latencies([20; 49]);
        assert_eq!(hedge.delay(&latency, now), None);
        latency.record(now, Duration::from_millis(20));
        let later = now + Duration::from_millis(99);
        assert_eq!(hedge.delay(&latency, later), None);
        let later = now + Duration::from_millis(100);
        assert!(hedge.delay(&latency, later).is_some());
    }

    proptest! {
        #[test]
        fn about_one_in_twenty_is_hedged(times in prop::collection::vec(5_u64..2000, 100..400)) {
            let count = times.len();
            let (latency, hedge, now) = with_latencies(times.clone());
            let delay = hedge.delay(&latency, now).unwrap();
            let later = times.iter().filter(|t| Duration::from_millis(**t) > delay).count();
            prop_assert!(later * 20 <= count);
        }
    }
}
