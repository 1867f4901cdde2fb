//! When a read has taken longer than nearly all others do, a second attempt races the first; the budget pays.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::latency::{CachedQuantile, Latency};
use crate::config::Ratio;

/// When a second attempt is sent after the first.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The share of answers that come before it. Default 0.95: one call in twenty is hedged, half of what the
    /// budget deposits.
    pub quantile: Ratio,
    /// The least delay. Default 5ms: below it a second attempt costs more than it saves.
    #[serde(with = "crate::config::duration")]
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
    recent: CachedQuantile,
}

impl Hedge {
    /// No delay is known.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            min_delay: config.min_delay,
            recent: CachedQuantile::new(config.quantile, now),
        }
    }

    /// How long to wait for the first attempt before a second is sent; `None`, and no hedge, while too little is
    /// known of the backend.
    pub fn delay(&self, latency: &Latency, now: Instant) -> Option<Duration> {
        let recent = self.recent.get(latency, now)?;
        Some(recent.max(self.min_delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::latency;
    use proptest::prelude::*;

    fn filled(times: impl IntoIterator<Item = u64>) -> (Latency, Hedge, Instant) {
        let now = Instant::now();
        let latency = Latency::new(&latency::Config::default(), now);
        for millis in times {
            latency.record(now, Duration::from_millis(millis));
        }
        (latency, Hedge::new(&Config::default(), now), now)
    }

    #[test]
    fn it_waits_as_long_as_nearly_all_answers_take() {
        let (latency, hedge, now) = filled((0..100).map(|n| if n < 95 { 20 } else { 900 }));
        let delay = hedge.delay(&latency, now).unwrap().as_millis();
        assert!((20..=22).contains(&delay), "{delay}");
    }

    #[test]
    fn a_fast_backend_is_given_its_five_milliseconds() {
        let (latency, hedge, now) = filled([1; 100]);
        assert_eq!(hedge.delay(&latency, now), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_delay_is_worked_out_anew_every_tenth_of_a_second() {
        let (latency, hedge, now) = filled([20; 49]);
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
            let (latency, hedge, now) = filled(times.clone());
            let delay = hedge.delay(&latency, now).unwrap();
            let later = times.iter().filter(|t| Duration::from_millis(**t) > delay).count();
            prop_assert!(later * 20 <= count);
        }
    }
}
