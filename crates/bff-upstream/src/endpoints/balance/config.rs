//! The settings of load balancing.

use std::time::Duration;

use bff_config::Ratio;
use serde::{Deserialize, Serialize};

/// The settings for load balancing over the instances of one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The policy. Default `least_loaded`: only this one reacts to slow instances.
    pub policy: LbPolicy,
    /// The gateway's zone, by its name in service discovery. Default none: zones are ignored.
    pub zone: Option<String>,
    /// The minimum fraction of healthy instances in the local zone. Below it, all zones share the load. Default 0.7:
    /// with fewer, the remaining instances of the zone would be overloaded.
    pub zone_min_healthy: Ratio,
    /// The time constant of the latency's exponential decay. Default 10s: about the duration of a slow phase, such as a
    /// garbage collection or a cold cache.
    #[serde(with = "bff_config::duration::some")]
    pub ewma_decay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: LbPolicy::LeastLoaded,
            zone: None,
            zone_min_healthy: Ratio::percent(70),
            ewma_decay: Duration::from_secs(10),
        }
    }
}

/// A load balancing policy. All policies respect weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LbPolicy {
    /// All instances in turn.
    RoundRobin,
    /// A random instance.
    Random,
    /// The less loaded of two random instances. The load is the peak EWMA of the latency × (attempts in flight + 1).
    LeastLoaded,
}
