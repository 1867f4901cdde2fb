//! The counters of this process: a table of fixed size, so that a flood of keys cannot exhaust it.
//!
//! A key has eight places. When all are taken the one that would be forgotten first goes: what has counted most stays.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::algorithm::{Decision, Rule, State};

/// 2^14 sets of eight: 131072 keys in 5.5 MB.
const SETS: usize = 1 << 14;
const WAYS: usize = 8;

/// Counters by the hash of their keys.
#[derive(Debug)]
pub(super) struct Table {
    opened: Instant,
    sets: Box<[Mutex<[Slot; WAYS]>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    /// When it may be forgotten; 0 is a free place.
    ends: u64,
    state: State,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Microseconds since it was opened, and never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX) + 1
    }

    /// Decides on one key.
    pub(super) fn decide(&self, key: u64, rule: &Rule, cost: u64) -> Decision {
        self.with(key, rule, |state, now| rule.decide(state, now, cost))
    }

    /// What [`Self::decide`] would answer.
    pub(super) fn peek(&self, key: u64, rule: &Rule, cost: u64) -> Decision {
        self.with(key, rule, |state, now| {
            let mut copy = *state;
            rule.decide(&mut copy, now, cost)
        })
    }

    /// Takes what is there, up to `cost`.
    pub(super) fn charge(&self, key: u64, rule: &Rule, cost: u64) {
        self.with(key, rule, |state, now| rule.charge(state, now, cost));
    }

    fn with<T>(&self, key: u64, rule: &Rule, act: impl FnOnce(&mut Option<State>, u64) -> T) -> T {
        let set = usize::try_from(key % SETS as u64).unwrap_or(0);
        let mut slots = self.sets[set].lock();
        // Read inside the lock: no decision is older than one before it.
        let now = self.now();
        let found = slots.iter().position(|s| s.key == key && s.ends > now);
        let mut state = found.map(|at| slots[at].state);
        let was = state;
        let done = act(&mut state, now);
        if let Some(state) = state.filter(|_| state != was) {
            let first = || (0..WAYS).min_by_key(|&at| slots[at].ends);
            let at = found.or_else(first).unwrap_or(0);
            let ends = now + rule.ends(state, now);
            slots[at] = Slot { key, ends, state };
        }
        done
    }
}
