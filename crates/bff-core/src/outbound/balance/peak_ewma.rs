//! Peak EWMA: a latency that jumps up at once and comes down slowly, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A failure counts as at least this, whatever it took: failing fast is not being fast.
const MIN_FAILURE_COST_MICROS: f32 = 1_000.0;
/// And as at most this.
const MAX_FAILURE_COST_MICROS: f32 = 10_000_000.0;

/// How fast peaks are forgotten: the time constant, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decay(f32);

impl Decay {
    pub(super) fn over(time: Duration) -> Self {
        Self((time.as_secs_f32() * 1000.0).max(1.0))
    }

    /// What is left of one after so many milliseconds.
    fn decay_factor(self, millis: u32) -> f32 {
        if millis == 0 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "decay needs no more precision")]
        let millis = millis as f32;
        (-millis / self.0).exp()
    }
}

/// What a sample is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// So long it takes.
    Answer,
    /// It failed: at least twice what it took before.
    Failure,
    /// It would have taken at least so long.
    Unfinished,
}

/// Microseconds (an `f32`) in the upper half, the millisecond of the last sample in the lower.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// The cost at `at` nanoseconds.
    pub(super) fn cost(&self, at: u64, decay: Decay) -> Duration {
        Duration::from_secs_f32(self.micros(at, decay) / 1e6)
    }

    /// The cost at `at` nanoseconds, in microseconds; zero while nothing is known.
    pub(super) fn micros(&self, at: u64, decay: Decay) -> f32 {
        let (cost, stamp) = unpack(self.0.load(Relaxed));
        cost * decay.decay_factor(since(stamp, millis(at)))
    }

    /// Notes a sample taken at `at` nanoseconds.
    pub(super) fn observe(&self, at: u64, time: Duration, sample: Sample, decay: Decay) {
        let (now, time) = (millis(at), time.as_secs_f32() * 1e6);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |packed| {
            let (cost, stamp) = unpack(packed);
            let left = decay.decay_factor(since(stamp, now));
            let peak = match sample {
                Sample::Failure => {
                    time.max((cost * 2.0).clamp(MIN_FAILURE_COST_MICROS, MAX_FAILURE_COST_MICROS))
                }
                Sample::Answer | Sample::Unfinished => time,
            };
            let cost = if peak >= cost {
                peak
            } else if sample == Sample::Unfinished {
                return None;
            } else {
                cost * left + peak * (1.0 - left)
            };
            Some(pack(cost, now))
        });
    }
}

fn pack(cost: f32, stamp: u32) -> u64 {
    u64::from(cost.to_bits()) << 32 | u64::from(stamp)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of what was packed"
)]
fn unpack(packed: u64) -> (f32, u32) {
    (f32::from_bits((packed >> 32) as u32), packed as u32)
}

/// Milliseconds, which begin anew every 49 days.
#[expect(clippy::cast_possible_truncation, reason = "they begin anew")]
fn millis(nanos: u64) -> u32 {
    (nanos / 1_000_000) as u32
}

/// How long `stamp` is past; nothing if it is ahead, as it may be by a moment when threads race.
fn since(stamp: u32, now: u32) -> u32 {
    let past = now.wrapping_sub(stamp);
    if past > u32::MAX / 2 { 0 } else { past }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn decay() -> Decay {
        Decay::over(Duration::from_secs(10))
    }

    fn cost(ewma: &PeakEwma, at: u64) -> u128 {
        ewma.cost(at, decay()).as_micros()
    }

    #[test]
    fn a_peak_is_seen_at_once_and_forgotten_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(cost(&ewma, 0), 0);
        ewma.observe(0, Duration::from_millis(10), Sample::Answer, decay());
        ewma.observe(0, Duration::from_millis(100), Sample::Answer, decay());
        assert_eq!(cost(&ewma, 0), 100_000);
        ewma.observe(SECOND, Duration::from_millis(10), Sample::Answer, decay());
        assert!((91_000..92_000).contains(&cost(&ewma, SECOND)));
        for at in 2..60 {
            ewma.observe(
                at * SECOND,
                Duration::from_millis(10),
                Sample::Answer,
                decay(),
            );
        }
        assert!((10_000..10_500).contains(&cost(&ewma, 59 * SECOND)));
        // Without calls it is forgotten: by e in ten seconds.
        assert!((3_600..3_900).contains(&cost(&ewma, 69 * SECOND)));
    }

    #[test]
    fn failing_fast_is_not_being_fast() {
        let ewma = PeakEwma::default();
        for _ in 0..3 {
            ewma.observe(0, Duration::from_micros(10), Sample::Failure, decay());
        }
        assert_eq!(cost(&ewma, 0), 4_000);
        for _ in 0..100 {
            ewma.observe(0, Duration::from_micros(10), Sample::Failure, decay());
        }
        assert_eq!(cost(&ewma, 0), 10_000_000);
    }

    #[test]
    fn what_was_given_up_only_ever_raises_it() {
        let ewma = PeakEwma::default();
        ewma.observe(0, Duration::from_millis(50), Sample::Answer, decay());
        ewma.observe(
            SECOND,
            Duration::from_millis(1),
            Sample::Unfinished,
            decay(),
        );
        assert_eq!(cost(&ewma, 0), 50_000);
        ewma.observe(
            SECOND,
            Duration::from_millis(80),
            Sample::Unfinished,
            decay(),
        );
        assert!((79_999..=80_000).contains(&cost(&ewma, SECOND)));
    }

    #[test]
    fn it_outlives_its_milliseconds() {
        let ewma = PeakEwma::default();
        let end = u64::from(u32::MAX) * 1_000_000;
        ewma.observe(end, Duration::from_millis(50), Sample::Answer, decay());
        assert!((18_000..18_700).contains(&cost(&ewma, end + 10 * SECOND)));
    }

    proptest! {
        #[test]
        fn it_stays_between_the_least_and_the_greatest_sample(
            samples in prop::collection::vec((0_u64..5000, 1_u64..100_000), 1..100),
        ) {
            let ewma = PeakEwma::default();
            let mut at = 0;
            for (later, micros) in &samples {
                at += later * 1_000_000;
                ewma.observe(at, Duration::from_micros(*micros), Sample::Answer, decay());
                // Where single precision rounds is not the point.
                prop_assert!(cost(&ewma, at) + 1 >= u128::from(*micros));
            }
            let (_, most) = samples.iter().max_by_key(|s| s.1).unwrap();
            prop_assert!(cost(&ewma, at) <= u128::from(*most) + 1);
        }
    }
}
