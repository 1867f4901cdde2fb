use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NOBODY: [usize; 0] = [];

struct Backend {
    ejector: OutlierDetector,
    records: Vec<InstanceStats>,
    now: Instant,
}

impl Backend {
    fn of(instances: usize) -> Self {
        Self::with(&Config::default(), instances)
    }

    fn with(config: &Config, instances: usize) -> Self {
        let now = Instant::now();
        Self {
            ejector: OutlierDetector::new(config, now),
            records: (0..instances).map(|_| InstanceStats::default()).collect(),
            now,
        }
    }

    fn call(&self, instance: usize, outcome: AttemptOutcome) {
        let record = &self.records[instance];
        if self.ejector.record(self.now, record, outcome) {
            let all: Vec<_> = self.records.iter().collect();
            self.ejector.evaluate(self.now, &all);
        }
    }

    fn calls(&self, instance: usize, good: u32, bad: u32) {
        // Interleaved, so that no row of failures decides.
        for n in 0..good.max(bad) {
            if n < bad {
                self.call(instance, AttemptOutcome::Failure);
            }
            if n < good {
                self.call(instance, AttemptOutcome::Success);
            }
        }
    }

    fn out(&self) -> Vec<usize> {
        let is_out = |n: &usize| self.ejector.is_ejected(self.now, &self.records[*n]);
        (0..self.records.len()).filter(is_out).collect()
    }
}

#[test]
fn five_failures_in_a_row_eject_and_ten_seconds_heal() {
    let mut backend = Backend::of(3);
    for outcome in [AttemptOutcome::Failure; 4] {
        backend.call(0, outcome);
    }
    backend.call(0, AttemptOutcome::Success);
    for outcome in [AttemptOutcome::Failure; 4] {
        backend.call(0, outcome);
    }
    backend.call(0, AttemptOutcome::Ignored);
    assert_eq!(backend.out(), NOBODY);
    backend.call(0, AttemptOutcome::Failure);
    assert_eq!(backend.out(), [0]);
    assert!(backend.ejector.any_ejected(backend.now));
    backend.now += 10 * SECOND;
    assert_eq!(backend.out(), NOBODY);
    assert!(!backend.ejector.any_ejected(backend.now));
}

#[test]
fn each_time_lasts_longer_up_to_five_minutes() {
    let mut backend = Backend::of(2);
    for times in 1..40 {
        for _ in 0..5 {
            backend.call(0, AttemptOutcome::Failure);
        }
        let time = (10 * SECOND * times).min(300 * SECOND);
        backend.now += time.saturating_sub(SECOND);
        assert_eq!(backend.out(), [0], "{times}");
        backend.now += SECOND;
        assert_eq!(backend.out(), NOBODY, "{times}");
    }
}

#[test]
fn a_good_interval_is_credited() {
    let mut backend = Backend::of(2);
    for _ in 0..3 {
        for _ in 0..5 {
            backend.call(0, AttemptOutcome::Failure);
        }
        backend.now += 60 * SECOND;
    }
    // The first call after the pause ends an empty interval; two good ones follow.
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
    assert_eq!(backend.out(), [0]);
    backend.now += 20 * SECOND;
    assert_eq!(backend.out(), NOBODY, "the second time, not the fourth");
}

#[test]
fn with_traffic_a_short_row_is_chance_and_a_long_one_is_not() {
    let backend = Backend::of(3);
    backend.calls(0, 50, 0);
    for _ in 0..19 {
        backend.call(0, AttemptOutcome::Failure);
    }
    assert_eq!(backend.out(), NOBODY);
    backend.call(0, AttemptOutcome::Failure);
    assert_eq!(backend.out(), [0]);
}

#[test]
fn an_outlier_is_ejected_at_the_end_of_the_interval() {
    let mut backend = Backend::of(3);
    backend.calls(0, 60, 40);
    backend.calls(1, 100, 0);
    backend.calls(2, 95, 5);
    assert_eq!(backend.out(), NOBODY);
    backend.now += 10 * SECOND;
    backend.call(1, AttemptOutcome::Success);
    assert_eq!(backend.out(), [0]);
}

#[test]
fn a_backend_that_is_ill_as_a_whole_has_no_outlier() {
    let mut backend = Backend::of(3);
    for (instance, bad) in [(0, 35), (1, 30), (2, 25)] {
        backend.calls(instance, 100 - bad, bad);
    }
    backend.now += 10 * SECOND;
    backend.call(1, AttemptOutcome::Success);
    assert_eq!(backend.out(), NOBODY);
}

#[test]
fn the_worst_is_ejected_when_there_is_room_for_one() {
    let mut backend = Backend::of(3);
    backend.calls(0, 40, 60);
    backend.calls(1, 20, 80);
    backend.calls(2, 400, 0);
    backend.now += 10 * SECOND;
    backend.call(2, AttemptOutcome::Success);
    assert_eq!(backend.out(), [1]);
}

#[test]
fn the_only_instance_stays_whatever_it_does() {
    let config = Config {
        max_ejection_ratio: Ratio::percent(100),
        ..Config::default()
    };
    for instances in [1, 2, 5] {
        let backend = Backend::with(&config, instances);
        for instance in 0..instances {
            for _ in 0..100 {
                backend.call(instance, AttemptOutcome::Failure);
            }
        }
        assert_eq!(backend.out().len(), instances - 1);
    }
}

#[test]
fn threads_that_race_leave_enough_of_them() {
    for _ in 0..50 {
        let backend = Backend::of(4);
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
        assert_eq!(backend.out().len(), 2);
    }
}

#[test]
fn what_is_counted_while_instances_are_compared_confuses_nobody() {
    let always = Config {
        interval: Duration::ZERO,
        ..Config::default()
    };
    let backend = Backend::with(&always, 2);
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
    assert_eq!(backend.out(), NOBODY);
}

proptest! {
    #[test]
    fn never_too_many_are_out_and_all_come_back(
        instances in 1_usize..8,
        steps in prop::collection::vec((0_usize..8, 0_u64..500, 0_u8..10), 1..600),
    ) {
        let mut backend = Backend::of(instances);
        for (instance, millis, fate) in steps {
            let outcome = if fate < 6 { AttemptOutcome::Failure } else { AttemptOutcome::Success };
            backend.call(instance % instances, outcome);
            prop_assert!(backend.out().len() <= instances / 2);
            let anybody = backend.ejector.any_ejected(backend.now);
            prop_assert_eq!(anybody, !backend.out().is_empty());
            backend.now += Duration::from_millis(millis);
        }
        backend.now += 300 * SECOND;
        prop_assert!(backend.out().is_empty());
    }
}
