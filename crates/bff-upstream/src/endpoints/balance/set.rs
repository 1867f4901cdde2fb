//! The set of instances from the last result of service discovery, and the weighted choice among them.

use std::sync::Arc;

use http::uri::Authority;
use tokio::time::Instant;

use super::instance::Instance;
use super::peak_ewma::Decay;
use crate::endpoints::endpoint::Endpoint;
use crate::policies::outlier_detection::OutlierDetector;

/// A load above every measured load.
const UNMEASURED_LOAD: f32 = 1e12;

/// 2^64 divided by the golden ratio. Its multiples modulo 2^64 are evenly distributed.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// The instances, those of the local zone first.
#[derive(Debug)]
pub(super) struct InstanceSet<T> {
    members: Vec<WeightedInstance<T>>,
    /// The number of members in the local zone.
    local_count: usize,
}

/// An instance with its current weight.
#[derive(Debug)]
pub(super) struct WeightedInstance<T> {
    pub(super) instance: Arc<Instance<T>>,
    /// The weight, divided by the greatest common divisor of all weights.
    weight: u32,
    /// The sum of the weights up to and including this one.
    cumulative_weight: u32,
    /// The load of one attempt at this instance: the average weight divided by its weight.
    load_factor: f32,
}

impl<T> Default for InstanceSet<T> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            local_count: 0,
        }
    }
}

impl<T> InstanceSet<T> {
    /// Creates the set, with each address once.
    pub(super) fn new(
        endpoints: &[Endpoint],
        zone: Option<&str>,
        mut instance: impl FnMut(&Endpoint) -> Arc<Instance<T>>,
    ) -> Self {
        let is_local = |e: &Endpoint| zone.is_some() && e.zone.as_deref() == zone;
        let mut unique: Vec<&Endpoint> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if unique.iter().all(|e| e.address != endpoint.address) {
                unique.push(endpoint);
            }
        }
        // The sort is stable: within a zone the order of the endpoints remains.
        unique.sort_by_key(|e| !is_local(e));
        let local_count = unique.iter().take_while(|e| is_local(e)).count();
        let weight = |e: &Endpoint| u32::from(e.weight.max(1));
        let divisor = unique.iter().map(|e| weight(e)).fold(0, gcd).max(1);
        let mut total_weight = 0;
        let members = unique.into_iter().map(|endpoint| {
            let weight = weight(endpoint) / divisor;
            total_weight += weight;
            WeightedInstance {
                instance: instance(endpoint),
                weight,
                cumulative_weight: total_weight,
                load_factor: 1.0,
            }
        });
        let mut members: Vec<_> = members.collect();
        let count = members.len();
        #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
        for member in &mut members {
            member.load_factor = total_weight as f32 / count as f32 / member.weight as f32;
        }
        Self {
            members,
            local_count,
        }
    }

    /// All members.
    pub(super) fn members(&self) -> &[WeightedInstance<T>] {
        &self.members
    }

    /// The members of the local zone.
    pub(super) fn same_zone(&self) -> &[WeightedInstance<T>] {
        &self.members[..self.local_count]
    }

    /// The instance with an address.
    pub(super) fn find(&self, address: &Authority) -> Option<Arc<Instance<T>>> {
        let member = self
            .members
            .iter()
            .find(|m| m.instance.address() == address);
        member.map(|m| m.instance.clone())
    }
}

impl<T> WeightedInstance<T> {
    /// The load: peak EWMA × (attempts in flight × load factor + 1).
    ///
    /// An instance without a latency sample gets one attempt to measure it. Until that ends its load is very high.
    pub(super) fn load(&self, now: u64, decay: Decay) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "attempts in flight are few")]
        let in_flight = self.instance.in_flight() as f32 * self.load_factor;
        let cost = self.instance.latency.micros(now, decay);
        if cost < 1.0 && in_flight > 0.0 {
            return UNMEASURED_LOAD + in_flight;
        }
        cost * (in_flight + 1.0)
    }
}

/// The instances to exclude from the candidates.
#[derive(Debug)]
pub(super) struct Exclude<'s, T> {
    /// Excludes instances that are ejected at this instant.
    pub(super) ejected: Option<(&'s OutlierDetector, Instant)>,
    /// Excludes the instance of the previous attempt.
    pub(super) avoid: Option<&'s Instance<T>>,
}

impl<T> Clone for Exclude<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Exclude<'_, T> {}

impl<T> Exclude<'_, T> {
    fn excludes(&self, member: &WeightedInstance<T>) -> bool {
        let instance = &member.instance;
        self.avoid
            .is_some_and(|a| std::ptr::eq(a, &raw const **instance))
            || self
                .ejected
                .is_some_and(|(detector, now)| detector.is_ejected(now, &instance.stats))
    }
}

/// The instances among which a policy chooses.
#[derive(Debug)]
pub(super) struct Candidates<'s, T> {
    members: &'s [WeightedInstance<T>],
    exclude: Option<Exclude<'s, T>>,
    len: u32,
    total_weight: u32,
}

impl<'s, T> Candidates<'s, T> {
    /// All of `members`, which must be a prefix of the set.
    pub(super) fn all(members: &'s [WeightedInstance<T>]) -> Self {
        Self {
            members,
            exclude: None,
            len: u32::try_from(members.len()).unwrap_or(u32::MAX),
            total_weight: members.last().map_or(0, |m| m.cumulative_weight),
        }
    }

    /// The members that are not excluded. `None` if all are excluded.
    pub(super) fn without(
        members: &'s [WeightedInstance<T>],
        exclude: Exclude<'s, T>,
    ) -> Option<Self> {
        let (mut len, mut total_weight) = (0, 0);
        for member in members.iter().filter(|m| !exclude.excludes(m)) {
            len += 1;
            total_weight += member.weight;
        }
        (len > 0).then_some(Self {
            members,
            exclude: Some(exclude),
            len,
            total_weight,
        })
    }

    /// The number of candidates.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Scales a random number to an index below the total weight.
    pub(super) fn random_index(&self, random: u32) -> u32 {
        let scaled = (u64::from(random) * u64::from(self.total_weight)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// The index of the `n`th attempt, below the total weight.
    ///
    /// With equal weights it is a strict rotation. Otherwise the attempts of heavy instances are evenly interleaved.
    pub(super) fn round_robin_index(&self, n: u64) -> u32 {
        if self.total_weight == self.len {
            let index = n % u64::from(self.len.max(1));
            u32::try_from(index).unwrap_or(0)
        } else {
            let low_discrepancy = n.wrapping_mul(GOLDEN_RATIO) >> 32;
            self.random_index(u32::try_from(low_discrepancy).unwrap_or(0))
        }
    }

    /// The candidate at an index below the total weight. Each candidate covers as many indexes as its weight.
    pub(super) fn by_weight_index(&self, mut index: u32) -> Option<&'s WeightedInstance<T>> {
        let Some(exclude) = self.exclude else {
            let position = self
                .members
                .partition_point(|m| m.cumulative_weight <= index);
            return self.members.get(position);
        };
        for member in self.members.iter().filter(|m| !exclude.excludes(m)) {
            if index < member.weight {
                return Some(member);
            }
            index -= member.weight;
        }
        // Another thread ejected an instance in the meantime.
        self.members.first()
    }

    /// The next candidate after `member`, cyclically.
    pub(super) fn next_after(&self, member: &'s WeightedInstance<T>) -> &'s WeightedInstance<T> {
        let next = self
            .members
            .partition_point(|m| m.cumulative_weight < member.cumulative_weight)
            + 1;
        let (before, after) = self.members.split_at(next.min(self.members.len()));
        let is_candidate = |m: &&WeightedInstance<T>| self.exclude.is_none_or(|e| !e.excludes(m));
        let mut rotated = after.iter().chain(before);
        rotated.find(is_candidate).unwrap_or(member)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
