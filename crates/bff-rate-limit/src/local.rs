//! The counters of this process, in a table of fixed size that a flood of keys cannot exhaust.
//!
//! The table is 8-way set-associative. A full set evicts the counter that expires first, so the busiest counters
//! survive.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::algorithm::{CounterState, Decision, Rule};

/// 2^14 sets of up to 8 counters: 131072 keys in at most 5.5 MB. A set gets its memory with its first counter.
const SETS: usize = 1 << 14;
const WAYS: usize = 8;

/// Counters by the hash of their keys.
#[derive(Debug)]
pub(super) struct Table {
    started: Instant,
    sets: Box<[Mutex<Vec<Slot>>]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: u64,
    /// The time at which the counter expires.
    expires: u64,
    state: CounterState,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Microseconds since the table was created, plus 1, so that it is never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX) + 1
    }

    /// Decides on one request and counts it.
    pub(super) fn decide(&self, key: u64, rule: &Rule, cost: u64) -> Decision {
        self.update(key, rule, |state, now| rule.decide(state, now, cost))
    }

    /// The result of [`Self::decide`], without counting.
    pub(super) fn peek(&self, key: u64, rule: &Rule, cost: u64) -> Decision {
        self.update(key, rule, |state, now| {
            let mut copy = *state;
            rule.decide(&mut copy, now, cost)
        })
    }

    /// Takes `cost`, or as much of it as is available.
    pub(super) fn charge(&self, key: u64, rule: &Rule, cost: u64) {
        self.update(key, rule, |state, now| rule.charge(state, now, cost));
    }

    fn update<T>(
        &self,
        key: u64,
        rule: &Rule,
        change: impl FnOnce(&mut Option<CounterState>, u64) -> T,
    ) -> T {
        let set = usize::try_from(key % SETS as u64).unwrap_or(0);
        let mut slots = self.sets[set].lock();
        // Read under the lock, so that the decisions of one key are in the order of their times.
        let now = self.now();
        let found = slots
            .iter()
            .position(|slot| slot.key == key && slot.expires > now);
        let mut state = found.map(|at| slots[at].state);
        let before = state;
        let result = change(&mut state, now);
        if let Some(state) = state.filter(|_| state != before) {
            let slot = Slot {
                key,
                expires: now + rule.expires_in(state, now),
                state,
            };
            let expires_first = || (0..WAYS).min_by_key(|&at| slots[at].expires);
            match found.or_else(|| (slots.len() == WAYS).then(expires_first).flatten()) {
                Some(at) => slots[at] = slot,
                None => slots.push(slot),
            }
        }
        result
    }
}
