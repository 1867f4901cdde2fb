//! Recent latency of a backend: quantiles over a sliding window of some seconds, in a lock-free histogram.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use bff_config::Ratio;

/// The number of buckets per doubling of time. A quantile is therefore at most one eighth too long.
const BUCKETS_PER_DOUBLING: u64 = 8;

/// Buckets up to 2^27 microseconds (134 s). Longer times count in the last bucket.
const BUCKETS: usize = 25 * 8;

/// The time for which a computed quantile is reused. Reading the histogram for every call would cost more than all
/// other policies together.
const QUANTILE_CACHE_TTL: Duration = Duration::from_millis(100);

/// The stored value of an unknown quantile.
const UNKNOWN: u64 = u64::MAX;

/// The window in which a backend's latency is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The length of each of the two half windows. A quantile covers the current and the previous half.
    /// Default 10s: at 10 calls/s this gives over a hundred samples, and no sample is older than 20 s.
    #[serde(with = "bff_config::duration::some")]
    pub half_window: Duration,
    /// The minimum number of samples for a quantile. Default 50: with fewer, the slowest 5 % are only one or two calls.
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

/// The recent latencies of one backend.
#[derive(Debug)]
pub struct Latency {
    clock: Clock,
    /// The length of a half window, in nanoseconds.
    half_window: u64,
    min_samples: u64,
    /// The number of the current half window, counted from the start.
    current: AtomicU64,
    halves: [Histogram; 2],
}

/// One quantile of a backend's latencies, recomputed at most every 100 ms.
#[derive(Debug)]
pub struct CachedQuantile {
    quantile: Ratio,
    clock: Clock,
    /// The expiry of `value`, in nanoseconds of the clock.
    expires: AtomicU64,
    value: AtomicU64,
}

#[derive(Debug)]
struct Histogram([AtomicU32; BUCKETS]);

impl Latency {
    /// Creates an empty window.
    pub fn new(config: &Config, now: Instant) -> Self {
        let histogram = || Histogram([const { AtomicU32::new(0) }; BUCKETS]);
        Self {
            clock: Clock::new(now),
            half_window: nanos(config.half_window).max(1),
            min_samples: u64::from(config.min_samples.max(1)),
            current: AtomicU64::new(0),
            halves: [histogram(), histogram()],
        }
    }

    /// Records the latency of one response.
    pub fn record(&self, now: Instant, latency: Duration) {
        let micros = nanos(latency) / 1000;
        self.current_window(now).0[bucket(micros)].fetch_add(1, Relaxed);
    }

    /// The `q`-quantile of the latencies, at most one eighth too long. `None` while there are too few samples.
    ///
    /// Reads the whole histogram, so it is too expensive for every call: see [`CachedQuantile`].
    pub fn quantile(&self, now: Instant, q: f64) -> Option<Duration> {
        self.current_window(now);
        let [a, b] = &self.halves;
        let counts = || {
            let pairs = a.0.iter().zip(&b.0);
            pairs.map(|(a, b)| u64::from(a.load(Relaxed)) + u64::from(b.load(Relaxed)))
        };
        let total: u64 = counts().sum();
        if total < self.min_samples {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "counts of a few seconds are far below 2^52"
        )]
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let mut cumulative = 0;
        let index = counts().position(|count| {
            cumulative += count;
            cumulative >= rank
        });
        // `None` if another thread cleared a half window in the meantime.
        index.map(|index| Duration::from_micros(upper_edge(index)))
    }

    /// The histogram of the current half window. The first thread in a new half window clears the outdated one.
    /// Samples that other threads record at that moment may be lost, which hardly changes a quantile.
    fn current_window(&self, now: Instant) -> &Histogram {
        let half = self.clock.nanos(now) / self.half_window;
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
    /// Creates the quantile without a value.
    pub fn new(quantile: Ratio, now: Instant) -> Self {
        Self {
            quantile,
            clock: Clock::new(now),
            expires: AtomicU64::new(0),
            value: AtomicU64::new(UNKNOWN),
        }
    }

    /// The quantile; `None` while there are too few samples.
    pub fn get(&self, latency: &Latency, now: Instant) -> Option<Duration> {
        let now_nanos = self.clock.nanos(now);
        let expires = self.expires.load(Relaxed);
        if now_nanos >= expires {
            // One thread recomputes the value; the others use the previous one.
            let next = now_nanos + nanos(QUANTILE_CACHE_TTL);
            let exchanged = (self.expires).compare_exchange(expires, next, Relaxed, Relaxed);
            if exchanged.is_ok() {
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

/// The bucket of a time. Below [`BUCKETS_PER_DOUBLING`] every microsecond has its own bucket.
fn bucket(micros: u64) -> usize {
    let per_doubling = BUCKETS_PER_DOUBLING;
    let doublings = u64::from(micros.max(per_doubling).ilog2()) - u64::from(per_doubling.ilog2());
    let index = doublings * per_doubling + (micros >> doublings);
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

/// The longest time of a bucket, in microseconds.
fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / BUCKETS_PER_DOUBLING).saturating_sub(1);
    ((bucket - doublings * BUCKETS_PER_DOUBLING + 1) << doublings) - 1
}

/// Converts instants to nanoseconds since its start, so that atomics can store them. Earlier instants count as zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new(start: Instant) -> Self {
        Self(start)
    }

    /// The number overflows after 584 years.
    pub(crate) fn nanos(self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0))
    }
}

/// A duration in nanoseconds, saturating.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn record_many(latency: &Latency, now: Instant, samples: u32, time: Duration) {
        for _ in 0..samples {
            latency.record(now, time);
        }
    }

    fn p95_millis(latency: &Latency, now: Instant) -> Option<u128> {
        latency.quantile(now, 0.95).map(|q| q.as_millis())
    }

    #[test]
    fn too_few_samples_give_no_quantile() {
        let now = Instant::now();
        let latency = Latency::new(&Config::default(), now);
        record_many(&latency, now, 49, SECOND);
        assert_eq!(latency.quantile(now, 0.5), None);
        record_many(&latency, now, 1, SECOND);
        assert!(latency.quantile(now, 0.5).is_some());
    }

    #[test]
    fn old_half_windows_are_cleared() {
        let start = Instant::now();
        let latency = Latency::new(&Config::default(), start);
        let at = |seconds| start + SECOND * seconds;
        record_many(&latency, at(9), 100, Duration::from_millis(100));
        record_many(&latency, at(12), 100, Duration::from_millis(10));
        assert!(p95_millis(&latency, at(12)) >= Some(100));
        assert!(p95_millis(&latency, at(21)) < Some(12));
        assert_eq!(p95_millis(&latency, at(31)), None);
        record_many(&latency, at(500), 50, SECOND);
        assert!(p95_millis(&latency, at(500)) >= Some(1000));
    }

    #[test]
    fn buckets_are_contiguous() {
        for at in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper_edge(at)), at);
            assert_eq!(bucket(upper_edge(at) + 1), at + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn concurrent_records_in_one_half_window_are_all_counted() {
        let now = Instant::now();
        let config = Config {
            min_samples: 8000,
            ..Config::default()
        };
        let latency = Latency::new(&config, now);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| record_many(&latency, now, 1000, SECOND));
            }
        });
        assert!(latency.quantile(now, 0.5).is_some());
    }

    proptest! {
        #[test]
        fn a_quantile_is_exact_or_up_to_an_eighth_too_long(
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
            let measured = latency.quantile(now, q).unwrap().as_micros();
            let (min, max) = (u128::from(exact), u128::from(exact + exact / 8));
            prop_assert!((min..=max).contains(&measured), "{measured} for {exact}");
        }
    }
}
