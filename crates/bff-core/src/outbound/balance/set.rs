//! The instances as discovery saw them last, and drawing one of them by weight.

use std::sync::Arc;

use http::uri::Authority;
use tokio::time::Instant;

use super::peak_ewma::Decay;
use super::{Endpoint, Instance};
use crate::outbound::outlier_detection::OutlierDetector;

/// Above every load that was measured.
const UNMEASURED: f32 = 1e12;

/// 2^64 over the golden ratio: multiples of it, cut to 64 bits, visit everything evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The instances, those of the own zone first.
#[derive(Debug)]
pub(super) struct InstanceSet<T> {
    members: Vec<WeightedInstance<T>>,
    near: usize,
}

/// An instance and what discovery says of it at the moment.
#[derive(Debug)]
pub(super) struct WeightedInstance<T> {
    pub(super) instance: Arc<Instance<T>>,
    /// In lowest terms: one each where all weigh the same.
    weight: u32,
    /// The weights up to this one, and it.
    cumulative_weight: u32,
    /// How much one attempt weighs here in relation to elsewhere.
    load_factor: f32,
}

impl<T> Default for InstanceSet<T> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            near: 0,
        }
    }
}

impl<T> InstanceSet<T> {
    /// Of `found`, each address once.
    pub(super) fn of(
        found: &[Endpoint],
        zone: Option<&str>,
        mut instance: impl FnMut(&Endpoint) -> Arc<Instance<T>>,
    ) -> Self {
        let is_near = |e: &Endpoint| zone.is_some() && e.zone.as_deref() == zone;
        let mut unique: Vec<&Endpoint> = Vec::with_capacity(found.len());
        for endpoint in found {
            if unique.iter().all(|e| e.address != endpoint.address) {
                unique.push(endpoint);
            }
        }
        // Stable: otherwise in the order in which they were found.
        unique.sort_by_key(|e| !is_near(e));
        let near = unique.iter().take_while(|e| is_near(e)).count();
        let weigh = |e: &Endpoint| u32::from(e.weight.max(1));
        let divisor = unique.iter().map(|e| weigh(e)).fold(0, gcd).max(1);
        let mut upto = 0;
        let members = unique.into_iter().map(|endpoint| {
            let weight = weigh(endpoint) / divisor;
            upto += weight;
            WeightedInstance {
                instance: instance(endpoint),
                weight,
                cumulative_weight: upto,
                load_factor: 1.0,
            }
        });
        let mut members: Vec<_> = members.collect();
        let count = members.len();
        #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
        for member in &mut members {
            member.load_factor = upto as f32 / count as f32 / member.weight as f32;
        }
        Self { members, near }
    }

    /// All of them.
    pub(super) fn members(&self) -> &[WeightedInstance<T>] {
        &self.members
    }

    /// Those of the own zone.
    pub(super) fn same_zone(&self) -> &[WeightedInstance<T>] {
        &self.members[..self.near]
    }

    /// The instance of an address.
    pub(super) fn find(&self, address: &Authority) -> Option<Arc<Instance<T>>> {
        let member = self
            .members
            .iter()
            .find(|m| m.instance.address() == address);
        member.map(|m| m.instance.clone())
    }
}

impl<T> WeightedInstance<T> {
    /// Peak EWMA × (attempts under way + 1), each attempt by what it weighs here.
    ///
    /// Of an instance that never answered one attempt is worth finding out, and a second is not.
    pub(super) fn load(&self, at: u64, decay: Decay) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "attempts under way are few")]
        let under_way = self.instance.in_flight() as f32 * self.load_factor;
        let cost = self.instance.latency.micros(at, decay);
        if cost < 1.0 && under_way > 0.0 {
            return UNMEASURED + under_way;
        }
        cost * (under_way + 1.0)
    }
}

/// Who is not in a pool.
#[derive(Debug)]
pub(super) struct Exclude<'s, T> {
    /// Whoever is ejected at this instant.
    pub(super) out: Option<(&'s OutlierDetector, Instant)>,
    /// Whoever failed the attempt before.
    pub(super) avoid: Option<&'s Instance<T>>,
}

impl<T> Clone for Exclude<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Exclude<'_, T> {}

impl<T> Exclude<'_, T> {
    fn skips(&self, member: &WeightedInstance<T>) -> bool {
        let instance = &member.instance;
        self.avoid
            .is_some_and(|a| std::ptr::eq(a, &raw const **instance))
            || self
                .out
                .is_some_and(|(ejector, now)| ejector.is_ejected(now, &instance.health))
    }
}

/// Those who may take an attempt.
#[derive(Debug)]
pub(super) struct Candidates<'s, T> {
    members: &'s [WeightedInstance<T>],
    skip: Option<Exclude<'s, T>>,
    len: u32,
    weight: u32,
}

impl<'s, T> Candidates<'s, T> {
    /// All of `members`, which begin where the set does.
    pub(super) fn whole(members: &'s [WeightedInstance<T>]) -> Self {
        Self {
            members,
            skip: None,
            len: u32::try_from(members.len()).unwrap_or(u32::MAX),
            weight: members.last().map_or(0, |m| m.cumulative_weight),
        }
    }

    /// Those of `members` who are not skipped, if there are any.
    pub(super) fn without(
        members: &'s [WeightedInstance<T>],
        skip: Exclude<'s, T>,
    ) -> Option<Self> {
        let (mut len, mut weight) = (0, 0);
        for member in members.iter().filter(|m| !skip.skips(m)) {
            len += 1;
            weight += member.weight;
        }
        (len > 0).then_some(Self {
            members,
            skip: Some(skip),
            len,
            weight,
        })
    }

    /// How many.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// A place for a draw.
    pub(super) fn scaled(&self, draw: u32) -> u32 {
        let scaled = (u64::from(draw) * u64::from(self.weight)) >> 32;
        u32::try_from(scaled).unwrap_or(0)
    }

    /// The place whose turn is the `n`th: strictly one after the other where all weigh the same, else evenly
    /// mixed, because a heavy one must not get all its attempts in a row.
    pub(super) fn round_robin_index(&self, n: u64) -> u32 {
        if self.weight == self.len {
            let turn = n % u64::from(self.len.max(1));
            u32::try_from(turn).unwrap_or(0)
        } else {
            let draw = n.wrapping_mul(GOLDEN) >> 32;
            self.scaled(u32::try_from(draw).unwrap_or(0))
        }
    }

    /// Who has a place below the sum of all weights.
    pub(super) fn by_weight_index(&self, mut place: u32) -> Option<&'s WeightedInstance<T>> {
        let Some(skip) = self.skip else {
            let at = self
                .members
                .partition_point(|m| m.cumulative_weight <= place);
            return self.members.get(at);
        };
        for member in self.members.iter().filter(|m| !skip.skips(m)) {
            if place < member.weight {
                return Some(member);
            }
            place -= member.weight;
        }
        // Somebody was ejected while we counted.
        self.members.first()
    }

    /// The next one after `member`, around the corner if need be.
    pub(super) fn after(&self, member: &'s WeightedInstance<T>) -> &'s WeightedInstance<T> {
        let at = self
            .members
            .partition_point(|m| m.cumulative_weight < member.cumulative_weight)
            + 1;
        let (before, after) = self.members.split_at(at.min(self.members.len()));
        let in_pool = |m: &&WeightedInstance<T>| self.skip.is_none_or(|skip| !skip.skips(m));
        after.iter().chain(before).find(in_pool).unwrap_or(member)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
