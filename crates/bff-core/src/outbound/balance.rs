//! Which instance of a backend takes an attempt. The set may be replaced while attempts run; an instance that stays
//! keeps what is known of it.
//!
//! In order: the healthy instances of the own zone while enough of them are; else all healthy ones; and when none is
//! healthy all of them, because asking somebody is better than asking nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Authority;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::outlier_detection::{self, OutlierDetector};
use crate::config::Ratio;
use crate::net::monotonic::Clock;
use peak_ewma::Decay;
use set::{Candidates, Exclude, InstanceSet, WeightedInstance};

pub use instance::{Instance, InstanceGuard};

mod instance;
mod peak_ewma;
mod set;
#[cfg(test)]
mod tests;

/// How attempts are spread over the instances of one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By which rule. Default `least_loaded`: it alone notices that an instance is slow.
    pub policy: LbPolicy,
    /// The gateway's own zone, as discovery names it. Default none: zones do not matter.
    pub zone: Option<String>,
    /// Instances of the own zone are preferred while this share of them is healthy. Default 0.7: below it they
    /// would drown in what all zones together can bear.
    pub zone_min_healthy: Ratio,
    /// How long a peak of latency is remembered, as the time constant of its decay. Default 10s: as long as a
    /// pause for garbage or a cold cache bothers an instance.
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

/// A rule by which an instance is chosen. All respect weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LbPolicy {
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// Of two drawn at random the one with the lesser load: peak EWMA of its latency × (attempts under way + 1).
    LeastLoaded,
}

/// An instance as discovery finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port, and its identity.
    pub address: Authority,
    /// How much it takes in relation to others (the weight of an SRV record); 0 counts as 1.
    pub weight: u16,
    /// Where it is, when discovery says so.
    pub zone: Option<String>,
}

/// What an instance is doing, for people and metrics.
#[derive(Clone, Debug)]
pub struct State {
    /// Host and port.
    pub address: Authority,
    /// Attempts under way.
    pub in_flight: u32,
    /// Its peak EWMA.
    pub latency: Duration,
    /// Whether it is left out.
    pub ejected: bool,
}

/// The instances of one backend, each with what the integrator keeps for it: `T` is its client.
#[derive(Debug)]
pub struct Instances<T> {
    config: Config,
    clock: Clock,
    decay: Decay,
    ejector: OutlierDetector,
    set: ArcSwap<InstanceSet<T>>,
    /// Held while the set is replaced, so that two who replace it do not forget each other's instances.
    replacing: Mutex<()>,
    turn: AtomicU64,
}

impl<T> Instances<T> {
    /// No instance yet.
    pub fn new(config: &Config, ejection: &outlier_detection::Config, now: Instant) -> Self {
        Self {
            clock: Clock::new(now),
            decay: Decay::over(config.ewma_decay),
            ejector: OutlierDetector::new(ejection, now),
            set: ArcSwap::from_pointee(InstanceSet::default()),
            replacing: Mutex::new(()),
            turn: AtomicU64::new(0),
            config: config.clone(),
        }
    }

    /// Replaces the set. An address known already keeps its instance; `make` makes the rest. Of an address that
    /// is named twice, the first counts. Attempts under way at instances that are gone end undisturbed.
    pub fn replace(&self, found: &[Endpoint], mut make: impl FnMut(&Endpoint) -> T) {
        let _replacing = self.replacing.lock();
        let old = self.set.load();
        let zone = self.config.zone.as_deref();
        let set = InstanceSet::of(found, zone, |endpoint| {
            old.find(&endpoint.address).unwrap_or_else(|| {
                let payload = make(endpoint);
                Arc::new(Instance::new(endpoint.address.clone(), payload))
            })
        });
        self.set.store(Arc::new(set));
    }

    /// Chooses an instance for one attempt; `None` only if there is none at all.
    ///
    /// A retry or hedge names the instance to `avoid`: another one is chosen if there is another healthy one.
    pub fn pick(
        &self,
        now: Instant,
        random: u64,
        avoid: Option<&Instance<T>>,
    ) -> Option<InstanceGuard<'_, T>> {
        let set = self.set.load();
        let pool = self.candidates(&set, now, avoid);
        let member = match self.config.policy {
            LbPolicy::RoundRobin => {
                pool.by_weight_index(pool.round_robin_index(self.turn.fetch_add(1, Relaxed)))
            }
            LbPolicy::Random => pool.by_weight_index(pool.scaled(low_(random))),
            LbPolicy::LeastLoaded => self.power_of_two_choices(&pool, now, random),
        }?;
        Some(InstanceGuard::new(self, member.instance.clone(), now))
    }

    /// What each instance is doing.
    pub fn states(&self, now: Instant) -> Vec<State> {
        let at = self.clock.nanos(now);
        let set = self.set.load();
        let state = |m: &WeightedInstance<T>| State {
            address: m.instance.address().clone(),
            in_flight: m.instance.in_flight(),
            latency: m.instance.latency.cost(at, self.decay),
            ejected: self.ejector.is_ejected(now, &m.instance.health),
        };
        set.members().iter().map(state).collect()
    }

    /// Who may take the attempt.
    fn candidates<'s>(
        &'s self,
        set: &'s InstanceSet<T>,
        now: Instant,
        avoid: Option<&'s Instance<T>>,
    ) -> Candidates<'s, T> {
        let (near, all) = (set.same_zone(), set.members());
        if avoid.is_none() && !self.ejector.any_ejected(now) {
            // The usual case walks over nobody.
            return Candidates::whole(if near.is_empty() { all } else { near });
        }
        let out = Some((&self.ejector, now));
        let healthy = Exclude { out, avoid: None };
        let well = Candidates::without(near, healthy).map_or(0, |pool| pool.len());
        let in_zone = u32::try_from(near.len()).unwrap_or(u32::MAX);
        let home = if self.config.zone_min_healthy.is_reached_by(well, in_zone) && well > 0 {
            near
        } else {
            all
        };
        let other = Exclude { out, avoid };
        let any_other = Exclude { out: None, avoid };
        Candidates::without(home, other)
            .or_else(|| Candidates::without(all, other))
            .or_else(|| Candidates::without(all, healthy))
            .or_else(|| Candidates::without(all, any_other))
            .unwrap_or_else(|| Candidates::whole(all))
    }

    /// The less loaded of two.
    fn power_of_two_choices<'s>(
        &self,
        pool: &Candidates<'s, T>,
        now: Instant,
        random: u64,
    ) -> Option<&'s WeightedInstance<T>> {
        let one = pool.by_weight_index(pool.scaled(low_(random)))?;
        if pool.len() == 1 {
            return Some(one);
        }
        let two = pool.by_weight_index(pool.scaled(low_(random >> 32)))?;
        let two = if std::ptr::eq(one, two) {
            pool.after(one)
        } else {
            two
        };
        let at = self.clock.nanos(now);
        let load = |member: &WeightedInstance<T>| member.load(at, self.decay);
        Some(if load(two) < load(one) { two } else { one })
    }
}

/// The lower half of a draw.
fn low_(random: u64) -> u32 {
    u32::try_from(random & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
