//! The breaker on a clock set by hand, with racing threads, and against a simple model.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(800);

fn breaker(now: Instant) -> Breaker {
    Breaker::new(&Config::default(), TIMEOUT, 7, now)
}

/// Makes one call of the given duration. Returns whether it was admitted.
fn call(breaker: &Breaker, now: &mut Instant, duration: Duration, outcome: AttemptOutcome) -> bool {
    let started = *now;
    *now += duration;
    let permit = breaker.admit(started);
    let admitted = permit.is_ok();
    if let Ok(permit) = permit {
        permit.done(*now, outcome);
    }
    admitted
}

fn open(breaker: &Breaker, now: &mut Instant) {
    while breaker.state() != BreakerState::Open {
        assert!(call(breaker, now, FAST, AttemptOutcome::Failure));
    }
}

#[tokio::test(start_paused = true)]
async fn five_consecutive_failures_open_it_with_low_traffic() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for outcome in [AttemptOutcome::Failure; 4] {
        call(&breaker, &mut now, Duration::from_secs(30), outcome);
    }
    call(&breaker, &mut now, FAST, AttemptOutcome::Success);
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    // An ignored outcome does not reset the count of consecutive failures.
    call(&breaker, &mut now, FAST, AttemptOutcome::Ignored);
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), BreakerState::Open);
    let rejected = breaker.admit(now).map(drop);
    let retry_after = Duration::from_secs(10);
    assert_eq!(rejected, Err(CircuitOpen { retry_after }));
}

#[tokio::test(start_paused = true)]
async fn with_traffic_the_failure_rate_opens_it() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for round in 0..50 {
        let outcome = if round % 10 >= 6 {
            AttemptOutcome::Failure
        } else {
            AttemptOutcome::Success
        };
        call(&breaker, &mut now, FAST, outcome);
    }
    for _ in 0..6 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "26 of 56");
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), BreakerState::Open, "30 of 60");
}

#[tokio::test(start_paused = true)]
async fn twenty_consecutive_failures_open_it_at_a_low_failure_rate() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..1000 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Success);
    }
    for _ in 0..19 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn successful_slow_calls_open_it() {
    let start = Instant::now();
    let breaker = breaker(start);
    // Concurrent calls: twenty within the window.
    let finish = |n: u32, duration| {
        let started = start + FAST * n;
        let permit = breaker.admit(started).unwrap();
        permit.done(started + duration, AttemptOutcome::Success);
    };
    finish(0, FAST);
    for n in 1..19 {
        finish(n, SLOW);
    }
    assert_eq!(
        breaker.state(),
        BreakerState::Closed,
        "19 calls are too few"
    );
    finish(19, SLOW);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_exceeded_deadline_counts_only_after_the_time_of_a_slow_call() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..100 {
        call(
            &breaker,
            &mut now,
            SLOW.saturating_sub(FAST),
            AttemptOutcome::DeadlineExceeded,
        );
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..5 {
        call(&breaker, &mut now, SLOW, AttemptOutcome::DeadlineExceeded);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn results_from_before_it_opened_do_not_close_it() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    let old: Vec<_> = (0..10).map(|_| breaker.admit(now).unwrap()).collect();
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    let probe = breaker.admit(now).unwrap();
    for permit in old {
        permit.done(now, AttemptOutcome::Success);
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    probe.done(now, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_frees_its_slot() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    let mut probes: Vec<_> = (0..3).map(|_| breaker.admit(now).unwrap()).collect();
    assert!(breaker.admit(now).is_err());
    drop(probes.pop());
    let fourth = breaker.admit(now).unwrap();
    fourth.done(now, AttemptOutcome::Ignored);
    assert!(
        breaker.admit(now).is_ok(),
        "an ignored outcome frees the slot too"
    );
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn three_successful_probes_close_it_with_an_empty_window() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    for _ in 0..3 {
        assert_ne!(breaker.state(), BreakerState::Closed);
        assert!(call(&breaker, &mut now, FAST, AttemptOutcome::Success));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_is_a_failed_one() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    call(&breaker, &mut now, SLOW, AttemptOutcome::Success);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn failed_probes_prolong_the_open_time_up_to_a_minute() {
    let waits = |seed| {
        let mut now = Instant::now();
        let breaker = Breaker::new(&Config::default(), TIMEOUT, seed, now);
        open(&breaker, &mut now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = breaker.admit(now).unwrap_err().retry_after;
            now += wait;
            waits.push(wait.as_secs_f64());
            breaker
                .admit(now)
                .unwrap()
                .done(now, AttemptOutcome::Failure);
        }
        waits
    };
    let first = waits(1);
    for (wait, range) in first.iter().zip([
        10.0..=10.0,
        10.0..=20.0,
        20.0..=40.0,
        30.0..=60.0,
        30.0..=60.0,
    ]) {
        assert!(range.contains(wait), "{first:?}");
    }
    assert!(first.iter().all(|w| *w <= 60.0), "{first:?}");
    assert_eq!(first, waits(1), "the seed determines the jitter");
    assert_ne!(first, waits(2));
}

#[tokio::test(start_paused = true)]
async fn at_most_three_probes_are_in_flight() {
    let mut now = Instant::now();
    let breaker = Arc::new(breaker(now));
    open(&breaker, &mut now);
    sleep(Duration::from_secs(11)).await;
    let (in_flight, max) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500_u64 {
        let (breaker, in_flight, max) = (breaker.clone(), in_flight.clone(), max.clone());
        tasks.spawn(async move {
            sleep(Duration::from_millis(n % 97)).await;
            let Ok(permit) = breaker.admit(Instant::now()) else {
                return;
            };
            max.fetch_max(
                in_flight.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            sleep(Duration::from_millis(n * 7 % 31)).await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            // Some permits are dropped and the rest ignored, so the breaker stays half-open.
            if n % 3 > 0 {
                permit.done(Instant::now(), AttemptOutcome::Ignored);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(max.load(Ordering::SeqCst), 3);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn concurrent_threads_get_three_probe_permits() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..50 {
        open(&breaker, &mut now);
        now += Duration::from_secs(60);
        let (admitted, start) = (AtomicU32::new(0), Barrier::new(8));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    start.wait();
                    let permit = breaker.admit(now);
                    admitted.fetch_add(u32::from(permit.is_ok()), Ordering::SeqCst);
                    // Held until all threads have tried.
                    start.wait();
                });
            }
        });
        assert_eq!(admitted.load(Ordering::SeqCst), 3);
        breaker
            .admit(now)
            .unwrap()
            .done(now, AttemptOutcome::Failure);
    }
}

/// A simple model of the breaker: it stores every call and counts all of them each time.
struct Model {
    phase: ModelPhase,
    generation: u32,
}

enum ModelPhase {
    Closed {
        since: Instant,
        calls: Vec<(u128, bool, bool)>,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        in_flight: u32,
        successes: u32,
    },
}

impl Model {
    fn transition(&mut self, phase: ModelPhase) {
        self.phase = phase;
        self.generation += 1;
    }

    fn admit(&mut self, now: Instant) -> Option<u32> {
        if matches!(self.phase, ModelPhase::Open { until } if now >= until) {
            self.transition(ModelPhase::HalfOpen {
                in_flight: 0,
                successes: 0,
            });
        }
        match &mut self.phase {
            ModelPhase::Closed { .. } => {}
            ModelPhase::Open { .. } | ModelPhase::HalfOpen { in_flight: 3, .. } => return None,
            ModelPhase::HalfOpen { in_flight, .. } => *in_flight += 1,
        }
        Some(self.generation)
    }

    /// `failed` is `None` for an ignored outcome. `open_time` is that of the breaker under test, because it has jitter.
    fn done(
        &mut self,
        permit: u32,
        now: Instant,
        failed: Option<bool>,
        slow: bool,
        open_time: Duration,
    ) {
        if permit != self.generation {
            return;
        }
        let until = now + open_time;
        match &mut self.phase {
            ModelPhase::Open { .. } => unreachable!(),
            ModelPhase::HalfOpen {
                in_flight,
                successes,
            } => match failed {
                None => *in_flight -= 1,
                Some(failed) if failed || slow => self.transition(ModelPhase::Open { until }),
                Some(_) if *successes == 2 => self.transition(ModelPhase::Closed {
                    since: now,
                    calls: Vec::new(),
                }),
                Some(_) => (*in_flight, *successes) = (*in_flight - 1, *successes + 1),
            },
            ModelPhase::Closed { since, calls } => {
                let Some(failed) = failed else { return };
                let second = (now - *since).as_secs().into();
                calls.push((second, failed, slow));
                let recent: Vec<_> = calls.iter().filter(|c| c.0 + 10 > second).collect();
                let consecutive = calls.iter().rev().take_while(|c| c.1).count();
                let all = recent.len();
                let failures = recent.iter().filter(|c| c.1).count();
                let slow_calls = recent.iter().filter(|c| c.2).count();
                let opens = if all < 20 {
                    consecutive >= 5
                } else {
                    consecutive >= 20 || failures * 2 >= all || slow_calls * 10 >= all * 9
                };
                if opens && (failed || slow) {
                    self.transition(ModelPhase::Open { until });
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Admit(u8),
    Done(u8, AttemptOutcome),
    Drop(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(AttemptOutcome::Success),
        4 => Just(AttemptOutcome::Failure),
        1 => Just(AttemptOutcome::Ignored),
        1 => Just(AttemptOutcome::DeadlineExceeded),
    ];
    prop_oneof![
        4 => (0_u64..400).prop_map(Step::Wait),
        1 => (0_u64..15_000).prop_map(Step::Wait),
        20 => (0_u8..8).prop_map(Step::Admit),
        20 => (0_u8..8, outcome).prop_map(|(n, o)| Step::Done(n, o)),
        1 => (0_u8..8).prop_map(Step::Drop),
    ]
}

proptest! {
    #[test]
    fn the_breaker_behaves_like_the_model(
        steps in prop::collection::vec(step(), 1..400),
        seed: u64,
    ) {
        let mut now = Instant::now();
        let breaker = Breaker::new(&Config::default(), TIMEOUT, seed, now);
        let closed = ModelPhase::Closed { since: now, calls: Vec::new() };
        let mut model = Model { phase: closed, generation: 0 };
        let mut calls = BTreeMap::new();
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Admit(n) => {
                    if calls.contains_key(&n) {
                        continue;
                    }
                    let (permit, expected) = (breaker.admit(now), model.admit(now));
                    prop_assert_eq!(permit.is_ok(), expected.is_some());
                    match (permit, expected, &model.phase) {
                        (Ok(permit), Some(expected), _) => {
                            calls.insert(n, (permit, expected, now));
                        }
                        (Err(open), _, ModelPhase::Open { until }) => {
                            prop_assert_eq!(open.retry_after, *until - now);
                        }
                        (Err(open), ..) => prop_assert_eq!(open.retry_after, HALF_OPEN_RETRY_AFTER),
                        _ => {}
                    }
                }
                Step::Done(n, outcome) => {
                    let Some((permit, expected, started)) = calls.remove(&n) else { continue };
                    let slow = now - started >= SLOW;
                    let failed = match outcome {
                        AttemptOutcome::Success => Some(false),
                        AttemptOutcome::Failure => Some(true),
                        AttemptOutcome::Ignored => None,
                        AttemptOutcome::DeadlineExceeded => slow.then_some(true),
                    };
                    permit.done(now, outcome);
                    let open_time = match breaker.inner.lock().phase {
                        Phase::Open { until } => until.saturating_duration_since(now),
                        _ => Duration::ZERO,
                    };
                    model.done(expected, now, failed, slow, open_time);
                }
                Step::Drop(n) => {
                    let Some((permit, expected, _)) = calls.remove(&n) else { continue };
                    drop(permit);
                    model.done(expected, now, None, false, Duration::ZERO);
                }
            }
            let state = match model.phase {
                ModelPhase::Closed { .. } => BreakerState::Closed,
                ModelPhase::Open { .. } => BreakerState::Open,
                ModelPhase::HalfOpen { .. } => BreakerState::HalfOpen,
            };
            prop_assert_eq!(breaker.state(), state);
        }
    }
}
