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

/// One call that takes `time`; whether it was let through.
fn call(breaker: &Breaker, now: &mut Instant, time: Duration, outcome: AttemptOutcome) -> bool {
    let began = *now;
    *now += time;
    let permit = breaker.admit(began);
    let admitted = permit.is_ok();
    if let Ok(permit) = permit {
        permit.done(*now, outcome);
    }
    admitted
}

fn open(breaker: &Breaker, now: &mut Instant) {
    while breaker.state() != State::Open {
        assert!(call(breaker, now, FAST, AttemptOutcome::Failure));
    }
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it_when_traffic_is_low() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for outcome in [AttemptOutcome::Failure; 4] {
        call(&breaker, &mut now, Duration::from_secs(30), outcome);
    }
    call(&breaker, &mut now, FAST, AttemptOutcome::Success);
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    // Neither counts nor breaks the row.
    call(&breaker, &mut now, FAST, AttemptOutcome::Ignored);
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), State::Open);
    let refused = breaker.admit(now).map(drop);
    let retry_after = Duration::from_secs(10);
    assert_eq!(refused, Err(CircuitOpen { retry_after }));
}

#[tokio::test(start_paused = true)]
async fn with_traffic_the_ratio_decides_and_a_short_row_is_chance() {
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
    assert_eq!(breaker.state(), State::Closed, "26 of 56");
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), State::Open, "30 of 60");
}

#[tokio::test(start_paused = true)]
async fn a_sudden_end_is_seen_without_waiting_for_the_ratio() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..1000 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Success);
    }
    for _ in 0..19 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_though_they_succeed() {
    let start = Instant::now();
    let breaker = breaker(start);
    // Side by side, as traffic is: twenty within the window.
    let finish = |n: u32, time| {
        let began = start + FAST * n;
        breaker
            .admit(began)
            .unwrap()
            .done(began + time, AttemptOutcome::Success);
    };
    finish(0, FAST);
    for n in 1..19 {
        finish(n, SLOW);
    }
    assert_eq!(breaker.state(), State::Closed, "19 calls are too few");
    finish(19, SLOW);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_cut_short_counts_only_if_it_had_the_time_of_a_slow_one() {
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
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..5 {
        call(&breaker, &mut now, SLOW, AttemptOutcome::DeadlineExceeded);
    }
    assert_eq!(breaker.state(), State::Open);
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
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.done(now, AttemptOutcome::Failure);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_given_up_makes_room_for_another() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    let mut probes: Vec<_> = (0..3).map(|_| breaker.admit(now).unwrap()).collect();
    assert!(breaker.admit(now).is_err());
    drop(probes.pop());
    let fourth = breaker.admit(now).unwrap();
    fourth.done(now, AttemptOutcome::Ignored);
    assert!(breaker.admit(now).is_ok(), "nor does a neutral one keep it");
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn three_good_probes_close_it_and_the_past_is_forgotten() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    for _ in 0..3 {
        assert_ne!(breaker.state(), State::Closed);
        assert!(call(&breaker, &mut now, FAST, AttemptOutcome::Success));
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..4 {
        call(&breaker, &mut now, FAST, AttemptOutcome::Failure);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_is_a_failed_one() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    open(&breaker, &mut now);
    now += Duration::from_secs(10);
    call(&breaker, &mut now, SLOW, AttemptOutcome::Success);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failed_probes_make_it_wait_longer_but_never_over_a_minute() {
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
    let seen = waits(1);
    for (wait, range) in seen.iter().zip([
        10.0..=10.0,
        10.0..=20.0,
        20.0..=40.0,
        30.0..=60.0,
        30.0..=60.0,
    ]) {
        assert!(range.contains(wait), "{seen:?}");
    }
    assert!(seen.iter().all(|w| *w <= 60.0), "{seen:?}");
    assert_eq!(seen, waits(1), "a seed decides");
    assert_ne!(seen, waits(2));
}

#[tokio::test(start_paused = true)]
async fn however_many_come_only_three_probe_at_once() {
    let mut now = Instant::now();
    let breaker = Arc::new(breaker(now));
    open(&breaker, &mut now);
    sleep(Duration::from_secs(11)).await;
    let (under_way, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500_u64 {
        let (breaker, under_way, most) = (breaker.clone(), under_way.clone(), most.clone());
        tasks.spawn(async move {
            sleep(Duration::from_millis(n % 97)).await;
            let Ok(permit) = breaker.admit(Instant::now()) else {
                return;
            };
            most.fetch_max(
                under_way.fetch_add(1, Ordering::SeqCst) + 1,
                Ordering::SeqCst,
            );
            sleep(Duration::from_millis(n * 7 % 31)).await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            // Some are given up, the rest say nothing: it stays half-open throughout.
            if n % 3 > 0 {
                permit.done(Instant::now(), AttemptOutcome::Ignored);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn threads_that_race_for_the_first_probe_get_three_places() {
    let mut now = Instant::now();
    let breaker = breaker(now);
    for _ in 0..50 {
        open(&breaker, &mut now);
        now += Duration::from_secs(60);
        let (won, start) = (AtomicU32::new(0), Barrier::new(8));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    start.wait();
                    let permit = breaker.admit(now);
                    won.fetch_add(u32::from(permit.is_ok()), Ordering::SeqCst);
                    // Held until all have tried.
                    start.wait();
                });
            }
        });
        assert_eq!(won.load(Ordering::SeqCst), 3);
        breaker
            .admit(now)
            .unwrap()
            .done(now, AttemptOutcome::Failure);
    }
}

/// The same breaker written for clarity: it keeps every call and counts anew each time.
struct Model {
    phase: Obvious,
    generation: u32,
}

enum Obvious {
    Closed {
        since: Instant,
        calls: Vec<(u128, bool, bool)>,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        under_way: u32,
        good: u32,
    },
}

impl Model {
    fn turn(&mut self, phase: Obvious) {
        self.phase = phase;
        self.generation += 1;
    }

    fn admit(&mut self, now: Instant) -> Option<u32> {
        if matches!(self.phase, Obvious::Open { until } if now >= until) {
            self.turn(Obvious::HalfOpen {
                under_way: 0,
                good: 0,
            });
        }
        match &mut self.phase {
            Obvious::Closed { .. } => {}
            Obvious::Open { .. } | Obvious::HalfOpen { under_way: 3, .. } => return None,
            Obvious::HalfOpen { under_way, .. } => *under_way += 1,
        }
        Some(self.generation)
    }

    /// `wait` is how long the breaker under test says it is open, since jitter is its own matter.
    fn done(&mut self, permit: u32, now: Instant, said: Option<bool>, slow: bool, wait: Duration) {
        if permit != self.generation {
            return;
        }
        let until = now + wait;
        match &mut self.phase {
            Obvious::Open { .. } => unreachable!(),
            Obvious::HalfOpen { under_way, good } => match said {
                None => *under_way -= 1,
                Some(bad) if bad || slow => self.turn(Obvious::Open { until }),
                Some(_) if *good == 2 => self.turn(Obvious::Closed {
                    since: now,
                    calls: Vec::new(),
                }),
                Some(_) => (*under_way, *good) = (*under_way - 1, *good + 1),
            },
            Obvious::Closed { since, calls } => {
                let Some(bad) = said else { return };
                let second = (now - *since).as_secs().into();
                calls.push((second, bad, slow));
                let recent: Vec<_> = calls.iter().filter(|c| c.0 + 10 > second).collect();
                let row = calls.iter().rev().take_while(|c| c.1).count();
                let all = recent.len();
                let failed = recent.iter().filter(|c| c.1).count();
                let late = recent.iter().filter(|c| c.2).count();
                let trips = if all < 20 {
                    row >= 5
                } else {
                    row >= 20 || failed * 2 >= all || late * 10 >= all * 9
                };
                if trips && (bad || slow) {
                    self.turn(Obvious::Open { until });
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Begin(u8),
    End(u8, AttemptOutcome),
    GiveUp(u8),
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
        20 => (0_u8..8).prop_map(Step::Begin),
        20 => (0_u8..8, outcome).prop_map(|(n, o)| Step::End(n, o)),
        1 => (0_u8..8).prop_map(Step::GiveUp),
    ]
}

proptest! {
    #[test]
    fn it_does_what_the_obvious_breaker_does(
        steps in prop::collection::vec(step(), 1..400),
        seed: u64,
    ) {
        let mut now = Instant::now();
        let breaker = Breaker::new(&Config::default(), TIMEOUT, seed, now);
        let closed = Obvious::Closed { since: now, calls: Vec::new() };
        let mut model = Model { phase: closed, generation: 0 };
        let mut calls = BTreeMap::new();
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Begin(n) => {
                    if calls.contains_key(&n) {
                        continue;
                    }
                    let (permit, expected) = (breaker.admit(now), model.admit(now));
                    prop_assert_eq!(permit.is_ok(), expected.is_some());
                    match (permit, expected, &model.phase) {
                        (Ok(permit), Some(expected), _) => {
                            calls.insert(n, (permit, expected, now));
                        }
                        (Err(open), _, Obvious::Open { until }) => {
                            prop_assert_eq!(open.retry_after, *until - now);
                        }
                        (Err(open), ..) => prop_assert_eq!(open.retry_after, HALF_OPEN_RETRY_AFTER),
                        _ => {}
                    }
                }
                Step::End(n, outcome) => {
                    let Some((permit, expected, began)) = calls.remove(&n) else { continue };
                    let slow = now - began >= SLOW;
                    let said = match outcome {
                        AttemptOutcome::Success => Some(false),
                        AttemptOutcome::Failure => Some(true),
                        AttemptOutcome::Ignored => None,
                        AttemptOutcome::DeadlineExceeded => slow.then_some(true),
                    };
                    permit.done(now, outcome);
                    let wait = match breaker.inner.lock().phase {
                        Phase::Open { until } => until.saturating_duration_since(now),
                        _ => Duration::ZERO,
                    };
                    model.done(expected, now, said, slow, wait);
                }
                Step::GiveUp(n) => {
                    let Some((permit, expected, _)) = calls.remove(&n) else { continue };
                    drop(permit);
                    model.done(expected, now, None, false, Duration::ZERO);
                }
            }
            let state = match model.phase {
                Obvious::Closed { .. } => State::Closed,
                Obvious::Open { .. } => State::Open,
                Obvious::HalfOpen { .. } => State::HalfOpen,
            };
            prop_assert_eq!(breaker.state(), state);
        }
    }
}
