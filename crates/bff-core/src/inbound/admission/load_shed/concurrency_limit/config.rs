//! The configuration of the concurrency limit.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The default of [`Config::latency_threshold`], as a fraction of the deadline.
const THRESHOLD_FRACTION: f64 = 0.15;
/// Its smallest default: longer than other processes usually delay a request.
const MIN_THRESHOLD: Duration = Duration::from_millis(50);

/// The smallest value in a file: a shorter latency is normal under any load.
const MIN_CONFIGURED: Duration = Duration::from_millis(10);

/// The bounds of the concurrency limit, and how fast it reacts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The smallest limit. Up to this number in flight, the latency counts as not caused by load. Default 20: two
    /// screens a second with a backend that takes ten seconds.
    pub min: NonZeroU32,
    /// The largest limit, and the limit at start. Default 2000: 1,000 clients at once, of each class, and 200 MB at
    /// about 100 kB a request. Set `min` to the same number for a fixed limit.
    pub max: NonZeroU32,
    /// The mean latency up to which a window is never overloaded. Default 15 % of `inbound.deadline`, at least 50ms:
    /// 300ms of 2s. Latency rises faster than it is measured. At twice the capacity, the newest request then waits for
    /// three times as long, which is still less than `attempt_timeout`.
    #[serde(with = "crate::config::duration::option")]
    pub latency_threshold: Option<Duration>,
    /// The multiple of the baseline latency up to which a window is not overloaded either, at least 1.1. Default 2.0:
    /// a request then waits at a backend as long as it is processed.
    pub latency_tolerance: f64,
    /// The shortest window. A window also lasts at least the mean latency. Default 100ms: hundreds of requests under
    /// load, and the limit reacts before the latency is far above its threshold.
    #[serde(with = "crate::config::duration")]
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            min: number(20),
            max: number(2000),
            latency_threshold: None,
            latency_tolerance: 1.5,
            window: Duration::from_millis(100),
        }
    }
}

impl Config {
    /// Checks the values. The error is one line that names the wrong key.
    pub(in crate::inbound::admission::load_shed) fn check(&self) -> Result<(), String> {
        let (min, max) = (self.min, self.max);
        if min > max {
            return Err(format!("min: {min} must not be more than max ({max})"));
        }
        if !(self.latency_tolerance.is_finite() && self.latency_tolerance >= 1.1) {
            return Err(format!(
                "latency_tolerance: {} must be at least 1.1",
                self.latency_tolerance
            ));
        }
        if (self.latency_threshold).is_some_and(|threshold| threshold < MIN_CONFIGURED) {
            return Err("latency_threshold: it must be at least 10ms".to_owned());
        }
        Ok(())
    }

    /// The latency threshold at this deadline of a request.
    pub(in crate::inbound::admission::load_shed) fn latency_threshold(
        &self,
        deadline: Duration,
    ) -> Duration {
        let default = || deadline.mul_f64(THRESHOLD_FRACTION).max(MIN_THRESHOLD);
        self.latency_threshold.unwrap_or_else(default)
    }
}
