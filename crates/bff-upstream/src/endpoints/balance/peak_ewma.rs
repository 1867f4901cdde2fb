//! Peak EWMA: a moving average of latency that rises at once and decays slowly, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The minimum cost of a failure. Otherwise an instance that fails fast would look fast.
const MIN_FAILURE_COST_MICROS: f32 = 1_000.0;
/// The maximum cost after repeated failures.
const MAX_FAILURE_COST_MICROS: f32 = 10_000_000.0;

/// The time constant of the exponential decay, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decay(f32);

impl Decay {
    pub(super) fn new(time_constant: Duration) -> Self {
        Self((time_constant.as_secs_f32() * 1000.0).max(1.0))
    }

    /// The factor by which a value decays in `millis` milliseconds.
    fn decay_factor(self, millis: u32) -> f32 {
        if millis == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "decay needs no more precision")]
        let millis = millis as f32;
        (-millis / self.0).exp()
    }
}

/// The kind of a latency sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// The latency of a response.
    Response,
    /// The duration until a failure. The cost becomes at least twice the previous cost.
    Failure,
    /// The duration of an attempt without a response: a lower bound of the latency.
    Unfinished,
}

/// The cost in microseconds (an `f32`, upper half) and the time of the last sample in milliseconds (lower half).
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// The cost at `now` (nanoseconds of the clock).
    pub(super) fn cost(&self, now: u64, decay: Decay) -> Duration {
        Duration::from_secs_f32(self.micros(now, decay) / 1e6)
    }

    /// The cost at `now` in microseconds; zero without a sample.
    pub(super) fn micros(&self, now: u64, decay: Decay) -> f32 {
        let (cost, timestamp) = unpack(self.0.load(Relaxed));
        cost * decay.decay_factor(elapsed(timestamp, millis(now)))
    }

    /// Records a sample at `now`.
    pub(super) fn record(&self, now: u64, duration: Duration, sample: Sample, decay: Decay) {
        let (now, micros) = (millis(now), duration.as_secs_f32() * 1e6);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let (cost, timestamp) = unpack(packed);
            let factor = decay.decay_factor(elapsed(timestamp, now));
            let value = match sample {
                Sample::Failure => {
                    let doubled = cost * 2.0;
                    micros.max(doubled.clamp(MIN_FAILURE_COST_MICROS, MAX_FAILURE_COST_MICROS))
                }
                Sample::Response | Sample::Unfinished => micros,
            };
            let cost = if value >= cost {
                value
            } else if sample == Sample::Unfinished {
                return None;
            } else {
                cost * factor + value * (1.0 - factor)
            };
            Some(pack(cost, now))
        });
    }
}

fn pack(cost: f32, timestamp: u32) -> u64 {
    u64::from(cost.to_bits()) << 32 | u64::from(timestamp)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each cast selects one half"
)]
fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

/// Milliseconds modulo 2^32, which wrap every 49 days.
#[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
fn millis(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
}

/// The milliseconds since `timestamp`. Zero if it lies in the future, which is possible when threads race.
fn elapsed(timestamp: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(timestamp);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn decay() -> Decay {
        Decay::new(Duration::from_secs(10))
    }

    fn cost(ewma: &PeakEwma, at: u64) -> u128 {
        ewma.cost(at, decay()).as_micros()
    }

    #[test]
    fn the_cost_rises_at_once_and_decays_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(cost(&ewma, 0), 0);
        ewma.record(0, Duration::from_millis(10), Sample::Response, decay());
        ewma.record(0, Duration::from_millis(100), Sample::Response, decay());
        assert_eq!(cost(&ewma, 0), 100_000);
        ewma.record(SECOND, Duration::from_millis(10), Sample::Response, decay());
        assert!((91_000..92_000).contains(&cost(&ewma, SECOND)));
        for at in 2..60 {
            ewma.record(
                at * SECOND,
                Duration::from_millis(10),
                Sample::Response,
                decay(),
            );
        }
        assert!((10_000..10_500).contains(&cost(&ewma, 59 * SECOND)));
        // Without samples the cost decays by the factor e in ten seconds.
        assert!((3_600..3_900).contains(&cost(&ewma, 69 * SECOND)));
    }

    #[test]
    fn fast_failures_have_a_high_cost() {
        let ewma = PeakEwma::default();
        for _ in 0..3 {
            ewma.record(0, Duration::from_micros(10), Sample::Failure, decay());
        }
        assert_eq!(cost(&ewma, 0), 4_000);
        for _ in 0..100 {
            ewma.record(0, Duration::from_micros(10), Sample::Failure, decay());
        }
        assert_eq!(cost(&ewma, 0), 10_000_000);
    }

    #[test]
    fn an_unfinished_attempt_never_lowers_the_cost() {
        let ewma = PeakEwma::default();
        ewma.record(0, Duration::from_millis(50), Sample::Response, decay());
        ewma.record(
            SECOND,
            Duration::from_millis(1),
            Sample::Unfinished,
            decay(),
        );
        assert_eq!(cost(&ewma, 0), 50_000);
        ewma.record(
            SECOND,
            Duration::from_millis(80),
            Sample::Unfinished,
            decay(),
        );
        assert!((79_999..=80_000).contains(&cost(&ewma, SECOND)));
    }

    #[test]
    fn the_millisecond_counter_may_wrap() {
        let ewma = PeakEwma::default();
        let end = u64::from(u32::MAX) * 1_000_000;
        ewma.record(end, Duration::from_millis(50), Sample::Response, decay());
        assert!((18_000..18_700).contains(&cost(&ewma, end + 10 * SECOND)));
    }

    proptest! {
        #[test]
        fn the_cost_stays_between_the_last_and_the_largest_sample(
            samples in prop::collection::vec((0_u64..5000, 1_u64..100_000), 1..100),
        ) {
            let ewma = PeakEwma::default();
            let mut at = 0;
            for (later, micros) in &samples {
                at += later * 1_000_000;
                ewma.record(at, Duration::from_micros(*micros), Sample::Response, decay());
                // One microsecond of tolerance for the rounding of `f32`.
                prop_assert!(cost(&ewma, at) + 1 >= u128::from(*micros));
            }
            let (_, max) = samples.iter().max_by_key(|s| s.1).unwrap();
            prop_assert!(cost(&ewma, at) <= u128::from(*max) + 1);
        }
    }
}
