//! The limit in simulations of overload, its bounds for any input, and its configuration errors.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A simulation of clients with independent random arrivals, a gateway and its backend. The backend has a fixed number
/// of slots, a fixed service time and a FIFO queue.
struct Simulation {
    limit: AdaptiveConcurrencyLimit,
    now: Instant,
    slots: usize,
    service: Duration,
    /// The time at which each of the backend's slots becomes free.
    free: BinaryHeap<Reverse<Instant>>,
    /// The end and the start of each request in flight.
    in_flight: BinaryHeap<Reverse<(Instant, Instant)>>,
    random: u64,
}

/// The results of a run.
#[derive(Debug, Default)]
struct Outcome {
    completed: u32,
    rejected: u32,
    slowest: Duration,
    min_limit: u32,
    max_limit: u32,
}

impl Simulation {
    fn new(slots: usize, service: Duration) -> Self {
        let now = Instant::now();
        Self {
            limit: AdaptiveConcurrencyLimit::new(&Config::default(), now),
            now,
            slots,
            service,
            free: BinaryHeap::new(),
            in_flight: BinaryHeap::new(),
            random: 1,
        }
    }

    /// The requests per second that the backend can process.
    fn capacity(&self) -> f64 {
        f64::from(u32::try_from(self.slots).unwrap()) / self.service.as_secs_f64()
    }

    /// A random time between two arrivals of a Poisson process, at `rate` requests a second.
    fn gap(&mut self, rate: f64) -> Duration {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chance = f64::from(u32::try_from(self.random >> 32).unwrap()) / f64::from(u32::MAX);
        Duration::from_secs_f64(-chance.clamp(1e-9, 1.0).ln() / rate)
    }

    /// Sends `rate` requests a second for `duration`.
    fn run(&mut self, rate: f64, duration: Duration) -> Outcome {
        let until = self.now + duration;
        let mut outcome = Outcome {
            min_limit: u32::MAX,
            ..Outcome::default()
        };
        loop {
            let next = self.now + self.gap(rate);
            self.end_requests(next.min(until), &mut outcome);
            self.now = next.min(until);
            if next >= until {
                return outcome;
            }
            let current = self.limit.current();
            outcome.min_limit = outcome.min_limit.min(current);
            outcome.max_limit = outcome.max_limit.max(current);
            if self.in_flight.len() >= current as usize {
                self.limit.record_rejection();
                outcome.rejected += 1;
            } else {
                self.start_request();
            }
        }
    }

    fn start_request(&mut self) {
        while self.free.len() > self.slots {
            self.free.pop();
        }
        let start = if self.free.len() == self.slots {
            self.free
                .pop()
                .map_or(self.now, |Reverse(at)| at.max(self.now))
        } else {
            self.now
        };
        let end = start + self.service;
        self.free.push(Reverse(end));
        self.in_flight.push(Reverse((end, self.now)));
    }

    fn end_requests(&mut self, until: Instant, outcome: &mut Outcome) {
        while let Some(&Reverse((end, started))) = self.in_flight.peek() {
            if end > until {
                return;
            }
            self.in_flight.pop();
            let latency = end - started;
            outcome.completed += 1;
            outcome.slowest = outcome.slowest.max(latency);
            let in_flight = u32::try_from(self.in_flight.len()).unwrap() + 1;
            self.limit
                .record_outcome(end, RequestOutcome::Completed(latency), in_flight);
        }
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Records evenly spaced outcomes for some windows. `dropped` is the number of dropped requests per thousand.
fn record_windows(
    limit: &mut AdaptiveConcurrencyLimit,
    now: &mut Instant,
    windows: u32,
    in_flight: u32,
    latency: Duration,
    dropped: u32,
) {
    let until = *now + (250 * MS).max(latency) * windows;
    let mut n = 0;
    while *now < until {
        *now += latency / in_flight;
        n = (n + 137) % 1000;
        let outcome = if n < dropped {
            RequestOutcome::Dropped(latency)
        } else {
            RequestOutcome::Completed(latency)
        };
        limit.record_outcome(*now, outcome, in_flight);
    }
}

#[test]
fn at_twice_the_capacity_throughput_stays_high_and_latency_low() {
    for slots in [30, 60, 200] {
        let mut simulation = Simulation::new(slots, 50 * MS);
        let capacity = simulation.capacity();
        let low_load = simulation.run(capacity / 4.0, seconds(5));
        assert_eq!(low_load.rejected, 0, "{slots}: {low_load:?}");
        simulation.run(2.0 * capacity, seconds(3));
        let outcome = simulation.run(2.0 * capacity, seconds(60));
        let utilization = f64::from(outcome.completed) / (60.0 * capacity);
        assert!(utilization > 0.97, "{slots}: {utilization}, {outcome:?}");
        assert!(outcome.slowest < 200 * MS, "{slots}: {outcome:?}");
    }
}

#[test]
fn a_lasting_overload_never_becomes_the_baseline() {
    let mut simulation = Simulation::new(40, 50 * MS);
    let capacity = simulation.capacity();
    simulation.run(capacity / 2.0, seconds(5));
    simulation.run(3.0 * capacity, seconds(600));
    let outcome = simulation.run(3.0 * capacity, seconds(30));
    assert!(outcome.slowest < 200 * MS, "{outcome:?}");
}

#[test]
fn a_start_during_an_overload_converges() {
    let mut simulation = Simulation::new(30, 50 * MS);
    let capacity = simulation.capacity();
    simulation.run(3.0 * capacity, seconds(10));
    let outcome = simulation.run(3.0 * capacity, seconds(30));
    let utilization = f64::from(outcome.completed) / (30.0 * capacity);
    assert!(
        utilization > 0.97 && outcome.slowest < 250 * MS,
        "{utilization} {outcome:?}"
    );
}

#[test]
fn after_an_overload_no_request_is_rejected() {
    let mut simulation = Simulation::new(60, 50 * MS);
    let capacity = simulation.capacity();
    simulation.run(4.0 * capacity, seconds(30));
    simulation.run(0.9 * capacity, seconds(3));
    let outcome = simulation.run(0.9 * capacity, seconds(30));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn a_load_that_grows_within_capacity_is_admitted() {
    let mut simulation = Simulation::new(2000, 50 * MS);
    simulation.run(200.0, seconds(5));
    let first = simulation.run(10_000.0, seconds(5));
    assert!(f64::from(first.rejected) < 0.4 * 50_000.0, "{first:?}");
    let outcome = simulation.run(10_000.0, seconds(30));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn a_backend_that_became_slower_without_overload_is_not_starved() {
    let mut simulation = Simulation::new(10_000, 50 * MS);
    simulation.run(1500.0, seconds(20));
    simulation.service = 200 * MS;
    let first = simulation.run(1500.0, seconds(5));
    assert!(first.rejected > 0, "no experiment: {first:?}");
    let outcome = simulation.run(1500.0, seconds(60));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn slow_requests_at_low_load_do_not_limit_a_later_load() {
    let mut simulation = Simulation::new(10_000, 10 * MS);
    simulation.run(200.0, seconds(20));
    simulation.service = 100 * MS;
    simulation.run(20.0, seconds(60));
    simulation.run(600.0, seconds(3));
    let outcome = simulation.run(600.0, seconds(30));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn the_limit_shrinks_if_latency_grows_with_load() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    record_windows(&mut limit, &mut now, 4, 40, 50 * MS, 0);
    let before = limit.current();
    record_windows(&mut limit, &mut now, 1, 90, 150 * MS, 0);
    assert_eq!(limit.current(), before, "one window may be an outlier");
    record_windows(&mut limit, &mut now, 2, 90, 150 * MS, 0);
    assert!(limit.current() < before, "{limit:?}");
}

#[test]
fn the_limit_shrinks_if_requests_are_dropped_and_recovers() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    record_windows(&mut limit, &mut now, 4, 60, 50 * MS, 80);
    let before = limit.current();
    assert!(
        before >= 100,
        "8 % dropped is below the threshold: {limit:?}"
    );
    record_windows(&mut limit, &mut now, 2, 60, 50 * MS, 200);
    assert!(limit.current() <= 72, "at most 60 × 1.5 × 0.8: {limit:?}");
    record_windows(&mut limit, &mut now, 20, 60, 50 * MS, 0);
    assert!(limit.current() >= before, "{limit:?}");
}

#[test]
fn a_disconnect_counts_as_slow_but_never_as_fast() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    record_windows(&mut limit, &mut now, 4, 60, 50 * MS, 0);
    let before = limit.clone();
    for _ in 0..2000 {
        now += MS;
        limit.record_outcome(now, RequestOutcome::Disconnected(MS), 60);
    }
    assert_eq!(
        (limit.current(), limit.baseline),
        (before.current(), before.baseline)
    );
    for _ in 0..2000 {
        now += MS;
        limit.record_outcome(now, RequestOutcome::Disconnected(200 * MS), 60);
    }
    assert!(limit.current() < before.current(), "{limit:?}");
}

#[test]
fn a_limit_that_is_not_in_use_does_not_grow() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    record_windows(&mut limit, &mut now, 100, 40, 50 * MS, 0);
    assert_eq!(limit.current(), 100);
}

#[test]
fn a_configuration_error_is_one_line_that_names_its_key() {
    let number = |n| NonZeroU32::new(n).unwrap();
    let valid = Config::default;
    for (wrong, key) in [
        (
            Config {
                min: number(200),
                ..valid()
            },
            "initial",
        ),
        (
            Config {
                max: number(50),
                ..valid()
            },
            "initial",
        ),
        (
            Config {
                latency_tolerance: 1.0,
                ..valid()
            },
            "latency_tolerance",
        ),
        (
            Config {
                latency_tolerance: f64::NAN,
                ..valid()
            },
            "latency_tolerance",
        ),
        (
            Config {
                latency_tolerance: f64::INFINITY,
                ..valid()
            },
            "latency_tolerance",
        ),
    ] {
        let line = wrong.check().unwrap_err();
        assert!(line.starts_with(key) && line.lines().count() == 1, "{line}");
    }
    assert!(valid().check().is_ok());
}

fn outcomes() -> impl Strategy<Value = RequestOutcome> {
    let time = (0_u64..5000).prop_map(Duration::from_millis);
    prop_oneof![
        time.clone().prop_map(RequestOutcome::Completed),
        time.clone().prop_map(RequestOutcome::Dropped),
        time.prop_map(RequestOutcome::Disconnected),
    ]
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds(
        min in 1_u32..50, initial in 0_u32..50, max in 0_u32..50,
        steps in prop::collection::vec((0_u64..400, outcomes(), any::<bool>(), 1_usize..40, 0_u32..99), 1..200),
    ) {
        let number = |n| NonZeroU32::new(n).unwrap();
        let bounds = (min, min + initial, min + initial + max);
        let config = Config {
            min: number(bounds.0), initial: number(bounds.1), max: number(bounds.2),
            ..Config::default()
        };
        let mut now = Instant::now();
        let mut limit = AdaptiveConcurrencyLimit::new(&config, now);
        for (millis, outcome, rejected, times, in_flight) in steps {
            now += Duration::from_millis(millis);
            if rejected {
                limit.record_rejection();
            }
            for _ in 0..times {
                limit.record_outcome(now, outcome, in_flight);
            }
            prop_assert!((bounds.0..=bounds.2).contains(&limit.current()), "{limit:?}");
        }
    }

}

proptest! {
    // Each case simulates 40 seconds of load.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

    #[test]
    fn the_limit_converges_for_any_backend(slots in 25_usize..150, millis in 5_u64..200) {
        let mut simulation = Simulation::new(slots, Duration::from_millis(millis));
        let capacity = simulation.capacity();
        simulation.run(capacity / 2.0, seconds(10));
        simulation.run(2.0 * capacity, seconds(10));
        let outcome = simulation.run(2.0 * capacity, seconds(20));
        let utilization = f64::from(outcome.completed) / (20.0 * capacity);
        prop_assert!(utilization > 0.95, "{utilization} {outcome:?}");
        prop_assert!(outcome.slowest < Duration::from_millis(millis) * 4, "{outcome:?}");
    }
}
