//! The retry budget: it limits extra attempts (retries and hedges) to a fraction of a backend's calls.
//!
//! In addition, each request has a fixed allowance. Without these limits, retries would multiply the load of a backend
//! that is already overloaded.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::policies::latency::nanos;
use bff_config::Ratio;
use bff_context::context::RequestRetryAllowance;

/// The cost of one extra attempt. The budget counts in thousandths of an attempt.
const ONE: i64 = 1000;

/// The retry budget of one backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The number of extra attempts per call, over time. Default 0.1: even if all calls fail, the backend receives at
    /// most 1.1 attempts per call.
    pub ratio: Ratio,
    /// The maximum number of saved extra attempts. Default 100: the deposit of 10 s at 100 calls/s. Without the
    /// limit, an hour without failures would pay for a burst of retries.
    pub max_tokens: u32,
    /// The number of extra attempts allowed without saved tokens, so that the first failures after a time of low
    /// traffic can be retried. Later deposits pay them back first. Default 3: the allowance of one request.
    pub min_retries: u32,
    /// The time without extra attempts after which one of `min_retries` becomes available again. Default 10s: above
    /// 1 call/s, a backend that fails continuously gets no more than the ratio.
    #[serde(with = "bff_config::duration")]
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

/// The retry budget of one backend.
#[derive(Debug)]
pub struct Budget {
    deposit: i64,
    max_balance: i64,
    /// The balance in thousandths of an attempt; negative after attempts from the reserve.
    balance: AtomicI64,
    reserve: Mutex<Reserve>,
}

#[derive(Debug)]
struct Reserve {
    max: u32,
    available: u32,
    refill_interval: Duration,
    /// The time up to which refills are accounted for.
    refilled_at: Instant,
}

impl Budget {
    /// Creates a budget with a zero balance and a full reserve.
    pub fn new(config: &Config, now: Instant) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a ratio is at most one")]
        let deposit = (config.ratio.get() * 1000.0).round() as i64;
        let reserve = Reserve {
            max: config.min_retries,
            available: config.min_retries,
            refill_interval: config.min_retries_refill.max(Duration::from_millis(1)),
            refilled_at: now,
        };
        Self {
            deposit,
            max_balance: i64::from(config.max_tokens) * ONE,
            balance: AtomicI64::new(0),
            reserve: Mutex::new(reserve),
        }
    }

    /// Deposits for the first attempt of a call. Extra attempts deposit nothing.
    pub fn deposit(&self) {
        // Two threads may both add just below the maximum. This is harmless: the limit bounds saving, not spending.
        if self.balance.load(Relaxed) < self.max_balance {
            self.balance.fetch_add(self.deposit, Relaxed);
        }
    }

    /// Spends one extra attempt from this budget and from the request's allowance. Returns whether both had one.
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
        // Deposits do not take this lock; only extra attempts do.
        let mut reserve = self.reserve.lock();
        reserve.refill(now);
        let balance = self.balance.load(Relaxed);
        if balance < ONE && reserve.available == 0 {
            return false;
        }
        // Every extra attempt uses the reserve too, even if the balance pays for it: the reserve is for low traffic.
        reserve.available = reserve.available.saturating_sub(1);
        reserve.refilled_at = now;
        self.balance.fetch_sub(ONE, Relaxed);
        self.balance
            .fetch_max(-ONE * i64::from(reserve.max), Relaxed);
        true
    }
}

impl Reserve {
    fn refill(&mut self, now: Instant) {
        let elapsed = nanos(now.saturating_duration_since(self.refilled_at));
        let refills = elapsed / nanos(self.refill_interval);
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        self.available = self.available.saturating_add(refills).min(self.max);
        self.refilled_at = if self.available == self.max {
            now.max(self.refilled_at)
        } else {
            self.refilled_at + self.refill_interval * refills
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

    /// The number of attempts per call, if each failed call is retried once when the budget allows it.
    fn amplification(calls: u32, interval: Duration, fails: impl Fn(u64) -> bool) -> f64 {
        let start = Instant::now();
        let budget = Budget::new(&Config::default(), start);
        let mut random = 1_u64;
        let mut attempts = calls;
        for n in 0..calls {
            budget.deposit();
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if fails(random >> 33) && spend(&budget, start + interval * n) {
                attempts += 1;
            }
        }
        f64::from(attempts) / f64::from(calls)
    }

    #[test]
    fn with_30_percent_failures_the_load_grows_by_at_most_10_percent() {
        for interval in [0, 1, 10, 100, 500].map(Duration::from_millis) {
            let measured = amplification(100_000, interval, |random| random % 10 < 3);
            assert!(
                (1.099..=1.1).contains(&measured),
                "{interval:?}: {measured}"
            );
        }
    }

    #[test]
    fn with_all_calls_failing_the_load_grows_by_at_most_10_percent() {
        for interval in [0, 1, 10, 100, 500].map(Duration::from_millis) {
            let measured = amplification(100_000, interval, |_| true);
            assert!(
                (1.099..=1.1).contains(&measured),
                "{interval:?}: {measured}"
            );
        }
    }

    #[test]
    fn few_failures_are_all_retried() {
        let measured = amplification(100_000, Duration::from_millis(1), |random| random % 100 < 5);
        assert!((1.045..=1.055).contains(&measured), "{measured}");
    }

    #[test]
    fn the_first_failures_after_low_traffic_can_be_retried() {
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
    fn the_balance_is_bounded() {
        let now = Instant::now();
        let budget = Budget::new(&Config::default(), now);
        for _ in 0..10_000 {
            budget.deposit();
        }
        let spent = (0..1000).filter(|_| spend(&budget, now)).count();
        assert_eq!(spent, 100);
    }

    #[test]
    fn a_request_has_three_extra_attempts_and_a_rejection_costs_none() {
        let now = Instant::now();
        let (full, empty) = (
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
        assert!(!empty.spend(&request, now));
        assert_eq!(request.remaining(), 3);
        assert_eq!(
            [0; 4].map(|_| full.spend(&request, now)),
            [true, true, true, false]
        );
    }

    /// Makes calls, some of which fail. Returns the time, the extra attempts so far and the balance before each call
    /// and at the end.
    fn history(config: &Config, steps: &[(u64, bool)]) -> Vec<(Instant, u32, i64)> {
        let mut now = Instant::now();
        let (budget, mut extra) = (Budget::new(config, now), 0);
        let mut history = Vec::new();
        for (millis, fails) in steps {
            history.push((now, extra, budget.balance.load(Relaxed)));
            now += Duration::from_millis(*millis);
            budget.deposit();
            extra += u32::from(*fails && spend(&budget, now));
        }
        history.push((now, extra, budget.balance.load(Relaxed)));
        history
    }

    proptest! {
        /// Between any two calls, the budget is a tenth of the calls plus the balance at the start. It is at least the
        /// reserve. Refills of the reserve add to it.
        #[test]
        fn extra_attempts_between_any_two_calls_stay_within_the_budget(
            initial_calls in 0_usize..200,
            max_tokens in 0_u32..20,
            reserve in 0_u32..5,
            steps in prop::collection::vec((0_u64..3000, any::<bool>()), 1..150),
        ) {
            let config = Config { max_tokens, min_retries: reserve, ..Config::default() };
            let mut all = vec![(0, false); initial_calls];
            all.extend(steps);
            let history = history(&config, &all);
            for (from, (started, extra_before, balance)) in history.iter().enumerate() {
                prop_assert!(*balance < i64::from(max_tokens + 1) * ONE);
                for (until, (ended, extra_after, _)) in history.iter().enumerate().skip(from) {
                    let deposited = balance + i64::try_from(until - from).unwrap() * 100;
                    let refills = (*ended - *started).as_secs() / 10 + u64::from(until > from);
                    let max = deposited.max(i64::from(reserve) * ONE) + i64::try_from(refills).unwrap() * ONE;
                    let extra = i64::from(extra_after - extra_before) * ONE;
                    prop_assert!(extra <= max, "{from}..{until}: {extra} of {max}");
                }
            }
        }

        /// With failures all the time (here 30 %) the limit holds exactly and from the first call on.
        #[test]
        fn extra_attempts_are_at_most_a_tenth_of_all_calls(
            steps in prop::collection::vec((0_u64..100, 0_u32..10), 500..1500),
        ) {
            let steps: Vec<_> = steps.into_iter().map(|(millis, n)| (millis, n < 3)).collect();
            let history = history(&Config::default(), &steps);
            for (calls, (_, extra, balance)) in history.iter().enumerate() {
                let calls = i64::try_from(calls).unwrap();
                prop_assert_eq!(i64::from(*extra) * ONE + balance, calls * 100, "tokens are conserved");
                prop_assert!(*balance >= 0 || *extra <= 3, "only the reserve goes below zero");
            }
        }
    }
}
