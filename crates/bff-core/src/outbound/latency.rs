//! How long a backend's answers take at the moment: quantiles over the last seconds, counted without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::Ratio;
use crate::net::monotonic::{Clock, nanos};

/// Each doubling of time is cut in so many parts: a quantile is at most an eighth too long.
const PARTS: u64 = 8;

/// Up to 2^27 microseconds, which is 134 s; what takes longer counts as that.
const BUCKETS: usize = 25 * 8;

/// For how long a quantile that was worked out is used: walking the histogram for every call would cost more than
/// all other policies together.
const QUANTILE_CACHE_TTL: Duration = Duration::from_millis(100);

/// What stands for "nothing is known".
const UNKNOWN: u64 = u64::MAX;

/// Over which time a backend's latency is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long each of the two halves of the window lasts; a quantile is of the present half and the one
    /// before. Default 10s: some hundred samples at 10 calls/s, and old news after 20 s.
    #[serde(with = "crate::config::duration")]
    pub half_window: Duration,
    /// How many samples a quantile needs. Default 50: the slowest twentieth of fewer is one or two calls.
    pub min_samples: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            half_window: Duration::from_secs(10),
            min_samples: 50,
        }
    }
}

/// The latencies of one backend.
#[derive(Debug)]
pub struct Latency {
    clock: Clock,
    half: u64,
    minimum: u64,
    /// Which half since the beginning is being filled.
    current: AtomicU64,
    halves: [Histogram; 2],
}

/// One quantile of a backend's latencies, as it was a moment ago.
#[derive(Debug)]
pub struct CachedQuantile {
    quantile: Ratio,
    clock: Clock,
    /// Until when `value` is used, in nanoseconds of the clock.
    until: AtomicU64,
    value: AtomicU64,
}

#[derive(Debug)]
struct Histogram([AtomicU32; BUCKETS]);

impl Latency {
    /// Nothing measured.
    pub fn new(config: &Config, now: Instant) -> Self {
        let histogram = || Histogram([const { AtomicU32::new(0) }; BUCKETS]);
        Self {
            clock: Clock::new(now),
            half: nanos(config.half_window).max(1),
            minimum: u64::from(config.min_samples.max(1)),
            current: AtomicU64::new(0),
            halves: [histogram(), histogram()],
        }
    }

    /// Counts an answer that took `time`.
    pub fn record(&self, now: Instant, time: Duration) {
        let micros = nanos(time) / 1000;
        self.current_window(now).0[bucket(micros)].fetch_add(1, Relaxed);
    }

    /// The time within which the share `q` of the answers came, at most an eighth too long; `None` while there
    /// are too few. Walks the whole histogram: ask now and then, not for every call.
    pub fn quantile(&self, now: Instant, q: f64) -> Option<Duration> {
        self.current_window(now);
        let [a, b] = &self.halves;
        let counts = || {
            let pairs = a.0.iter().zip(&b.0);
            pairs.map(|(a, b)| u64::from(a.load(Relaxed)) + u64::from(b.load(Relaxed)))
        };
        let total: u64 = counts().sum();
        if total < self.minimum {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "counts of seconds are far from 2^52"
        )]
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let reached = counts().position(|count| {
            seen += count;
            seen >= rank
        });
        // A half that is emptied meanwhile may end the walk early.
        reached.map(|at| Duration::from_micros(upper_edge(at)))
    }

    /// The half that is filled now; what is too old is emptied by whoever comes first. Samples that others add in
    /// that moment may be lost: quantiles can do without them.
    fn current_window(&self, now: Instant) -> &Histogram {
        let half = self.clock.nanos(now) / self.half;
        let current = self.current.load(Relaxed);
        if half > current
            && self
                .current
                .compare_exchange(current, half, Relaxed, Relaxed)
                .is_ok()
        {
            self.halves[usize::from(half % 2 == 1)].clear();
            if half - current > 1 {
                self.halves[usize::from(half.is_multiple_of(2))].clear();
            }
        }
        &self.halves[usize::from(half.max(current) % 2 == 1)]
    }
}

impl CachedQuantile {
    /// Nothing is known.
    pub fn new(quantile: Ratio, now: Instant) -> Self {
        Self {
            quantile,
            clock: Clock::new(now),
            until: AtomicU64::new(0),
            value: AtomicU64::new(UNKNOWN),
        }
    }

    /// The quantile; `None` while too little is known of the backend.
    pub fn get(&self, latency: &Latency, now: Instant) -> Option<Duration> {
        let at = self.clock.nanos(now);
        let until = self.until.load(Relaxed);
        if at >= until {
            // One works it out; those who race use the last value meanwhile.
            let next = at + nanos(QUANTILE_CACHE_TTL);
            let won = self.until.compare_exchange(until, next, Relaxed, Relaxed);
            if won.is_ok() {
                let value = latency.quantile(now, self.quantile.get());
                self.value.store(value.map_or(UNKNOWN, nanos), Relaxed);
            }
        }
        match self.value.load(Relaxed) {
            UNKNOWN => None,
            value => Some(Duration::from_nanos(value)),
        }
    }
}

impl Histogram {
    fn clear(&self) {
        for bucket in &self.0 {
            bucket.store(0, Relaxed);
        }
    }
}

/// Which bucket a time falls in: below [`PARTS`] each microsecond has its own, above it each doubling has `PARTS`.
fn bucket(micros: u64) -> usize {
    let doublings = u64::from(micros.max(PARTS).ilog2()) - u64::from(PARTS.ilog2());
    let at = doublings * PARTS + (micros >> doublings);
    usize::try_from(at).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
}

/// The longest time, in microseconds, that falls in a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / PARTS).saturating_sub(1);
    ((bucket - doublings * PARTS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fill(latency: &Latency, now: Instant, samples: u32, time: Duration) {
        for _ in 0..samples {
            latency.record(now, time);
        }
    }

    fn millis(latency: &Latency, now: Instant) -> Option<u128> {
        latency.quantile(now, 0.95).map(|q| q.as_millis())
    }

    #[test]
    fn too_few_samples_say_nothing() {
        let now = Instant::now();
        let latency = Latency::new(&Config::default(), now);
        fill(&latency, now, 49, SECOND);
        assert_eq!(latency.quantile(now, 0.5), None);
        fill(&latency, now, 1, SECOND);
        assert!(latency.quantile(now, 0.5).is_some());
    }

    #[test]
    fn what_is_old_is_forgotten_by_halves() {
        let start = Instant::now();
        let latency = Latency::new(&Config::default(), start);
        let at = |seconds| start + SECOND * seconds;
        fill(&latency, at(9), 100, Duration::from_millis(100));
        fill(&latency, at(12), 100, Duration::from_millis(10));
        assert!(millis(&latency, at(12)) >= Some(100));
        assert!(millis(&latency, at(21)) < Some(12));
        assert_eq!(millis(&latency, at(31)), None);
        fill(&latency, at(500), 50, SECOND);
        assert!(millis(&latency, at(500)) >= Some(1000));
    }

    #[test]
    fn buckets_neither_overlap_nor_leave_a_gap() {
        for at in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper_edge(at)), at);
            assert_eq!(bucket(upper_edge(at) + 1), at + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn threads_lose_nothing_within_a_half() {
        let now = Instant::now();
        let config = Config {
            min_samples: 8000,
            ..Config::default()
        };
        let latency = Latency::new(&config, now);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| fill(&latency, now, 1000, SECOND));
            }
        });
        assert!(latency.quantile(now, 0.5).is_some());
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_exact_one_or_up_to_an_eighth_more(
            samples in prop::collection::vec(0_u64..100_000_000, 50..300),
            q in 0.01_f64..1.0,
        ) {
            let now = Instant::now();
            let latency = Latency::new(&Config::default(), now);
            for sample in &samples {
                latency.record(now, Duration::from_micros(*sample));
            }
            let mut sorted = samples;
            sorted.sort_unstable();
            let count = u32::try_from(sorted.len()).unwrap();
            let below = |n: u32| f64::from(n) < q * f64::from(count);
            let exact = sorted[(1..count).take_while(|n| below(*n)).count()];
            let seen = latency.quantile(now, q).unwrap().as_micros();
            let (least, most) = (u128::from(exact), u128::from(exact + exact / 8));
            prop_assert!((least..=most).contains(&seen), "{seen} for {exact}");
        }
    }
}
