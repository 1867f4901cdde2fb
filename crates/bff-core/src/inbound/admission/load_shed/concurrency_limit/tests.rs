//! The limit in simulations of healthy traffic and of overload, its bounds for any input, and its configuration errors.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use simulation::{DEADLINE, Load, SIGNED_IN, Simulation};

mod simulation;

const MS: Duration = Duration::from_millis(1);

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

/// The fraction of the requests of signed-in users that did not fail.
fn signed_in(outcome: &simulation::Outcome) -> f64 {
    outcome.classes[SIGNED_IN].success()
}

#[test]
fn a_saturated_gateway_rejects_nothing_and_its_goodput_does_not_fall() {
    for service in [Duration::from_micros(300), 50 * MS] {
        let mut last = 0.0;
        for clients in [8, 32, 64, 128, 1000] {
            let mut simulation = Simulation::new(10_000, service);
            let outcome = simulation.run(Load::Closed(clients), seconds(3));
            assert_eq!(outcome.rejected, 0, "{clients}: {outcome:?}");
            assert!(outcome.goodput >= 0.99 * last, "{clients}: {outcome:?}");
            last = outcome.goodput;
        }
    }
}

#[test]
fn a_burst_of_clients_at_a_cold_start_is_no_overload() {
    for service in [50 * MS, 200 * MS, seconds(1)] {
        let mut simulation = Simulation::new(10_000, service);
        simulation.attempt_timeout = DEADLINE;
        let outcome = simulation.run(Load::Closed(1000), seconds(10));
        assert_eq!(outcome.rejected, 0, "{service:?}: {outcome:?}");
    }
}

#[test]
fn cpu_use_by_another_process_is_no_overload() {
    for clients in [32, 128] {
        let mut simulation = Simulation::new(10_000, Duration::from_micros(300));
        let service = simulation.cpu.service;
        for factor in [1, 4, 1, 20, 1] {
            simulation.cpu.service = service * factor;
            let outcome = simulation.run(Load::Closed(clients), seconds(2));
            assert_eq!(outcome.rejected, 0, "{factor}: {outcome:?}");
            simulation.cpu.pause(simulation.now, 200 * MS);
        }
    }
}

#[test]
fn at_twice_the_capacity_goodput_stays_high_and_signed_in_users_are_served() {
    for (slots, service) in [
        (32, 80 * MS),
        (30, 50 * MS),
        (60, 50 * MS),
        (200, 50 * MS),
        (100, 10 * MS),
        (20, 200 * MS),
    ] {
        let mut simulation = Simulation::new(slots, service);
        let capacity = simulation.capacity();
        let low_load = simulation.run(Load::Open(capacity / 2.0), seconds(5));
        assert_eq!(low_load.rejected, 0, "{slots}: {low_load:?}");
        for _ in 0..2 {
            let outcome = simulation.run(Load::Open(2.0 * capacity), seconds(30));
            let utilization = outcome.goodput / capacity;
            assert!(utilization > 0.97, "{slots}: {utilization}, {outcome:?}");
            assert!(signed_in(&outcome) > 0.99, "{slots}: {outcome:?}");
            assert!(outcome.slowest < seconds(1), "{slots}: {outcome:?}");
        }
    }
}

#[test]
fn a_lasting_overload_never_becomes_normal() {
    let mut simulation = Simulation::new(40, 50 * MS);
    let capacity = simulation.capacity();
    simulation.run(Load::Open(capacity / 2.0), seconds(5));
    simulation.run(Load::Open(3.0 * capacity), seconds(600));
    let outcome = simulation.run(Load::Open(3.0 * capacity), seconds(30));
    assert!(outcome.slowest < 500 * MS, "{outcome:?}");
}

#[test]
fn a_start_during_an_overload_converges() {
    // The backend's queue may be long before the gateway starts.
    for backlog in [0, 1000] {
        let mut simulation = Simulation::new(30, 50 * MS);
        let capacity = simulation.capacity();
        for _ in 0..backlog {
            let give_up = simulation.now + seconds(10);
            simulation.backend.serve(simulation.now, give_up).unwrap();
        }
        simulation.run(Load::Open(2.0 * capacity), seconds(20));
        let outcome = simulation.run(Load::Open(2.0 * capacity), seconds(30));
        let utilization = outcome.goodput / capacity;
        assert!(utilization > 0.97, "{utilization} {outcome:?}");
        assert!(signed_in(&outcome) > 0.99, "{outcome:?}");
        assert!(outcome.slowest < 500 * MS, "{outcome:?}");
    }
}

#[test]
fn after_an_overload_no_request_is_rejected() {
    let mut simulation = Simulation::new(60, 50 * MS);
    let capacity = simulation.capacity();
    let overload = simulation.run(Load::Open(4.0 * capacity), seconds(30));
    assert!(overload.rejected > 0, "{overload:?}");
    simulation.run(Load::Open(0.9 * capacity), seconds(3));
    let outcome = simulation.run(Load::Open(0.9 * capacity), seconds(30));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn a_load_that_grows_within_capacity_is_admitted() {
    let mut simulation = Simulation::new(2000, 50 * MS);
    for rate in [200.0, 2000.0, 10_000.0] {
        let outcome = simulation.run(Load::Open(rate), seconds(5));
        assert_eq!(outcome.rejected, 0, "{outcome:?}");
    }
}

#[test]
fn a_backend_that_becomes_slower_without_overload_is_not_starved() {
    for (slow, rate, may_reject) in [
        (250 * MS, 1500.0, false),
        (450 * MS, 1500.0, true),
        (900 * MS, 1000.0, true),
    ] {
        let mut simulation = Simulation::new(10_000, 50 * MS);
        simulation.run(Load::Open(rate), seconds(20));
        simulation.backend.service = slow;
        // The throughput shows that load is not the cause, which takes some windows.
        let first = simulation.run(Load::Open(rate), 12 * slow);
        assert!(may_reject || first.rejected == 0, "{first:?}");
        assert!(signed_in(&first) > 0.999, "{first:?}");
        let outcome = simulation.run(Load::Open(rate), seconds(60));
        assert_eq!(outcome.rejected, 0, "{slow:?}: {outcome:?}");
    }
}

#[test]
fn slow_requests_at_low_load_do_not_limit_a_later_load() {
    let mut simulation = Simulation::new(10_000, 10 * MS);
    simulation.run(Load::Open(200.0), seconds(20));
    simulation.backend.service = 400 * MS;
    simulation.run(Load::Open(20.0), seconds(60));
    let outcome = simulation.run(Load::Open(600.0), seconds(30));
    assert_eq!(outcome.rejected, 0, "{outcome:?}");
}

#[test]
fn a_minority_of_slow_requests_is_no_overload() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now);
    for n in 0..20_000 {
        now += MS;
        let slow = n > 1000 && n % 10 < 4;
        let latency = if slow { 1500 * MS } else { 20 * MS };
        limit.record_outcome(now, RequestOutcome::Completed(latency), 600);
    }
    assert_eq!(limit.current(), 2000);
}

#[test]
fn the_limit_shrinks_if_latency_exceeds_the_threshold() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now);
    record_windows(&mut limit, &mut now, 4, 40, MS, 0);
    record_windows(&mut limit, &mut now, 4, 90, 290 * MS, 0);
    assert_eq!(limit.current(), 2000, "below 15 % of the deadline");
    record_windows(&mut limit, &mut now, 1, 90, 320 * MS, 0);
    assert!(limit.current() <= 99, "90 × 1.1: {limit:?}");
}

#[test]
fn the_limit_shrinks_if_requests_are_dropped_and_recovers() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now);
    record_windows(&mut limit, &mut now, 4, 60, 50 * MS, 80);
    assert_eq!(limit.current(), 2000, "8 % dropped is below the threshold");
    record_windows(&mut limit, &mut now, 8, 60, 50 * MS, 200);
    assert!(limit.current() < 60, "{limit:?}");
    record_windows(&mut limit, &mut now, 40, 60, 50 * MS, 0);
    assert!(limit.current() >= 100, "{limit:?}");
}

#[test]
fn a_disconnect_counts_as_slow_but_never_as_fast() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now);
    record_windows(&mut limit, &mut now, 4, 60, 50 * MS, 0);
    let before = limit.clone();
    for _ in 0..2000 {
        now += MS;
        let changed = limit.record_outcome(now, RequestOutcome::Disconnected(MS), 60);
        assert!(!changed, "a window ended");
    }
    for _ in 0..2000 {
        now += MS;
        limit.record_outcome(now, RequestOutcome::Disconnected(400 * MS), 60);
    }
    assert!(limit.current() < before.current(), "{limit:?}");
}

#[test]
fn a_limit_that_is_not_in_use_does_not_grow() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), DEADLINE, now);
    record_windows(&mut limit, &mut now, 4, 90, 50 * MS, 500);
    record_windows(&mut limit, &mut now, 1, 10, 50 * MS, 0);
    let before = limit.current();
    assert!(before < 100, "{limit:?}");
    record_windows(&mut limit, &mut now, 100, before / 3, 50 * MS, 0);
    assert_eq!(limit.current(), before);
}

#[test]
fn a_configuration_error_is_one_line_that_names_its_key() {
    let number = |n| NonZeroU32::new(n).unwrap();
    let valid = Config::default;
    for (wrong, key) in [
        (
            Config {
                min: number(2001),
                ..valid()
            },
            "min",
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
        (
            Config {
                latency_threshold: Some(MS),
                ..valid()
            },
            "latency_threshold",
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
        min in 1_u32..50, max in 0_u32..50,
        steps in prop::collection::vec((0_u64..400, outcomes(), any::<bool>(), 1_usize..40, 0_u32..99), 1..200),
    ) {
        let number = |n| NonZeroU32::new(n).unwrap();
        let bounds = (min, min + max);
        let config = Config {
            min: number(bounds.0), max: number(bounds.1),
            ..Config::default()
        };
        let mut now = Instant::now();
        let mut limit = AdaptiveConcurrencyLimit::new(&config, DEADLINE, now);
        for (millis, outcome, rejected, times, in_flight) in steps {
            now += Duration::from_millis(millis);
            if rejected {
                limit.record_rejection();
            }
            for _ in 0..times {
                limit.record_outcome(now, outcome, in_flight);
            }
            prop_assert!((bounds.0..=bounds.1).contains(&limit.current()), "{limit:?}");
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
        simulation.run(Load::Open(capacity / 2.0), seconds(10));
        simulation.run(Load::Open(2.0 * capacity), seconds(10));
        let outcome = simulation.run(Load::Open(2.0 * capacity), seconds(20));
        let utilization = outcome.goodput / capacity;
        prop_assert!(utilization > 0.95, "{utilization} {outcome:?}");
        prop_assert!(signed_in(&outcome) > 0.97, "{outcome:?}");
    }
}
