//! Ejections in a backend of some instances, on a clock set by hand.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NONE: [usize; 0] = [];

struct Backend {
    detector: OutlierDetector,
    stats: Vec<InstanceStats>,
    now: Instant,
}

impl Backend {
    fn new(instances: usize) -> Self {
        Self::with_config(&Config::default(), instances)
    }

    fn with_config(config: &Config, instances: usize) -> Self {
        let now = Instant::now();
        Self {
            detector: OutlierDetector::new(config, now),
            stats: (0..instances).map(|_| InstanceStats::default()).collect(),
            now,
        }
    }

    fn call(&self, instance: usize, outcome: AttemptOutcome) {
        let stats = &self.stats[instance];
        if self.detector.record(self.now, stats, outcome) {
            let all: Vec<_> = self.stats.iter().collect();
            self.detector.evaluate(self.now, &all);
        }
    }

    fn calls(&self, instance: usize, successes: u32, failures: u32) {
        // Interleaved, so that the number of consecutive failures stays low.
        for n in 0..successes.max(failures) {
            if n < failures {
                self.call(instance, AttemptOutcome::Failure);
            }
            if n < successes {
                self.call(instance, AttemptOutcome::Success);
            }
        }
    }

    fn ejected(&self) -> Vec<usize> {
        let is_ejected = |n: &usize| self.detector.is_ejected(self.now, &self.stats[*n]);
        (0..self.stats.len()).filter(is_ejected).collect()
    }
}

#[test]
fn five_consecutive_failures_eject_for_ten_seconds() {
    let mut backend = Backend::new(3);
    for outcome in [AttemptOutcome::Failure; 4] {
        backend.call(0, outcome);
    }
    backend.call(0, AttemptOutcome::Success);
    for outcome in [AttemptOutcome::Failure; 4] {
        backend.call(0, outcome);
    }
    backend.call(0, AttemptOutcome::Ignored);
    assert_eq!(backend.ejected(), NONE);
    backend.call(0, AttemptOutcome::Failure);
    assert_eq!(backend.ejected(), [0]);
    assert!(backend.detector.any_ejected(backend.now));
    backend.now += 10 * SECOND;
    assert_eq!(backend.ejected(), NONE);
    assert!(!backend.detector.any_ejected(backend.now));
}

#[test]
fn each_ejection_lasts_longer_up_to_five_minutes() {
    let mut backend = Backend::new(2);
    for times in 1..40 {
        for _ in 0..5 {
            backend.call(0, AttemptOutcome::Failure);
        }
        let time = (10 * SECOND * times).min(300 * SECOND);
        backend.now += time.saturating_sub(SECOND);
        assert_eq!(backend.ejected(), [0], "{times}");
        backend.now += SECOND;
        assert_eq!(backend.ejected(), NONE, "{times}");
    }
}

#[test]
fn a_healthy_interval_shortens_the_next_ejection() {
    let mut backend = Backend::new(2);
    for _ in 0..3 {
        for _ in 0..5 {
            backend.call(0, AttemptOutcome::Failure);
        }
        backend.now += 60 * SECOND;
    }
    // The first call after the pause ends an empty interval; two healthy intervals follow.
    backend.call(1, AttemptOutcome::Success);
    for _ in 0..2 {
        backend.calls(0, 30, 0);
        backend.calls(1, 30, 0);
        backend.now += 10 * SECOND;
        backend.call(1, AttemptOutcome::Success);
    }
    for _ in 0..20 {
        backend.call(0, AttemptOutcome::Failure);
    }
    assert_eq!(backend.ejected(), [0]);
    backend.now += 20 * SECOND;
    assert_eq!(
        backend.ejected(),
        NONE,
        "the length of the second ejection, not of the fourth"
    );
}

#[test]
fn with_traffic_more_consecutive_failures_are_needed() {
    let backend = Backend::new(3);
    backend.calls(0, 50, 0);
    for _ in 0..19 {
        backend.call(0, AttemptOutcome::Failure);
    }
    assert_eq!(backend.ejected(), NONE);
    backend.call(0, AttemptOutcome::Failure);
    assert_eq!(backend.ejected(), [0]);
}

#[test]
fn an_outlier_is_ejected_at_the_end_of_the_interval() {
    let mut backend = Backend::new(3);
    backend.calls(0, 60, 40);
    backend.calls(1, 100, 0);
    backend.calls(2, 95, 5);
    assert_eq!(backend.ejected(), NONE);
    backend.now += 10 * SECOND;
    backend.call(1, AttemptOutcome::Success);
    assert_eq!(backend.ejected(), [0]);
}

#[test]
fn a_backend_with_high_failure_rates_everywhere_has_no_outlier() {
    let mut backend = Backend::new(3);
    for (instance, failures) in [(0, 35), (1, 30), (2, 25)] {
        backend.calls(instance, 100 - failures, failures);
    }
    backend.now += 10 * SECOND;
    backend.call(1, AttemptOutcome::Success);
    assert_eq!(backend.ejected(), NONE);
}

#[test]
fn only_the_worst_is_ejected_if_the_ratio_allows_one() {
    let mut backend = Backend::new(3);
    backend.calls(0, 40, 60);
    backend.calls(1, 20, 80);
    backend.calls(2, 400, 0);
    backend.now += 10 * SECOND;
    backend.call(2, AttemptOutcome::Success);
    assert_eq!(backend.ejected(), [1]);
}

#[test]
fn the_last_instance_is_never_ejected() {
    let config = Config {
        max_ejection_ratio: Ratio::percent(100),
        ..Config::default()
    };
    for instances in [1, 2, 5] {
        let backend = Backend::with_config(&config, instances);
        for instance in 0..instances {
            for _ in 0..100 {
                backend.call(instance, AttemptOutcome::Failure);
            }
        }
        assert_eq!(backend.ejected().len(), instances - 1);
    }
}

#[test]
fn concurrent_ejections_respect_the_maximum_ratio() {
    for _ in 0..50 {
        let backend = Backend::new(4);
        std::thread::scope(|threads| {
            for instance in 0..4 {
                let backend = &backend;
                threads.spawn(move || {
                    for _ in 0..40 {
                        backend.call(instance, AttemptOutcome::Failure);
                    }
                });
            }
        });
        assert_eq!(backend.ejected().len(), 2);
    }
}

#[test]
fn concurrent_records_during_a_comparison_cause_no_ejection() {
    let always = Config {
        interval: Duration::ZERO,
        ..Config::default()
    };
    let backend = Backend::with_config(&always, 2);
    std::thread::scope(|threads| {
        for instance in [0, 0, 1, 1] {
            let backend = &backend;
            threads.spawn(move || {
                for _ in 0..20_000 {
                    backend.call(instance, AttemptOutcome::Success);
                }
            });
        }
    });
    assert_eq!(backend.ejected(), NONE);
}

proptest! {
    #[test]
    fn the_ejected_ratio_is_bounded_and_all_ejections_end(
        instances in 1_usize..8,
        steps in prop::collection::vec((0_usize..8, 0_u64..500, 0_u8..10), 1..600),
    ) {
        let mut backend = Backend::new(instances);
        for (instance, millis, kind) in steps {
            let outcome = if kind < 6 { AttemptOutcome::Failure } else { AttemptOutcome::Success };
            backend.call(instance % instances, outcome);
            prop_assert!(backend.ejected().len() <= instances / 2);
            let any_ejected = backend.detector.any_ejected(backend.now);
            prop_assert_eq!(any_ejected, !backend.ejected().is_empty());
            backend.now += Duration::from_millis(millis);
        }
        backend.now += 300 * SECOND;
        prop_assert!(backend.ejected().is_empty());
    }
}
