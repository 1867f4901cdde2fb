//! Outlier detection: an instance that fails more often than the others is ejected for a while.
//!
//! Two criteria lead to an ejection. Consecutive failures are detected at once. A success rate far below that of the
//! other instances is detected once per interval. The ejected fraction is limited, and the last instance always stays.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::policies::latency::{Clock, nanos};
use crate::policies::outcome::AttemptOutcome;
use bff_config::Ratio;

#[cfg(test)]
mod tests;

/// When an instance is ejected, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The number of consecutive failures that ejects an instance with fewer than `min_calls` calls in this interval.
    /// With more calls, `min_calls` consecutive failures eject it: at a failure rate of 30 %, five in a row are chance.
    /// Default 5.
    pub consecutive_failures: NonZeroU32,
    /// The interval at which instances are compared. Default 10s: long enough for a meaningful success rate.
    #[serde(with = "bff_config::duration::some")]
    pub interval: Duration,
    /// The minimum number of calls in an interval for a comparison. Default 20: with fewer the rate is chance.
    pub min_calls: NonZeroU32,
    /// The tolerated difference below the success rate of the other instances. Default 0.3: this finds an outlier, but
    /// not the worse half of a backend that is unhealthy as a whole.
    pub success_rate_tolerance: Ratio,
    /// The duration of the first ejection. The nth ejection lasts n times as long. Default 10s: about the time of a
    /// restart.
    #[serde(with = "bff_config::duration")]
    pub base_ejection_time: Duration,
    /// The maximum duration of an ejection. Default 5m: a repaired instance gets traffic again within this time.
    #[serde(with = "bff_config::duration")]
    pub max_ejection_time: Duration,
    /// The maximum fraction of ejected instances. Default 0.5: the other instances must carry the load.
    pub max_ejection_ratio: Ratio,
}

impl Default for Config {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            consecutive_failures: count(5),
            interval: Duration::from_secs(10),
            min_calls: count(20),
            success_rate_tolerance: Ratio::percent(30),
            base_ejection_time: Duration::from_secs(10),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_ratio: Ratio::percent(50),
        }
    }
}

/// The recent results of one instance.
#[derive(Debug, Default)]
pub struct InstanceStats {
    consecutive_failures: AtomicU32,
    /// Successes in this interval.
    successes: AtomicU32,
    /// Failures in this interval.
    failures: AtomicU32,
    /// The number of ejections, minus one for each healthy interval since.
    ejections: AtomicU32,
    /// The end of the current ejection, in nanoseconds of the detector's clock.
    ejected_until: AtomicU64,
}

/// Ejects the outliers among the instances of one backend.
#[derive(Debug)]
pub struct OutlierDetector {
    config: Config,
    clock: Clock,
    /// The time of the next comparison, in nanoseconds of the clock.
    next_comparison: AtomicU64,
    /// The end of the last ejection: until then at least one instance is ejected.
    last_ejection_end: AtomicU64,
    /// Held during an evaluation, so that two threads together do not exceed the maximum ratio.
    evaluating: Mutex<()>,
}

impl OutlierDetector {
    /// Creates a detector without ejections.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            clock: Clock::new(now),
            next_comparison: AtomicU64::new(nanos(config.interval)),
            last_ejection_end: AtomicU64::new(0),
            evaluating: Mutex::new(()),
            config: config.clone(),
        }
    }

    /// Records the outcome of an attempt at an instance. Returns whether [`evaluate`](Self::evaluate) is due.
    #[must_use]
    pub fn record(&self, now: Instant, stats: &InstanceStats, outcome: AttemptOutcome) -> bool {
        let now = self.clock.nanos(now);
        let due = now >= self.next_comparison.load(Relaxed);
        // Attempts that started before the ejection carry no new information.
        if now < stats.ejected_until.load(Relaxed) {
            return due;
        }
        match outcome {
            AttemptOutcome::Success => {
                stats.successes.fetch_add(1, Relaxed);
                // A load is cheaper than a store, and the value is nearly always zero.
                if stats.consecutive_failures.load(Relaxed) != 0 {
                    stats.consecutive_failures.store(0, Relaxed);
                }
                due
            }
            AttemptOutcome::Failure => {
                stats.failures.fetch_add(1, Relaxed);
                stats.consecutive_failures.fetch_add(1, Relaxed);
                due || self.is_failing(stats)
            }
            AttemptOutcome::Ignored | AttemptOutcome::DeadlineExceeded => due,
        }
    }

    /// Whether an instance is ejected.
    pub fn is_ejected(&self, now: Instant, stats: &InstanceStats) -> bool {
        self.clock.nanos(now) < stats.ejected_until.load(Relaxed)
    }

    /// Whether any instance is ejected, including instances that discovery has removed.
    pub fn any_ejected(&self, now: Instant) -> bool {
        self.clock.nanos(now) < self.last_ejection_end.load(Relaxed)
    }

    /// Ejects failing instances, within the maximum ratio. It reads all instances, which is fine because it is rare.
    pub fn evaluate(&self, now: Instant, all: &[&InstanceStats]) {
        let now = self.clock.nanos(now);
        let _evaluating = self.evaluating.lock();
        for stats in all {
            if now >= stats.ejected_until.load(Relaxed) && self.is_failing(stats) {
                // If the maximum ratio forbids the ejection, the count of failures starts again.
                stats.consecutive_failures.store(0, Relaxed);
                self.eject(now, stats, all);
            }
        }
        if now >= self.next_comparison.load(Relaxed) {
            let next = now + nanos(self.config.interval);
            self.next_comparison.store(next, Relaxed);
            self.compare(now, all);
        }
    }

    fn is_failing(&self, stats: &InstanceStats) -> bool {
        let threshold = self.config.consecutive_failures.get();
        let min_calls = self.config.min_calls.get();
        let failures = stats.consecutive_failures.load(Relaxed);
        failures >= threshold && (failures >= min_calls || stats.calls() < min_calls)
    }

    /// Ejects outliers, the worst first, and starts a new interval.
    fn compare(&self, now: u64, all: &[&InstanceStats]) {
        // Read once, because other threads continue to count.
        let counts: Vec<(u32, u32)> = all.iter().map(|stats| stats.counts()).collect();
        let total = counts
            .iter()
            .fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        let mut outliers = Vec::new();
        let compared = all.iter().zip(counts);
        for (stats, own) in compared.filter(|(s, _)| now >= s.ejected_until.load(Relaxed)) {
            let others = (total.0 - own.0, total.1 - own.1);
            let min_calls = self.config.min_calls.get();
            if own.0 + own.1 < min_calls || others.0 + others.1 < min_calls {
                continue;
            }
            let difference = success_rate(others) - success_rate(own);
            if difference > self.config.success_rate_tolerance.get() {
                outliers.push((difference, *stats));
            } else {
                let ejections = stats.ejections.load(Relaxed).saturating_sub(1);
                stats.ejections.store(ejections, Relaxed);
            }
        }
        outliers.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, stats) in outliers {
            self.eject(now, stats, all);
        }
        for stats in all {
            stats.successes.store(0, Relaxed);
            stats.failures.store(0, Relaxed);
        }
    }

    fn eject(&self, now: u64, stats: &InstanceStats, all: &[&InstanceStats]) {
        let is_ejected = |s: &&&InstanceStats| now < s.ejected_until.load(Relaxed);
        let ejected = all.iter().filter(is_ejected).count();
        let max = fraction_of(self.config.max_ejection_ratio, all.len());
        if ejected >= max.min(all.len().saturating_sub(1)) {
            return;
        }
        let ejections = stats.ejections.fetch_add(1, Relaxed).saturating_add(1);
        let duration = self.config.base_ejection_time.saturating_mul(ejections);
        let until = now.saturating_add(nanos(duration.min(self.config.max_ejection_time)));
        stats.consecutive_failures.store(0, Relaxed);
        stats.successes.store(0, Relaxed);
        stats.failures.store(0, Relaxed);
        stats.ejected_until.store(until, Relaxed);
        self.last_ejection_end.fetch_max(until, Relaxed);
    }
}

impl InstanceStats {
    /// Successes and failures in this interval.
    fn counts(&self) -> (u32, u32) {
        (self.successes.load(Relaxed), self.failures.load(Relaxed))
    }

    fn calls(&self) -> u32 {
        let (successes, failures) = self.counts();
        successes + failures
    }
}

fn success_rate((successes, failures): (u32, u32)) -> f64 {
    f64::from(successes) / f64::from(successes + failures)
}

/// The fraction `share` of `whole`, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the number of instances is small"
)]
fn fraction_of(share: Ratio, whole: usize) -> usize {
    (share.get() * whole as f64).floor() as usize
}
