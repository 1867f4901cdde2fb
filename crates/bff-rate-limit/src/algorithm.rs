//! The algorithms, pure: a rule, what is remembered of a key, the time and a cost become a decision.
//!
//! All times are whole microseconds and all arithmetic is exact, so that `decide.lua` on Redis, which counts in
//! doubles, answers alike ([`Rule::MOST`] keeps every product below 2^53). A refused request is remembered by none.

use serde::{Deserialize, Serialize};

use super::adaptive::WHOLE;

/// How requests are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// At most `limit` in a window that begins with a key's first request. Up to twice the limit can pass around the
    /// seam of two windows.
    FixedWindow,
    /// At most `limit` in a window, of which the one before counts by how much of it is less than a period ago. What
    /// that guesses wrong is bounded: less than twice the limit passes in any period, and one more than the limit at most
    /// where requests are spread evenly.
    SlidingWindow,
    /// A bucket of `burst` tokens, and `limit` new ones a period. The default: kind to bursts, exact in the long run.
    #[default]
    TokenBucket,
    /// The same arithmetic from the other side: a bucket that overflows above `burst` and leaks `limit` a period.
    LeakyMeter,
    /// Requests leave one by one, `limit` a period; up to `burst` wait their turn, and the next is refused.
    LeakyBucketQueue,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// How many a period.
    pub limit: u64,
    /// The period, in microseconds.
    pub period: u64,
    /// How many at once, for buckets.
    pub burst: u64,
}

/// What is remembered of one key; what each number is, its algorithm knows.
pub type State = [u64; 3];

/// What becomes of one request. Times are microseconds from now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub allowed: bool,
    /// How many more would pass at once now.
    pub remaining: u64,
    /// When all of it is free again, if nothing else comes.
    pub reset: u64,
    /// When the same request would pass, if nothing else comes; 0 where it does pass.
    pub retry_after: u64,
    /// How long it waits its turn.
    pub wait: u64,
}

impl Rule {
    /// What `limit`, `burst` times `period` may be at most.
    pub const MAX_PRODUCT: u64 = 1 << 53;

    /// The arguments of `decide.lua`: algorithm, limit, period, burst and cost.
    pub(super) fn numbers(&self) -> [u64; 5] {
        let algorithm = match self.algorithm {
            Algorithm::FixedWindow => 0,
            Algorithm::SlidingWindow => 1,
            Algorithm::TokenBucket => 2,
            Algorithm::LeakyMeter => 3,
            Algorithm::LeakyBucketQueue => 4,
        };
        [algorithm, self.limit, self.period, self.burst, 1]
    }

    /// The same rule at so many thousandths of its limit. What is remembered of a key stays good: a bucket that was half
    /// empty is half empty.
    #[must_use]
    pub fn at(&self, share: u64) -> Self {
        let part = |whole: u64| (whole.saturating_mul(share) / WHOLE).max(1);
        Self {
            limit: part(self.limit),
            burst: part(self.burst),
            ..*self
        }
    }

    /// How many pass at once at most.
    pub fn quota(&self) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.limit,
            Algorithm::TokenBucket | Algorithm::LeakyMeter => self.burst,
            Algorithm::LeakyBucketQueue => self.burst + 1,
        }
    }

    /// The time of one token. Rounded up: never more than the limit in the long run.
    pub(super) fn interval(&self) -> u64 {
        self.period.div_ceil(self.limit.max(1))
    }

    /// The time in which an empty bucket is full again: the window of [`Self::quota`].
    pub fn window(&self) -> u64 {
        match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindow => self.period,
            _ => self.quota() * self.interval(),
        }
    }

    /// Decides, and changes the state if the request passes. None is a key never seen, or forgotten.
    pub fn decide(&self, state: &mut Option<State>, now: u64, cost: u64) -> Decision {
        let cost = cost.min(self.quota());
        match self.algorithm {
            Algorithm::FixedWindow => self.fixed(state, now, cost),
            Algorithm::SlidingWindow => self.sliding(state, now, cost),
            Algorithm::TokenBucket | Algorithm::LeakyMeter => self.bucket(state, now, cost),
            Algorithm::LeakyBucketQueue => self.queue(state, now, cost),
        }
    }

    /// State: when the window began, how many passed in it.
    fn fixed(&self, state: &mut Option<State>, now: u64, cost: u64) -> Decision {
        let [start, count, _] = state
            .filter(|[start, ..]| now < start + self.period)
            .unwrap_or([now, 0, 0]);
        // A clock that was set back counts on in the window it knows.
        let ends = start + self.period - now.max(start);
        let allowed = count + cost <= self.limit;
        let count = count + if allowed { cost } else { 0 };
        if allowed {
            *state = Some([start, count, 0]);
        }
        Decision {
            allowed,
            remaining: self.limit.saturating_sub(count),
            reset: if count == 0 { 0 } else { ends },
            retry_after: if allowed { 0 } else { ends },
            wait: 0,
        }
    }

    /// State: when the window began, how many passed in it, how many in the one before.
    fn sliding(&self, state: &mut Option<State>, now: u64, cost: u64) -> Decision {
        let period = self.period;
        let [start, count, before] = match *state {
            Some([start, count, before]) if now < start + period => [start, count, before],
            Some([start, count, _]) if now < start + 2 * period => [start + period, 0, count],
            _ => [now, 0, 0],
        };
        // What is left of the window.
        let left = start + period - now.max(start);
        let used = count + (before * left).div_ceil(period);
        let allowed = used + cost <= self.limit;
        let taken = if allowed { cost } else { 0 };
        if allowed {
            *state = Some([start, count + taken, before]);
        }
        let reset = match (count + taken, before) {
            (0, 0) => 0,
            (0, _) => left,
            _ => left + period,
        };
        let room = self.limit - cost;
        let retry_after = if allowed {
            0
        } else if count <= room {
            // Later in this window, when little enough of the one before counts. It is not 0, or it would pass.
            left - (room - count) * period / before.max(1)
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

    /// State: when the bucket will be full again.
    fn bucket(&self, state: &mut Option<State>, now: u64, cost: u64) -> Decision {
        let interval = self.interval();
        let deep = self.burst * interval;
        let full = state.map_or(now, |[full, ..]| full.max(now));
        let after = full + cost * interval;
        let allowed = after - now <= deep;
        let full = if allowed { after } else { full };
        if allowed {
            *state = Some([full, 0, 0]);
        }
        Decision {
            allowed,
            remaining: deep.saturating_sub(full - now) / interval,
            reset: full - now,
            retry_after: if allowed { 0 } else { after - now - deep },
            wait: 0,
        }
    }

    /// State: when the next one may leave.
    fn queue(&self, state: &mut Option<State>, now: u64, cost: u64) -> Decision {
        let interval = self.interval();
        let longest = self.burst * interval;
        let next = state.map_or(now, |[next, ..]| next.max(now));
        let wait = next + cost.saturating_sub(1) * interval - now;
        let allowed = wait <= longest;
        let after = if allowed {
            next + cost * interval
        } else {
            next
        };
        if allowed {
            *state = Some([after, 0, 0]);
        }
        let free = (longest + interval).saturating_sub(after - now);
        Decision {
            allowed,
            remaining: free / interval,
            reset: after - now,
            retry_after: wait.saturating_sub(longest),
            wait: if allowed { wait } else { 0 },
        }
    }

    /// Takes `cost` whether it is there or not, as far as there is something to take.
    pub(super) fn charge(&self, state: &mut Option<State>, now: u64, cost: u64) {
        for part in (0..cost.min(self.quota())).rev() {
            if self.decide(state, now, part + 1).allowed {
                return;
            }
        }
    }

    /// When the key may be forgotten, in microseconds from now.
    pub(super) fn ends(&self, state: State, now: u64) -> u64 {
        let [at, ..] = state;
        match self.algorithm {
            Algorithm::FixedWindow => (at + self.period).saturating_sub(now),
            Algorithm::SlidingWindow => (at + 2 * self.period).saturating_sub(now),
            _ => at.saturating_sub(now),
        }
    }
}
