//! The algorithms, as pure functions: a rule, a key's state, the time and a cost give a decision.
//!
//! All times are whole microseconds and all arithmetic is exact, so that `decide.lua` on Redis gives the same
//! decisions. Lua computes in doubles, so [`Rule::MAX_PRODUCT`] bounds every product by 2^53. A rejected request never
//! changes the state.

use serde::{Deserialize, Serialize};

use super::adaptive::FULL_FRACTION;

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// At most `limit` in a window that begins with a key's first request. Up to twice the limit can pass around the
    /// border of two windows.
    FixedWindow,
    /// At most `limit` in a window. The previous window counts by its part that is less than a period ago. The error of
    /// this estimate is bounded: less than twice the limit passes in any period, and at most limit + 1 for evenly
    /// spaced requests.
    SlidingWindow,
    /// A bucket of `burst` tokens, refilled with `limit` tokens a period. The default, because it allows bursts and is
    /// exact in the long run.
    #[default]
    TokenBucket,
    /// Requests proceed one by one, `limit` a period. Up to `burst` wait for their turn, and the next is rejected.
    LeakyBucketQueue,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// Requests per period.
    pub limit: u64,
    /// The period, in microseconds.
    pub period: u64,
    /// Requests at once (`TokenBucket`), or waiting requests (`LeakyBucketQueue`).
    pub burst: u64,
}

/// The state of one key. Each algorithm gives the numbers its own meaning.
pub type CounterState = [u64; 3];

/// The decision on one request. Times are microseconds from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may proceed.
    pub allowed: bool,
    /// Further requests that would be allowed at once now.
    pub remaining: u64,
    /// Time until the whole quota is free again, without further requests.
    pub reset: u64,
    /// Time until the same request would be allowed, without further requests. 0 if it is allowed now.
    pub retry_after: u64,
    /// Time that the request must wait for its turn.
    pub wait: u64,
}

impl Rule {
    /// The exclusive upper bound of `(limit + 1) × period` and `(burst + 1) × period`: doubles are exact up to 2^53.
    pub const MAX_PRODUCT: u64 = 1 << 53;

    /// The arguments of `decide.lua`: algorithm, limit, period, burst, and a cost of 1.
    pub(super) fn script_args(&self) -> [u64; 5] {
        let algorithm = match self.algorithm {
            Algorithm::FixedWindow => 0,
            Algorithm::SlidingWindow => 1,
            Algorithm::TokenBucket => 2,
            Algorithm::LeakyBucketQueue => 3,
        };
        [algorithm, self.limit, self.period, self.burst, 1]
    }

    /// The same rule with this fraction of its limit, in thousandths. States stay valid: a half-empty bucket stays half
    /// empty.
    #[must_use]
    pub fn scaled(&self, fraction: u64) -> Self {
        let part = |whole: u64| (whole.saturating_mul(fraction) / FULL_FRACTION).max(1);
        Self {
            limit: part(self.limit),
            burst: part(self.burst),
            ..*self
        }
    }

    /// The most requests that can be allowed at once.
    pub fn quota(&self) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.limit,
            Algorithm::TokenBucket => self.burst,
            Algorithm::LeakyBucketQueue => self.burst + 1,
        }
    }

    /// Time between two tokens. Rounded up, so that the long-run rate never exceeds the limit.
    pub(super) fn interval(&self) -> u64 {
        self.period.div_ceil(self.limit.max(1))
    }

    /// The time in which an empty bucket becomes full: the window of [`Self::quota`].
    pub fn window(&self) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.period,
            _ => self.quota() * self.interval(),
        }
    }

    /// Decides, and changes the state if the request is allowed. `None` is a new or expired key.
    pub fn decide(&self, state: &mut Option<CounterState>, now: u64, cost: u64) -> Decision {
        let cost = cost.min(self.quota());
        match self.algorithm {
            Algorithm::FixedWindow => self.fixed(state, now, cost),
            Algorithm::SlidingWindow => self.sliding(state, now, cost),
            Algorithm::TokenBucket => self.bucket(state, now, cost),
            Algorithm::LeakyBucketQueue => self.queue(state, now, cost),
        }
    }

    /// State: start of the window, requests allowed in it.
    fn fixed(&self, state: &mut Option<CounterState>, now: u64, cost: u64) -> Decision {
        let [start, count, _] = state
            .filter(|[start, ..]| now < start + self.period)
            .unwrap_or([now, 0, 0]);
        // If the clock was set back, the current window continues.
        let left = start + self.period - now.max(start);
        let allowed = count + cost <= self.limit;
        let count = count + if allowed { cost } else { 0 };
        if allowed {
            *state = Some([start, count, 0]);
        }
        Decision {
            allowed,
            remaining: self.limit.saturating_sub(count),
            reset: if count == 0 { 0 } else { left },
            retry_after: if allowed { 0 } else { left },
            wait: 0,
        }
    }

    /// State: start of the window, requests allowed in it, requests allowed in the previous one.
    fn sliding(&self, state: &mut Option<CounterState>, now: u64, cost: u64) -> Decision {
        let period = self.period;
        let [start, count, previous] = match *state {
            Some([start, count, previous]) if now < start + period => [start, count, previous],
            Some([start, count, _]) if now < start + 2 * period => [start + period, 0, count],
            _ => [now, 0, 0],
        };
        let left = start + period - now.max(start);
        let used = count + (previous * left).div_ceil(period);
        let allowed = used + cost <= self.limit;
        let taken = if allowed { cost } else { 0 };
        if allowed {
            *state = Some([start, count + taken, previous]);
        }
        let reset = match (count + taken, previous) {
            (0, 0) => 0,
            (0, _) => left,
            _ => left + period,
        };
        let room = self.limit - cost;
        let retry_after = if allowed {
            0
        } else if count <= room {
            // Later in this window, when less of the previous window counts. `previous` is not 0 here, because then the
            // request would be allowed.
            left - (room - count) * period / previous.max(1)
        } else {
            left + period - room * period / count
        };
        Decision {
            allowed,
            remaining: self.limit.saturating_sub(used + taken),
            reset,
            retry_after,
            wait: 0,
        }
    }

    /// State: the time at which the bucket is full again.
    fn bucket(&self, state: &mut Option<CounterState>, now: u64, cost: u64) -> Decision {
        let interval = self.interval();
        let capacity = self.burst * interval;
        let full = state.map_or(now, |[full, ..]| full.max(now));
        let after = full + cost * interval;
        let allowed = after - now <= capacity;
        let full = if allowed { after } else { full };
        if allowed {
            *state = Some([full, 0, 0]);
        }
        Decision {
            allowed,
            remaining: capacity.saturating_sub(full - now) / interval,
            reset: full - now,
            retry_after: if allowed { 0 } else { after - now - capacity },
            wait: 0,
        }
    }

    /// State: the time at which the next request may proceed.
    fn queue(&self, state: &mut Option<CounterState>, now: u64, cost: u64) -> Decision {
        let interval = self.interval();
        let max_wait = self.burst * interval;
        let next = state.map_or(now, |[next, ..]| next.max(now));
        let wait = next + cost.saturating_sub(1) * interval - now;
        let allowed = wait <= max_wait;
        let after = if allowed {
            next + cost * interval
        } else {
            next
        };
        if allowed {
            *state = Some([after, 0, 0]);
        }
        let free = (max_wait + interval).saturating_sub(after - now);
        Decision {
            allowed,
            remaining: free / interval,
            reset: after - now,
            retry_after: wait.saturating_sub(max_wait),
            wait: if allowed { wait } else { 0 },
        }
    }

    /// Takes `cost`, or as much of it as is available.
    pub(super) fn charge(&self, state: &mut Option<CounterState>, now: u64, cost: u64) {
        for part in (0..cost.min(self.quota())).rev() {
            if self.decide(state, now, part + 1).allowed {
                return;
            }
        }
    }

    /// Time until the state expires, in microseconds from now. An expired state equals no state.
    pub(super) fn expires_in(&self, state: CounterState, now: u64) -> u64 {
        let [at, ..] = state;
        match self.algorithm {
            Algorithm::FixedWindow => (at + self.period).saturating_sub(now),
            Algorithm::SlidingWindow => (at + 2 * self.period).saturating_sub(now),
            _ => at.saturating_sub(now),
        }
    }
}
