//! Load balancing: the choice of an instance for each attempt.
//!
//! Service discovery may replace the set of instances while attempts run; the instances in both sets keep their state.
//!
//! The candidates are the healthy instances of the local zone, while enough of them are healthy. Otherwise they are all
//! healthy instances. If no instance is healthy, all instances are candidates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Authority;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::latency::Clock;
use super::outlier_detection::{self, OutlierDetector};
use crate::config::Ratio;
use peak_ewma::Decay;
use set::{Candidates, Exclude, InstanceSet, WeightedInstance};

pub use instance::{Instance, InstanceGuard};

mod instance;
mod peak_ewma;
mod set;
#[cfg(test)]
mod tests;

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
    #[serde(with = "crate::config::duration")]
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

/// An instance in the result of service discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port. They identify the instance.
    pub address: Authority,
    /// The weight relative to other instances, as in an SRV record; 0 counts as 1.
    pub weight: u16,
    /// The zone, if service discovery provides it.
    pub zone: Option<String>,
}

/// A snapshot of an instance, for operators and metrics.
#[derive(Clone, Debug)]
pub struct InstanceState {
    /// Host and port.
    pub address: Authority,
    /// The number of attempts in flight.
    pub in_flight: u32,
    /// The peak EWMA of the latency.
    pub latency: Duration,
    /// Whether outlier detection ejected it.
    pub ejected: bool,
}

/// The instances of one backend. `T` is the client of an instance.
#[derive(Debug)]
pub struct Instances<T> {
    config: Config,
    clock: Clock,
    decay: Decay,
    outlier_detector: OutlierDetector,
    set: ArcSwap<InstanceSet<T>>,
    /// Held while the set is replaced, so that concurrent replacements do not lose each other's instances.
    replacing: Mutex<()>,
    round_robin: AtomicU64,
}

impl<T> Instances<T> {
    /// Creates an empty set.
    pub fn new(
        config: &Config,
        outlier_detection: &outlier_detection::Config,
        now: Instant,
    ) -> Self {
        Self {
            clock: Clock::new(now),
            decay: Decay::new(config.ewma_decay),
            outlier_detector: OutlierDetector::new(outlier_detection, now),
            set: ArcSwap::from_pointee(InstanceSet::default()),
            replacing: Mutex::new(()),
            round_robin: AtomicU64::new(0),
            config: config.clone(),
        }
    }

    /// Replaces the set of instances.
    ///
    /// An address in both sets keeps its instance; `make_client` creates the clients of new ones. Of duplicate
    /// addresses, the first endpoint counts. Attempts in flight at removed instances continue.
    pub fn replace(&self, endpoints: &[Endpoint], mut make_client: impl FnMut(&Endpoint) -> T) {
        let _replacing = self.replacing.lock();
        let old = self.set.load();
        let zone = self.config.zone.as_deref();
        let set = InstanceSet::new(endpoints, zone, |endpoint| {
            old.find(&endpoint.address).unwrap_or_else(|| {
                let client = make_client(endpoint);
                Arc::new(Instance::new(endpoint.address.clone(), client))
            })
        });
        self.set.store(Arc::new(set));
    }

    /// Picks an instance for one attempt. `None` only if the set is empty.
    ///
    /// A retry or hedge passes the previous instance as `avoid`; another healthy instance is preferred to it.
    pub fn pick(
        &self,
        now: Instant,
        random: u64,
        avoid: Option<&Instance<T>>,
    ) -> Option<InstanceGuard<'_, T>> {
        let set = self.set.load();
        let candidates = self.candidates(&set, now, avoid);
        let member = match self.config.policy {
            LbPolicy::RoundRobin => {
                let n = self.round_robin.fetch_add(1, Relaxed);
                candidates.by_weight_index(candidates.round_robin_index(n))
            }
            LbPolicy::Random => {
                candidates.by_weight_index(candidates.random_index(low_32_bits(random)))
            }
            LbPolicy::LeastLoaded => self.power_of_two_choices(&candidates, now, random),
        }?;
        Some(InstanceGuard::new(self, member.instance.clone(), now))
    }

    /// A snapshot of every instance.
    pub fn states(&self, now: Instant) -> Vec<InstanceState> {
        let now_nanos = self.clock.nanos(now);
        let set = self.set.load();
        let state = |m: &WeightedInstance<T>| InstanceState {
            address: m.instance.address().clone(),
            in_flight: m.instance.in_flight(),
            latency: m.instance.latency.cost(now_nanos, self.decay),
            ejected: self.outlier_detector.is_ejected(now, &m.instance.stats),
        };
        set.members().iter().map(state).collect()
    }

    /// The instances among which the policy chooses.
    fn candidates<'s>(
        &'s self,
        set: &'s InstanceSet<T>,
        now: Instant,
        avoid: Option<&'s Instance<T>>,
    ) -> Candidates<'s, T> {
        let (local, all) = (set.same_zone(), set.members());
        if avoid.is_none() && !self.outlier_detector.any_ejected(now) {
            // The usual case needs no check of each instance.
            return Candidates::all(if local.is_empty() { all } else { local });
        }
        let ejected = Some((&self.outlier_detector, now));
        let unhealthy = Exclude {
            ejected,
            avoid: None,
        };
        let local_healthy =
            Candidates::without(local, unhealthy).map_or(0, |candidates| candidates.len());
        let local_count = u32::try_from(local.len()).unwrap_or(u32::MAX);
        let min_healthy = self.config.zone_min_healthy;
        let zone_is_healthy =
            local_healthy > 0 && min_healthy.is_reached_by(local_healthy, local_count);
        let preferred = if zone_is_healthy { local } else { all };
        let unhealthy_or_avoided = Exclude { ejected, avoid };
        let avoided = Exclude {
            ejected: None,
            avoid,
        };
        Candidates::without(preferred, unhealthy_or_avoided)
            .or_else(|| Candidates::without(all, unhealthy_or_avoided))
            .or_else(|| Candidates::without(all, unhealthy))
            .or_else(|| Candidates::without(all, avoided))
            .unwrap_or_else(|| Candidates::all(all))
    }

    /// The less loaded of two different random candidates.
    fn power_of_two_choices<'s>(
        &self,
        candidates: &Candidates<'s, T>,
        now: Instant,
        random: u64,
    ) -> Option<&'s WeightedInstance<T>> {
        let first = candidates.by_weight_index(candidates.random_index(low_32_bits(random)))?;
        if candidates.len() == 1 {
            return Some(first);
        }
        let second =
            candidates.by_weight_index(candidates.random_index(low_32_bits(random >> 32)))?;
        let second = if std::ptr::eq(first, second) {
            candidates.next_after(first)
        } else {
            second
        };
        let now = self.clock.nanos(now);
        let load = |member: &WeightedInstance<T>| member.load(now, self.decay);
        Some(if load(second) < load(first) {
            second
        } else {
            first
        })
    }
}

fn low_32_bits(random: u64) -> u32 {
    u32::try_from(random & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
