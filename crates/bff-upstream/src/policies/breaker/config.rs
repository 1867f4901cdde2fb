//! The settings of the circuit breaker.

use std::num::NonZeroU32;
use std::time::Duration;

use bff_config::Ratio;
use serde::{Deserialize, Serialize};

/// The settings of one backend's circuit breaker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The length of the sliding window that counts calls, in ten steps. Default 10s: long enough for meaningful
    /// rates, short enough to react during an outage.
    #[serde(with = "bff_config::duration::some")]
    pub window: Duration,
    /// The minimum number of calls in the window before its rates count. Default 20: with fewer calls, a few random
    /// failures look like an outage.
    pub min_calls: NonZeroU32,
    /// The failure rate that opens the breaker. Default 0.5: retries and cached data absorb a lower rate.
    pub failure_rate_threshold: Ratio,
    /// The rate of slow calls that opens the breaker. Default 0.9: when nearly all calls are slow, timeouts are near.
    pub slow_call_rate_threshold: Ratio,
    /// The duration from which on a call is slow. Default: 80 % of the attempt timeout.
    #[serde(with = "bff_config::duration::option")]
    pub slow_call_threshold: Option<Duration>,
    /// The number of consecutive failures that opens the breaker while the window has fewer than `min_calls` calls.
    /// With more calls, `min_calls` consecutive failures open it. Default 5: with little traffic there is no rate to
    /// wait for. With much traffic five in a row are chance (once in 400 calls at a failure rate of 30 %).
    pub consecutive_failures: NonZeroU32,
    /// The time in the open state before the first probe. Default 10s: about the time of a restart.
    #[serde(with = "bff_config::duration")]
    pub open_duration: Duration,
    /// The maximum time in the open state. Each failed round of probes doubles the time, with jitter. Default 1m:
    /// the gateway notices a recovered backend within this time.
    #[serde(with = "bff_config::duration")]
    pub max_open_duration: Duration,
    /// The maximum number of concurrent probes. Default 3: enough to decide quickly, too few to overload the backend.
    pub half_open_max_calls: NonZeroU32,
    /// The number of successful probes that closes the breaker. Default 3: a single success may be chance.
    pub half_open_successes: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            window: Duration::from_secs(10),
            min_calls: count(20),
            failure_rate_threshold: Ratio::percent(50),
            slow_call_rate_threshold: Ratio::percent(90),
            slow_call_threshold: None,
            consecutive_failures: count(5),
            open_duration: Duration::from_secs(10),
            max_open_duration: Duration::from_secs(60),
            half_open_max_calls: count(3),
            half_open_successes: count(3),
        }
    }
}
