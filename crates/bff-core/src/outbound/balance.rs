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

use super::clock::Clock;
use super::ejection::{self, Ejector};
use crate::config::Ratio;
use load::Decay;
use set::{Member, Pool, Set, Skip};

pub use instance::{Instance, Picked};

mod instance;
mod load;
mod set;
#[cfg(test)]
mod tests;

/// How attempts are spread over the instances of one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By which rule. Default `least_loaded`: it alone notices that an instance is slow.
    pub policy: Policy,
    /// The gateway's own zone, as discovery names it. Default none: zones do not matter.
    pub zone: Option<String>,
    /// Instances of the own zone are preferred while this share of them is healthy. Default 0.7: below it they
    /// would drown in what all zones together can bear.
    pub zone_healthy: Ratio,
    /// How long a peak of latency is remembered, as the time constant of its decay. Default 10s: as long as a
    /// pause for garbage or a cold cache bothers an instance.
    #[serde(with = "crate::config::duration")]
    pub decay: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::LeastLoaded,
            zone: None,
            zone_healthy: Ratio::percent(70),
            decay: Duration::from_secs(10),
        }
    }
}

/// A rule by which an instance is chosen. All respect weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
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
    ejector: Ejector,
    set: ArcSwap<Set<T>>,
    /// Held while the set is replaced, so that two who replace it do not forget each other's instances.
    replacing: Mutex<()>,
    turn: AtomicU64,
}

impl<T> Instances<T> {
    /// No instance yet.
    pub fn new(config: &Config, ejection: &ejection::Config, now: Instant) -> Self {
        Self {
            clock: Clock::new(now),
            decay: Decay::over(config.decay),
            ejector: Ejector::new(ejection, now),
            set: ArcSwap::from_pointee(Set::default()),
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
        let set = Set::of(found, zone, |endpoint| {
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
    ) -> Option<Picked<'_, T>> {
        let set = self.set.load();
        let pool = self.pool(&set, now, avoid);
        let member = match self.config.policy {
            Policy::RoundRobin => pool.at(pool.turn(self.turn.fetch_add(1, Relaxed))),
            Policy::Random => pool.at(pool.scaled(low(random))),
            Policy::LeastLoaded => self.lesser(&pool, now, random),
        }?;
        Some(Picked::new(self, member.instance.clone(), now))
    }

    /// What each instance is doing.
    pub fn states(&self, now: Instant) -> Vec<State> {
        let at = self.clock.nanos(now);
        let set = self.set.load();
        let state = |m: &Member<T>| State {
            address: m.instance.address().clone(),
            in_flight: m.instance.in_flight(),
            latency: m.instance.latency.cost(at, self.decay),
            ejected: self.ejector.is_out(now, &m.instance.health),
        };
        set.members().iter().map(state).collect()
    }

    /// Who may take the attempt.
    fn pool<'s>(
        &'s self,
        set: &'s Set<T>,
        now: Instant,
        avoid: Option<&'s Instance<T>>,
    ) -> Pool<'s, T> {
        let (near, all) = (set.near(), set.members());
        if avoid.is_none() && !self.ejector.is_anybody_out(now) {
            // The usual case walks over nobody.
            return Pool::whole(if near.is_empty() { all } else { near });
        }
        let out = Some((&self.ejector, now));
        let healthy = Skip { out, avoid: None };
        let well = Pool::without(near, healthy).map_or(0, |pool| pool.len());
        let in_zone = u32::try_from(near.len()).unwrap_or(u32::MAX);
        let home = if self.config.zone_healthy.is_reached_by(well, in_zone) && well > 0 {
            near
        } else {
            all
        };
        let other = Skip { out, avoid };
        let any_other = Skip { out: None, avoid };
        Pool::without(home, other)
            .or_else(|| Pool::without(all, other))
            .or_else(|| Pool::without(all, healthy))
            .or_else(|| Pool::without(all, any_other))
            .unwrap_or_else(|| Pool::whole(all))
    }

    /// The less loaded of two.
    fn lesser<'s>(&self, pool: &Pool<'s, T>, now: Instant, random: u64) -> Option<&'s Member<T>> {
        let one = pool.at(pool.scaled(low(random)))?;
        if pool.len() == 1 {
            return Some(one);
        }
        let two = pool.at(pool.scaled(low(random >> 32)))?;
        let two = if std::ptr::eq(one, two) {
            pool.after(one)
        } else {
            two
        };
        let at = self.clock.nanos(now);
        let load = |member: &Member<T>| member.load(at, self.decay);
        Some(if load(two) < load(one) { two } else { one })
    }
}

/// The lower half of a draw.
fn low(random: u64) -> u32 {
    u32::try_from(random & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
