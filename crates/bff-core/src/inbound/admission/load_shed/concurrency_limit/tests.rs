use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A backend that works on so many at once, for so long each, and lets all others wait in order; a gateway before it;
/// clients who come by chance and do not wait for one another.
struct Scene {
    limit: AdaptiveConcurrencyLimit,
    now: Instant,
    slots: usize,
    service: Duration,
    /// When each of the backend's slots is free again.
    free: BinaryHeap<Reverse<Instant>>,
    /// When each request in flight ends, and when it began.
    flying: BinaryHeap<Reverse<(Instant, Instant)>>,
    random: u64,
}

/// What clients met in a while.
#[derive(Debug, Default)]
struct Met {
    answered: u32,
    refused: u32,
    slowest: Duration,
    least: u32,
    most: u32,
}

impl Scene {
    fn new(slots: usize, service: Duration) -> Self {
        let now = Instant::now();
        Self {
            limit: AdaptiveConcurrencyLimit::new(&Config::default(), now),
            now,
            slots,
            service,
            free: BinaryHeap::new(),
            flying: BinaryHeap::new(),
            random: 1,
        }
    }

    /// What the backend can answer in a second.
    fn capacity(&self) -> f64 {
        f64::from(u32::try_from(self.slots).unwrap()) / self.service.as_secs_f64()
    }

    /// A time between two arrivals at so many a second: Poisson.
    fn gap(&mut self, rate: f64) -> Duration {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let chance = f64::from(u32::try_from(self.random >> 32).unwrap()) / f64::from(u32::MAX);
        Duration::from_secs_f64(-chance.clamp(1e-9, 1.0).ln() / rate)
    }

    /// Lets `rate` requests a second come for a while.
    fn run(&mut self, rate: f64, time: Duration) -> Met {
        let until = self.now + time;
        let mut met = Met {
            least: u32::MAX,
            ..Met::default()
        };
        loop {
            let next = self.now + self.gap(rate);
            self.end_until(next.min(until), &mut met);
            self.now = next.min(until);
            if next >= until {
                return met;
            }
            let current = self.limit.current();
            met.least = met.least.min(current);
            met.most = met.most.max(current);
            if self.flying.len() >= current as usize {
                self.limit.refused();
                met.refused += 1;
            } else {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
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
        self.flying.push(Reverse((end, self.now)));
    }

    fn end_until(&mut self, until: Instant, met: &mut Met) {
        while let Some(&Reverse((end, began))) = self.flying.peek() {
            if end > until {
                return;
            }
            self.flying.pop();
            let took = end - began;
            met.answered += 1;
            met.slowest = met.slowest.max(took);
            let in_flight = u32::try_from(self.flying.len()).unwrap() + 1;
            self.limit
                .ended(end, RequestOutcome::Completed(took), in_flight);
        }
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Answers that come evenly for some windows, so many in flight on average; of each thousand so many are lost.
fn windows(
    limit: &mut AdaptiveConcurrencyLimit,
    now: &mut Instant,
    count: u32,
    used: u32,
    took: Duration,
    lost: u32,
) {
    let until = *now + (250 * MS).max(took) * count;
    let mut n = 0;
    while *now < until {
        *now += took / used;
        n = (n + 137) % 1000;
        let ended = if n < lost {
            RequestOutcome::Lost(took)
        } else {
            RequestOutcome::Completed(took)
        };
        limit.ended(*now, ended, used);
    }
}

#[test]
fn with_twice_what_a_backend_can_do_it_does_all_it_can_and_nobody_waits_long() {
    for slots in [30, 60, 200] {
        let mut scene = Scene::new(slots, 50 * MS);
        let capacity = scene.capacity();
        let quiet = scene.run(capacity / 4.0, seconds(5));
        assert_eq!(quiet.refused, 0, "{slots}: {quiet:?}");
        scene.run(2.0 * capacity, seconds(3));
        let met = scene.run(2.0 * capacity, seconds(60));
        let share = f64::from(met.answered) / (60.0 * capacity);
        assert!(share > 0.97, "{slots}: {share} of what it can do, {met:?}");
        assert!(met.slowest < 200 * MS, "{slots}: {met:?}");
    }
}

#[test]
fn a_lasting_overload_never_becomes_usual() {
    let mut scene = Scene::new(40, 50 * MS);
    let capacity = scene.capacity();
    scene.run(capacity / 2.0, seconds(5));
    scene.run(3.0 * capacity, seconds(600));
    let met = scene.run(3.0 * capacity, seconds(30));
    assert!(met.slowest < 200 * MS, "{met:?}");
}

#[test]
fn begun_in_the_midst_of_an_overload_it_finds_its_place() {
    let mut scene = Scene::new(30, 50 * MS);
    let capacity = scene.capacity();
    scene.run(3.0 * capacity, seconds(10));
    let met = scene.run(3.0 * capacity, seconds(30));
    let share = f64::from(met.answered) / (30.0 * capacity);
    assert!(share > 0.97 && met.slowest < 250 * MS, "{share} {met:?}");
}

#[test]
fn after_an_overload_everybody_is_let_in_again() {
    let mut scene = Scene::new(60, 50 * MS);
    let capacity = scene.capacity();
    scene.run(4.0 * capacity, seconds(30));
    scene.run(0.9 * capacity, seconds(3));
    let met = scene.run(0.9 * capacity, seconds(30));
    assert_eq!(met.refused, 0, "{met:?}");
}

#[test]
fn a_load_that_grows_within_capacity_is_let_in() {
    let mut scene = Scene::new(2000, 50 * MS);
    scene.run(200.0, seconds(5));
    let first = scene.run(10_000.0, seconds(5));
    assert!(f64::from(first.refused) < 0.4 * 50_000.0, "{first:?}");
    let met = scene.run(10_000.0, seconds(30));
    assert_eq!(met.refused, 0, "{met:?}");
}

#[test]
fn a_backend_that_became_slower_by_itself_is_found_out_and_not_starved() {
    let mut scene = Scene::new(10_000, 50 * MS);
    scene.run(1500.0, seconds(20));
    scene.service = 200 * MS;
    let found = scene.run(1500.0, seconds(5));
    assert!(found.refused > 0, "it was tried: {found:?}");
    let met = scene.run(1500.0, seconds(60));
    assert_eq!(met.refused, 0, "{met:?}");
}

#[test]
fn a_slow_night_does_not_close_the_morning() {
    let mut scene = Scene::new(10_000, 10 * MS);
    scene.run(200.0, seconds(20));
    scene.service = 100 * MS;
    scene.run(20.0, seconds(60));
    scene.run(600.0, seconds(3));
    let met = scene.run(600.0, seconds(30));
    assert_eq!(met.refused, 0, "{met:?}");
}

#[test]
fn it_shrinks_when_answers_take_longer_the_more_there_are() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    windows(&mut limit, &mut now, 4, 40, 50 * MS, 0);
    let before = limit.current();
    windows(&mut limit, &mut now, 1, 90, 150 * MS, 0);
    assert_eq!(limit.current(), before, "one window may be odd");
    windows(&mut limit, &mut now, 2, 90, 150 * MS, 0);
    assert!(limit.current() < before, "{limit:?}");
}

#[test]
fn it_shrinks_when_answers_are_lost_and_recovers() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    windows(&mut limit, &mut now, 4, 60, 50 * MS, 80);
    let before = limit.current();
    assert!(before >= 100, "a few are always lost: {limit:?}");
    windows(&mut limit, &mut now, 2, 60, 50 * MS, 200);
    assert!(limit.current() <= 72, "below its use: {limit:?}");
    windows(&mut limit, &mut now, 20, 60, 50 * MS, 0);
    assert!(limit.current() >= before, "{limit:?}");
}

#[test]
fn who_leaves_counts_as_slow_and_never_as_fast() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    windows(&mut limit, &mut now, 4, 60, 50 * MS, 0);
    let before = limit.clone();
    for _ in 0..2000 {
        now += MS;
        limit.ended(now, RequestOutcome::Disconnected(MS), 60);
    }
    assert_eq!(
        (limit.current(), limit.baseline),
        (before.current(), before.baseline)
    );
    for _ in 0..2000 {
        now += MS;
        limit.ended(now, RequestOutcome::Disconnected(200 * MS), 60);
    }
    assert!(limit.current() < before.current(), "{limit:?}");
}

#[test]
fn an_unused_limit_does_not_grow() {
    let mut now = Instant::now();
    let mut limit = AdaptiveConcurrencyLimit::new(&Config::default(), now);
    windows(&mut limit, &mut now, 100, 40, 50 * MS, 0);
    assert_eq!(limit.current(), 100);
}

#[test]
fn a_mistake_is_one_line_that_names_its_key() {
    let number = |n| NonZeroU32::new(n).unwrap();
    let ours = Config::default;
    for (wrong, key) in [
        (
            Config {
                min: number(200),
                ..ours()
            },
            "initial",
        ),
        (
            Config {
                max: number(50),
                ..ours()
            },
            "initial",
        ),
        (
            Config {
                latency_tolerance: 1.0,
                ..ours()
            },
            "latency_tolerance",
        ),
        (
            Config {
                latency_tolerance: f64::NAN,
                ..ours()
            },
            "latency_tolerance",
        ),
        (
            Config {
                latency_tolerance: f64::INFINITY,
                ..ours()
            },
            "latency_tolerance",
        ),
    ] {
        let line = wrong.check().unwrap_err();
        assert!(line.starts_with(key) && line.lines().count() == 1, "{line}");
    }
    assert!(ours().check().is_ok());
}

fn any_end() -> impl Strategy<Value = RequestOutcome> {
    let time = (0_u64..5000).prop_map(Duration::from_millis);
    prop_oneof![
        time.clone().prop_map(RequestOutcome::Completed),
        time.clone().prop_map(RequestOutcome::Lost),
        time.prop_map(RequestOutcome::Disconnected),
    ]
}

proptest! {
    #[test]
    fn it_never_leaves_its_bounds(
        min in 1_u32..50, initial in 0_u32..50, max in 0_u32..50,
        steps in prop::collection::vec((0_u64..400, any_end(), any::<bool>(), 1_usize..40, 0_u32..99), 1..200),
    ) {
        let number = |n| NonZeroU32::new(n).unwrap();
        let bounds = (min, min + initial, min + initial + max);
        let config = Config {
            min: number(bounds.0), initial: number(bounds.1), max: number(bounds.2),
            ..Config::default()
        };
        let mut now = Instant::now();
        let mut limit = AdaptiveConcurrencyLimit::new(&config, now);
        for (millis, ended, refused, times, in_flight) in steps {
            now += Duration::from_millis(millis);
            if refused {
                limit.refused();
            }
            for _ in 0..times {
                limit.ended(now, ended, in_flight);
            }
            prop_assert!((bounds.0..=bounds.2).contains(&limit.current()), "{limit:?}");
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_backend_can_do_it_settles_there(slots in 25_usize..150, millis in 5_u64..200) {
        let mut scene = Scene::new(slots, Duration::from_millis(millis));
        let capacity = scene.capacity();
        scene.run(capacity / 2.0, seconds(10));
        scene.run(2.0 * capacity, seconds(10));
        let met = scene.run(2.0 * capacity, seconds(20));
        let share = f64::from(met.answered) / (20.0 * capacity);
        prop_assert!(share > 0.95, "{share} {met:?}");
        prop_assert!(met.slowest < Duration::from_millis(millis) * 4, "{met:?}");
    }
}
