//! An instance that fails more than its peers is left out for a while, and comes back by itself.
//!
//! Two signs: failures in a row, seen at once, and a share of good answers far below that of the others, looked at
//! once an interval. Never more than a bounded share is left out, and never the last one.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::outcome::AttemptOutcome;
use crate::config::Ratio;
use crate::net::monotonic::{Clock, nanos};

#[cfg(test)]
mod tests;

/// When an instance is left out, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Failures in a row that eject, while the instance had fewer calls in this interval than `min_calls`;
    /// above it, as many in a row as that. Default 5: where three in ten fail, five in a row are chance.
    pub consecutive_failures: NonZeroU32,
    /// How often instances are compared. Default 10s: time for a share to mean something.
    #[serde(with = "crate::config::duration")]
    pub interval: Duration,
    /// Calls in an interval without which an instance is not compared. Default 20: with fewer it is bad luck.
    pub min_calls: NonZeroU32,
    /// How far below the others' share of good answers an instance may lie. Default 0.3: an outlier, and not the
    /// unluckier half of a backend that is ill as a whole.
    pub success_rate_tolerance: Ratio,
    /// How long the first ejection lasts; the second lasts twice that, and so on. Default 10s: a restart takes
    /// about that.
    #[serde(with = "crate::config::duration")]
    pub base_ejection_time: Duration,
    /// The longest ejection. Default 5m: whoever repairs an instance sees it come back.
    #[serde(with = "crate::config::duration")]
    pub max_ejection_time: Duration,
    /// The largest share of instances left out at once. Default 0.5: the others must carry their load.
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

/// What is known of one instance.
#[derive(Debug, Default)]
pub struct InstanceStats {
    /// Failures in a row.
    streak: AtomicU32,
    /// In this interval.
    good: AtomicU32,
    /// In this interval.
    bad: AtomicU32,
    /// How often it was ejected, less one for each good interval since.
    times: AtomicU32,
    /// Until when it is left out, in nanoseconds of the ejector's clock.
    until: AtomicU64,
}

/// What ejects the instances of one backend.
#[derive(Debug)]
pub struct OutlierDetector {
    config: Config,
    clock: Clock,
    /// When instances are compared next.
    next: AtomicU64,
    /// When the last one is back: until then, somebody is left out.
    all_back: AtomicU64,
    /// Held by whoever decides, so that two do not both eject the last but one.
    deciding: Mutex<()>,
}

impl OutlierDetector {
    /// Nobody is left out.
    pub fn new(config: &Config, now: Instant) -> Self {
        Self {
            clock: Clock::new(now),
            next: AtomicU64::new(nanos(config.interval)),
            all_back: AtomicU64::new(0),
            deciding: Mutex::new(()),
            config: config.clone(),
        }
    }

    /// Notes how an attempt at an instance ended; whether [`inspect`](Self::inspect) should look at them all.
    #[must_use]
    pub fn record(&self, now: Instant, record: &InstanceStats, outcome: AttemptOutcome) -> bool {
        let at = self.clock.nanos(now);
        let due = at >= self.next.load(Relaxed);
        // What was on its way when it was ejected says nothing new.
        if at < record.until.load(Relaxed) {
            return due;
        }
        match outcome {
            AttemptOutcome::Success => {
                record.good.fetch_add(1, Relaxed);
                // A read is cheaper than a write, and nearly always enough.
                if record.streak.load(Relaxed) != 0 {
                    record.streak.store(0, Relaxed);
                }
                due
            }
            AttemptOutcome::Failure => {
                record.bad.fetch_add(1, Relaxed);
                record.streak.fetch_add(1, Relaxed);
                due || self.is_failing(record)
            }
            AttemptOutcome::Ignored | AttemptOutcome::DeadlineExceeded => due,
        }
    }

    /// Whether an instance is left out.
    pub fn is_ejected(&self, now: Instant, record: &InstanceStats) -> bool {
        self.clock.nanos(now) < record.until.load(Relaxed)
    }

    /// Whether somebody is left out, perhaps one that is gone by now.
    pub fn any_ejected(&self, now: Instant) -> bool {
        self.clock.nanos(now) < self.all_back.load(Relaxed)
    }

    /// Ejects whoever deserves it, as far as there is room. Rare, so it may walk over all instances.
    pub fn evaluate(&self, now: Instant, all: &[&InstanceStats]) {
        let at = self.clock.nanos(now);
        let _deciding = self.deciding.lock();
        for record in all {
            if at >= record.until.load(Relaxed) && self.is_failing(record) {
                // Without room it stays; it is looked at again after as many failures more.
                record.streak.store(0, Relaxed);
                self.eject(at, record, all);
            }
        }
        if at >= self.next.load(Relaxed) {
            self.next.store(at + nanos(self.config.interval), Relaxed);
            self.compare(at, all);
        }
    }

    fn is_failing(&self, record: &InstanceStats) -> bool {
        let few = self.config.consecutive_failures.get();
        let many = self.config.min_calls.get();
        let streak = record.streak.load(Relaxed);
        streak >= few && (streak >= many || record.calls() < many)
    }

    /// Ejects outliers, the worst first, and begins a new interval.
    fn compare(&self, at: u64, all: &[&InstanceStats]) {
        // Read once: attempts that end meanwhile are counted on other threads.
        let counts: Vec<(u32, u32)> = all.iter().map(|record| record.counts()).collect();
        let sum = counts
            .iter()
            .fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
        let mut outliers = Vec::new();
        let compared = all.iter().zip(counts);
        for (record, own) in compared.filter(|(r, _)| at >= r.until.load(Relaxed)) {
            let rest = (sum.0 - own.0, sum.1 - own.1);
            let minimum = self.config.min_calls.get();
            if own.0 + own.1 < minimum || rest.0 + rest.1 < minimum {
                continue;
            }
            let below = share(rest) - share(own);
            if below > self.config.success_rate_tolerance.get() {
                outliers.push((below, *record));
            } else {
                let fewer = record.times.load(Relaxed).saturating_sub(1);
                record.times.store(fewer, Relaxed);
            }
        }
        outliers.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, record) in outliers {
            self.eject(at, record, all);
        }
        for record in all {
            record.good.store(0, Relaxed);
            record.bad.store(0, Relaxed);
        }
    }

    fn eject(&self, at: u64, record: &InstanceStats, all: &[&InstanceStats]) {
        let out = all.iter().filter(|r| at < r.until.load(Relaxed)).count();
        let most = fraction_of(self.config.max_ejection_ratio, all.len());
        if out >= most.min(all.len().saturating_sub(1)) {
            return;
        }
        let times = record.times.fetch_add(1, Relaxed).saturating_add(1);
        let time = self.config.base_ejection_time.saturating_mul(times);
        let until = at.saturating_add(nanos(time.min(self.config.max_ejection_time)));
        record.streak.store(0, Relaxed);
        record.good.store(0, Relaxed);
        record.bad.store(0, Relaxed);
        record.until.store(until, Relaxed);
        self.all_back.fetch_max(until, Relaxed);
    }
}

impl InstanceStats {
    /// Good ones and bad ones.
    fn counts(&self) -> (u32, u32) {
        (self.good.load(Relaxed), self.bad.load(Relaxed))
    }

    fn calls(&self) -> u32 {
        let (good, bad) = self.counts();
        good + bad
    }
}

fn share((good, bad): (u32, u32)) -> f64 {
    f64::from(good) / f64::from(good + bad)
}

/// So many of `whole`, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a few instances"
)]
fn fraction_of(share: Ratio, whole: usize) -> usize {
    (share.get() * whole as f64).floor() as usize
}
