//! The configuration of the concurrency limit.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The bounds of the concurrency limit, and how fast it reacts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The smallest limit. Up to this number in flight, the latency counts as not caused by load. Default 20: two
    /// screens a second with a backend that takes ten seconds.
    pub min: NonZeroU32,
    /// The limit before the first measurement. Default 100: 2,000 requests a second at 50 ms, which is enough for most
    /// gateways at start.
    pub initial: NonZeroU32,
    /// The largest limit. Default 1000: beyond it memory is the limit, at about 100 kB a request. Set all three to the
    /// same number for a fixed limit.
    pub max: NonZeroU32,
    /// The multiple of the baseline latency above which the limit shrinks, at least 1.1. Default 2.0: as many requests
    /// then wait at a backend as it processes, so it is never idle, and waits stay short.
    pub latency_tolerance: f64,
    /// The shortest window. A window also lasts at least the mean latency. Default 250ms: the limit reacts to an
    /// overload within half a second.
    #[serde(with = "crate::config::duration")]
    pub window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            min: number(20),
            initial: number(100),
            max: number(1000),
            latency_tolerance: 2.0,
            window: Duration::from_millis(250),
        }
    }
}

impl Config {
    /// Checks the values. The error is one line that names the wrong key.
    pub(in crate::inbound::admission::load_shed) fn check(&self) -> Result<(), String> {
        let (min, initial, max) = (self.min, self.initial, self.max);
        if min > initial || initial > max {
            return Err(format!(
                "initial: {initial} must be between min ({min}) and max ({max})"
            ));
        }
        if !(self.latency_tolerance.is_finite() && self.latency_tolerance >= 1.1) {
            return Err(format!(
                "latency_tolerance: {} must be at least 1.1",
                self.latency_tolerance
            ));
        }
        Ok(())
    }
}
