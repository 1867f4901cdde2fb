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
use tokio::time::Instant;

use crate::endpoints::endpoint::Endpoint;
use crate::policies::latency::Clock;
use crate::policies::outcome::AttemptOutcome;
use crate::policies::outlier_detection::{self, OutlierDetector};
use peak_ewma::{Decay, Sample};
use set::{Candidates, Exclude, InstanceSet, WeightedInstance};

pub use config::{Config, LbPolicy};
pub use instance::Instance;

mod config;
mod instance;
mod peak_ewma;
mod set;
#[cfg(test)]
mod tests;

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

/// The instance picked for one attempt. The attempt counts as in flight until the guard is dropped.
#[derive(Debug)]
#[must_use = "dropping the guard ends the attempt without an outcome"]
pub struct InstanceGuard<'a, T> {
    instances: &'a Instances<T>,
    instance: Arc<Instance<T>>,
    started: Instant,
    measure_latency: bool,
}

impl<'a, T> InstanceGuard<'a, T> {
    fn new(instances: &'a Instances<T>, instance: Arc<Instance<T>>, started: Instant) -> Self {
        instance.in_flight.fetch_add(1, Relaxed);
        Self {
            instances,
            instance,
            started,
            measure_latency: true,
        }
    }

    /// Excludes the attempt's duration from the instance's latency, because the client influences it.
    pub(crate) fn ignore_latency(mut self) -> Self {
        self.measure_latency = false;
        self
    }

    /// The instance. A retry passes it to `pick` as the one to avoid.
    pub fn instance(&self) -> &Arc<Instance<T>> {
        &self.instance
    }

    /// Reports the outcome of the attempt.
    pub fn done(self, now: Instant, outcome: AttemptOutcome) {
        let (instances, instance) = (self.instances, &self.instance);
        let sample = match outcome {
            AttemptOutcome::Success => Sample::Response,
            AttemptOutcome::Failure => Sample::Failure,
            AttemptOutcome::Ignored | AttemptOutcome::DeadlineExceeded => Sample::Unfinished,
        };
        let duration = now.saturating_duration_since(self.started);
        let now_nanos = instances.clock.nanos(now);
        if self.measure_latency || sample == Sample::Failure {
            (instance.latency).record(now_nanos, duration, sample, instances.decay);
        }
        let detector = &instances.outlier_detector;
        if detector.record(now, &instance.stats, outcome) {
            let set = instances.set.load();
            let all: Vec<_> = set.members().iter().map(|m| &m.instance.stats).collect();
            detector.evaluate(now, &all);
        }
    }
}

impl<T> Drop for InstanceGuard<'_, T> {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Relaxed);
    }
}
