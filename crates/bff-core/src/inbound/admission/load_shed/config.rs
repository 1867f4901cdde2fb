//! The settings of load shedding.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::class_limits::ClassLimits;
use super::concurrency_limit;

/// The limits of concurrent requests, and the order in which classes are shed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most responses that stream at once: events, proxied responses and `WebSocket`s. Default 5000: half of
    /// `server.max_connections`, so that subscribers leave the other half to requests.
    pub max_streams: NonZeroU32,
    /// The bounds of the measured limit of concurrent requests.
    pub concurrency_limit: concurrency_limit::Config,
    /// The fraction of that limit that each class may fill.
    pub class_limits: ClassLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: NonZeroU32::new(5000).unwrap_or(NonZeroU32::MIN),
            concurrency_limit: concurrency_limit::Config::default(),
            class_limits: ClassLimits::default(),
        }
    }
}
