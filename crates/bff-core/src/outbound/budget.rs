//! How many extra attempts, retries and hedges alike, there may be: a share of the calls of each backend, and a
//! handful for each request. Without it, retries multiply the load of a backend just when it has too much.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::Ratio;
use crate::context::RequestRetryAllowance;
use crate::net::monotonic::nanos;

/// One extra attempt, in the thousandths that are counted.
const ONE: i64 = 1000;

/// What one backend may cost beyond the calls that are needed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Extra attempts for each call that is needed, over time. Default 0.1: however many calls fail, the backend
    /// sees at most 1.1 for each.
    pub ratio: Ratio,
    /// The most extra attempts saved up. Default 100: what 10 s at 100 calls/s deposit, so that an hour
    /// without failure does not pay for a storm.
    pub max_tokens: u32,
    /// Extra attempts there are without savings, so that the first failures after a quiet time can be retried.
    /// They are lent: what calls deposit later pays them back first. Default 3: one request's worth.
    pub min_retries: u32,
    /// After how long without any extra attempt one of the reserve comes back. Default 10s: above 1 call/s, a
    /// backend that keeps failing gets the ratio and no more.
    #[serde(with = "crate::config::duration")]
    pub min_retries_refill: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ratio: Ratio::percent(10),
            max_tokens: 100,
            min_retries: 3,
            min_retries_refill: Duration::from_secs(10),
        }
    }
}

/// The extra attempts of one backend.
#[derive(Debug)]
pub struct Budget {
    deposit: i64,
    most: i64,
    /// Thousandths saved; below zero while the reserve is owed.
    saved: AtomicI64,
    reserve: Mutex<Reserve>,
}

#[derive(Debug)]
struct Reserve {
    most: u32,
    left: u32,
    refill: Duration,
    /// Up to when refilling is accounted for.
    at: Instant,
}

impl Budget {
    /// Nothing saved, the reserve full.
    pub fn new(config: &Config, now: Instant) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a share is at most one")]
        let deposit = (config.ratio.get() * 1000.0).round() as i64;
        let reserve = Reserve {
            most: config.min_retries,
            left: config.min_retries,
            refill: config.min_retries_refill.max(Duration::from_millis(1)),
            at: now,
        };
        Self {
            deposit,
            most: i64::from(config.max_tokens) * ONE,
            saved: AtomicI64::new(0),
            reserve: Mutex::new(reserve),
        }
    }

    /// A needed call goes to the backend: once for each, never for its extra attempts.
    pub fn deposit(&self) {
        // Two that race may both add just below the bound: it is a bound on saving, not on spending.
        if self.saved.load(Relaxed) < self.most {
            self.saved.fetch_add(self.deposit, Relaxed);
        }
    }

    /// Takes one extra attempt from this backend and from the request, or from neither.
    pub fn spend(&self, request: &RequestRetryAllowance, now: Instant) -> bool {
        if !request.take() {
            return false;
        }
        let granted = self.withdraw(now);
        if !granted {
            request.give_back();
        }
        granted
    }

    fn withdraw(&self, now: Instant) -> bool {
        // Calls that deposit do not wait for this lock; only failures meet here.
        let mut reserve = self.reserve.lock();
        reserve.refill(now);
        let saved = self.saved.load(Relaxed);
        if saved < ONE && reserve.left == 0 {
            return false;
        }
        // Whoever can live from savings has no claim on the reserve: each grant uses it up, paid for or not.
        reserve.left = reserve.left.saturating_sub(1);
        reserve.at = now;
        self.saved.fetch_sub(ONE, Relaxed);
        self.saved
            .fetch_max(-ONE * i64::from(reserve.most), Relaxed);
        true
    }
}

impl Reserve {
    fn refill(&mut self, now: Instant) {
        let each = nanos(self.refill);
        let back = nanos(now.saturating_duration_since(self.at)) / each;
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(back).min(self.most);
        self.at = if self.left == self.most {
            now.max(self.at)
        } else {
            self.at + self.refill * back
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spend(budget: &Budget, now: Instant) -> bool {
        budget.spend(&RequestRetryAllowance::default(), now)
    }

    /// Calls of which some fail, each tried again once if the budget lets it: attempts for each call.
    fn amplification(calls: u32, every: Duration, failing: impl Fn(u64) -> bool) -> f64 {
        let start = Instant::now();
        let budget = Budget::new(&Config::default(), start);
        let mut random = 1_u64;
        let mut attempts = calls;
        for n in 0..calls {
            budget.deposit();
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if failing(random >> 33) && spend(&budget, start + every * n) {
                attempts += 1;
            }
        }
        f64::from(attempts) / f64::from(calls)
    }

    #[test]
    fn with_three_in_ten_failing_a_backend_sees_at_most_a_tenth_more() {
        for every in [0, 1, 10, 100, 500].map(Duration::from_millis) {
            let seen = amplification(100_000, every, |random| random % 10 < 3);
            assert!((1.099..=1.1).contains(&seen), "{every:?}: {seen}");
        }
    }

    #[test]
    fn it_holds_when_everything_fails_too() {
        for every in [0, 1, 10, 100, 500].map(Duration::from_millis) {
            let seen = amplification(100_000, every, |_| true);
            assert!((1.099..=1.1).contains(&seen), "{every:?}: {seen}");
        }
    }

    #[test]
    fn few_failures_are_all_retried() {
        let seen = amplification(100_000, Duration::from_millis(1), |random| random % 100 < 5);
        assert!((1.045..=1.055).contains(&seen), "{seen}");
    }

    #[test]
    fn the_first_failures_after_a_quiet_time_can_be_retried() {
        let mut now = Instant::now();
        let budget = Budget::new(&Config::default(), now);
        for _ in 0..2 {
            let spent = [0; 4].map(|_| spend(&budget, now));
            assert_eq!(spent, [true, true, true, false]);
            now += Duration::from_secs(30);
        }
        let _ = [0; 3].map(|_| spend(&budget, now));
        now += Duration::from_secs(10);
        assert_eq!([0; 2].map(|_| spend(&budget, now)), [true, false]);
    }

    #[test]
    fn savings_are_bounded() {
        let now = Instant::now();
        let budget = Budget::new(&Config::default(), now);
        for _ in 0..10_000 {
            budget.deposit();
        }
        let spent = (0..1000).filter(|_| spend(&budget, now)).count();
        assert_eq!(spent, 100);
    }

    #[test]
    fn a_request_has_three_and_a_refusal_costs_none() {
        let now = Instant::now();
        let (rich, poor) = (
            Budget::new(&Config::default(), now),
            Budget::new(
                &Config {
                    min_retries: 0,
                    ..Config::default()
                },
                now,
            ),
        );
        let request = RequestRetryAllowance::default();
        assert!(!poor.spend(&request, now));
        assert_eq!(request.left(), 3);
        assert_eq!(
            [0; 4].map(|_| rich.spend(&request, now)),
            [true, true, true, false]
        );
    }

    /// Calls, some of which fail, at some times; what was spent by then, and what was saved, before each and at the end.
    fn history(config: &Config, steps: &[(u64, bool)]) -> Vec<(Instant, u32, i64)> {
        let mut now = Instant::now();
        let (budget, mut extra) = (Budget::new(config, now), 0);
        let mut seen = Vec::new();
        for (millis, fails) in steps {
            seen.push((now, extra, budget.saved.load(Relaxed)));
            now += Duration::from_millis(*millis);
            budget.deposit();
            extra += u32::from(*fails && spend(&budget, now));
        }
        seen.push((now, extra, budget.saved.load(Relaxed)));
        seen
    }

    proptest! {
        /// Of every stretch, from any call to any later one: a tenth of its calls and what was saved when it began, or,
        /// where that is less, the reserve; and what a quiet time gives back of that. So never more than the cap.
        #[test]
        fn no_stretch_has_more_extra_attempts_than_its_tenth_and_what_was_saved(
            saved_up in 0_usize..200,
            max_saved in 0_u32..20,
            reserve in 0_u32..5,
            steps in prop::collection::vec((0_u64..3000, any::<bool>()), 1..150),
        ) {
            let config = Config { max_tokens: max_saved, min_retries: reserve, ..Config::default() };
            let mut all = vec![(0, false); saved_up];
            all.extend(steps);
            let seen = history(&config, &all);
            for (from, (began, spent, saved)) in seen.iter().enumerate() {
                prop_assert!(*saved < i64::from(max_saved + 1) * ONE);
                for (until, (ended, spent_then, _)) in seen.iter().enumerate().skip(from) {
                    let paid = saved + i64::try_from(until - from).unwrap() * 100;
                    let back = (*ended - *began).as_secs() / 10 + u64::from(until > from);
                    let most = paid.max(i64::from(reserve) * ONE) + i64::try_from(back).unwrap() * ONE;
                    let extra = i64::from(spent_then - spent) * ONE;
                    prop_assert!(extra <= most, "{from}..{until}: {extra} of {most}");
                }
            }
        }

        /// Where failures never pause for long, as at 30 %: exactly, and from the first call on.
        #[test]
        fn calls_in_all_are_at_most_a_tenth_more_than_those_needed(
            steps in prop::collection::vec((0_u64..100, 0_u32..10), 500..1500),
        ) {
            let steps: Vec<_> = steps.into_iter().map(|(millis, n)| (millis, n < 3)).collect();
            let seen = history(&Config::default(), &steps);
            for (calls, (_, extra, saved)) in seen.iter().enumerate() {
                let calls = i64::try_from(calls).unwrap();
                prop_assert_eq!(i64::from(*extra) * ONE + saved, calls * 100, "none is lost, and none made");
                prop_assert!(*saved >= 0 || *extra <= 3, "only the reserve is lent");
            }
        }
    }
}
