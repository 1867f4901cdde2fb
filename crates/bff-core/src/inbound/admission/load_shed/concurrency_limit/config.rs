//! The bounds of the limit.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Between which bounds, and how nervously, the limit moves.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The fewest requests worked on at once, however bad it looks. Default 20: two screens a second of a backend that
    /// takes ten seconds, and the number up to which latency counts as not caused by load.
    pub min: NonZeroU32,
    /// The number to begin with. Default 100: 2,000 requests a second at 50 ms, which few gateways have to answer
    /// before they have measured anything.
    pub initial: NonZeroU32,
    /// The most, however good it looks. Default 1000: beyond it memory is the limit, at some 100 kB a request. The same
    /// number for all three makes the limit a fixed one.
    pub max: NonZeroU32,
    /// By which factor answers may take longer than usual before the limit shrinks, at least 1.1. Default 2.0: a
    /// backend then has as much waiting for it as it works on, so that it is never idle, and nobody waits longer.
    pub latency_tolerance: f64,
    /// How long one measurement lasts at least; it lasts no shorter than an answer takes. Default 250ms: an overload
    /// is met within half a second.
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
    /// One line that names the key of a mistake.
    pub(in crate::inbound::admission::load_shed) fn check(&self) -> Result<(), String> {
        let (min, initial, max) = (self.min, self.initial, self.max);
        if min > initial || initial > max {
            return Err(format!(
                "initial: {initial} is not between min, {min}, and max, {max}"
            ));
        }
        if !(self.latency_tolerance.is_finite() && self.latency_tolerance >= 1.1) {
            return Err(format!(
                "latency_tolerance: {} is not 1.1 or more",
                self.latency_tolerance
            ));
        }
        Ok(())
    }
}
