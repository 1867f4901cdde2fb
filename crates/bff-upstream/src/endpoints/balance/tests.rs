//! Load balancing over instances with fixed names; attempts end at chosen times.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::policies::outcome::AttemptOutcome;

const MILLI: Duration = Duration::from_millis(1);

fn endpoint(name: &str, weight: u16, zone: Option<&str>) -> Endpoint {
    Endpoint {
        address: name.parse().unwrap(),
        weight,
        zone: zone.map(str::to_owned),
    }
}

fn instances(config: &Config, endpoints: &[Endpoint], now: Instant) -> Instances<()> {
    let instances = Instances::new(config, &outlier_detection::Config::default(), now);
    instances.replace(endpoints, |_| ());
    instances
}

fn with_policy(policy: LbPolicy) -> Config {
    Config {
        policy,
        ..Config::default()
    }
}

/// Endpoints of equal weight, one per character.
fn equal(names: &str) -> Vec<Endpoint> {
    let equal = |name: char| endpoint(&name.to_string(), 1, None);
    names.chars().map(equal).collect()
}

/// Four endpoints in the local zone, and two others.
fn zoned() -> (Config, Vec<Endpoint>) {
    let local = |name| endpoint(name, 1, Some("local"));
    let endpoints = [
        endpoint("x", 1, Some("remote")),
        local("a"),
        local("b"),
        local("c"),
        local("d"),
        endpoint("y", 1, None),
    ];
    let config = Config {
        policy: LbPolicy::RoundRobin,
        zone: Some("local".to_owned()),
        ..Config::default()
    };
    (config, endpoints.to_vec())
}

/// The `n`th number of a pseudo-random sequence (SplitMix64).
fn random(n: u64) -> u64 {
    let z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn name(picked: &InstanceGuard<'_, ()>) -> String {
    picked.instance().address().to_string()
}

/// The number of times that each instance is picked, by attempts that end at once without an outcome.
fn counts(instances: &Instances<()>, now: Instant, attempts: u64) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for n in 0..attempts {
        let picked = instances.pick(now, random(n), None).unwrap();
        *counts.entry(name(&picked)).or_default() += 1;
    }
    counts
}

fn picked_names(instances: &Instances<()>, now: Instant) -> String {
    counts(instances, now, 100).into_keys().collect()
}

fn eject(instances: &Instances<()>, now: Instant, name: &str) {
    let instance = instances.set.load().find(&name.parse().unwrap()).unwrap();
    for _ in 0..20 {
        InstanceGuard::new(instances, instance.clone(), now).done(now, AttemptOutcome::Failure);
    }
    let detector = &instances.outlier_detector;
    assert!(detector.is_ejected(now, &instance.stats), "{name}");
}

#[test]
fn round_robin_rotates_over_all_instances() {
    let now = Instant::now();
    let instances = instances(&with_policy(LbPolicy::RoundRobin), &equal("abc"), now);
    let names = (0..6).map(|n| name(&instances.pick(now, n, None).unwrap()));
    assert_eq!(names.collect::<String>(), "abcabc");
}

#[test]
fn every_policy_respects_weights() {
    let now = Instant::now();
    let endpoints = [
        endpoint("a", 10, None),
        endpoint("b", 20, None),
        endpoint("c", 70, None),
    ];
    for (policy, tolerance) in [
        (LbPolicy::RoundRobin, 5),
        (LbPolicy::Random, 300),
        // Without samples and attempts in flight, the first random number decides.
        (LbPolicy::LeastLoaded, 300),
    ] {
        let instances = instances(&with_policy(policy), &endpoints, now);
        let counts = counts(&instances, now, 10_000);
        for (name, expected) in [("a", 1000_u32), ("b", 2000), ("c", 7000)] {
            assert!(
                counts[name].abs_diff(expected) <= tolerance,
                "{policy:?} {counts:?}"
            );
        }
    }
}

#[test]
fn round_robin_interleaves_the_attempts_of_heavy_instances() {
    let now = Instant::now();
    let endpoints = [endpoint("a", 3, None), endpoint("b", 2, None)];
    let instances = instances(&with_policy(LbPolicy::RoundRobin), &endpoints, now);
    let names = (0..100).map(|n| name(&instances.pick(now, n, None).unwrap()));
    let names = names.collect::<String>();
    assert!(!names.contains("aaa") && !names.contains("bbb"), "{names}");
}

#[test]
fn least_loaded_avoids_a_slow_instance_until_it_recovers() {
    let start = Instant::now();
    let instances = instances(&Config::default(), &equal("abc"), start);
    let mut slow = 0;
    let mut now = start;
    for n in 0..3000 {
        let picked = instances.pick(now, random(n), None).unwrap();
        let time = if name(&picked) == "a" {
            slow += 1;
            50 * MILLI
        } else {
            5 * MILLI
        };
        picked.done(now + time, AttemptOutcome::Success);
        now += MILLI;
    }
    assert!((1..30).contains(&slow), "{slow}");
    let mut recovered = 0;
    for n in 3000..18_000 {
        let picked = instances.pick(now, random(n), None).unwrap();
        recovered += u32::from(name(&picked) == "a");
        now += 10 * MILLI;
        picked.done(now, AttemptOutcome::Success);
    }
    assert!(recovered > 1000, "{recovered}");
}

#[test]
fn attempts_in_flight_are_spread_evenly() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &equal("abcd"), now);
    for n in 0..40 {
        let picked = instances.pick(now, random(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    let held: Vec<_> = (40..440)
        .map(|n| instances.pick(now, random(n), None))
        .collect();
    for state in instances.states(now) {
        assert!((90..=110).contains(&state.in_flight), "{state:?}");
    }
    drop(held);
    assert!(instances.states(now).iter().all(|s| s.in_flight == 0));
}

#[test]
fn a_heavy_instance_gets_more_attempts_in_flight() {
    let now = Instant::now();
    let endpoints = [endpoint("a", 1, None), endpoint("b", 3, None)];
    let instances = instances(&Config::default(), &endpoints, now);
    for n in 0..40 {
        let picked = instances.pick(now, random(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    let _held: Vec<_> = (0..400)
        .map(|n| instances.pick(now, random(n), None))
        .collect();
    let states = instances.states(now);
    assert!((95..=105).contains(&states[0].in_flight), "{states:?}");
}

#[test]
fn a_new_instance_gets_only_one_attempt_at_first() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &equal("ab"), now);
    for n in 0..20 {
        let picked = instances.pick(now, random(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    instances.replace(&equal("abc"), |_| ());
    let _held: Vec<_> = (20..120)
        .map(|n| instances.pick(now, random(n), None))
        .collect();
    assert_eq!(instances.states(now)[2].in_flight, 1);
}

#[test]
fn the_local_zone_is_preferred_while_enough_of_it_is_healthy() {
    let now = Instant::now();
    let (config, endpoints) = zoned();
    let instances = instances(&config, &endpoints, now);
    assert_eq!(picked_names(&instances, now), "abcd");
    eject(&instances, now, "a");
    assert_eq!(picked_names(&instances, now), "bcd", "three of four");
    eject(&instances, now, "b");
    assert_eq!(picked_names(&instances, now), "cdxy", "two of four");
    let later = now + Duration::from_secs(10);
    assert_eq!(picked_names(&instances, later), "abcd");
}

#[test]
fn a_zone_without_instances_falls_back_to_all_instances() {
    let now = Instant::now();
    let (config, endpoints) = zoned();
    let config = Config {
        zone: Some("elsewhere".to_owned()),
        ..config
    };
    assert_eq!(
        picked_names(&instances(&config, &endpoints, now), now),
        "abcdxy"
    );
}

#[test]
fn a_retry_avoids_the_previous_instance_if_there_is_another() {
    let now = Instant::now();
    for policy in [
        LbPolicy::RoundRobin,
        LbPolicy::Random,
        LbPolicy::LeastLoaded,
    ] {
        let instances = instances(&with_policy(policy), &equal("abc"), now);
        for n in 0..100 {
            let first = instances.pick(now, random(n), None).unwrap();
            let again = instances
                .pick(now, random(n), Some(first.instance()))
                .unwrap();
            assert_ne!(name(&first), name(&again), "{policy:?}");
        }
        instances.replace(&equal("a"), |_| ());
        let first = instances.pick(now, 0, None).unwrap();
        let again = instances.pick(now, 0, Some(first.instance())).unwrap();
        assert_eq!(name(&again), "a", "the only instance");
    }
}

#[test]
fn when_all_instances_are_ejected_all_are_candidates() {
    let now = Instant::now();
    let instances = instances(&with_policy(LbPolicy::Random), &equal("abcd"), now);
    eject(&instances, now, "a");
    eject(&instances, now, "b");
    assert_eq!(picked_names(&instances, now), "cd");
    instances.replace(&equal("ab"), |_| ());
    assert_eq!(picked_names(&instances, now), "ab");
}

#[test]
fn an_empty_set_has_no_instance_to_pick() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &[], now);
    assert!(instances.pick(now, 7, None).is_none());
}

#[test]
fn an_instance_in_both_sets_retains_its_state() {
    let now = Instant::now();
    let instances = Instances::new(
        &Config::default(),
        &outlier_detection::Config::default(),
        now,
    );
    let mut created = Vec::new();
    instances.replace(&equal("aab"), |e| created.push(e.address.to_string()));
    let picked = instances.pick(now, 0, None).unwrap();
    let instance = picked.instance().clone();
    picked.done(now + 20 * MILLI, AttemptOutcome::Success);
    let held: Vec<_> = (0..8)
        .map(|n| instances.pick(now, random(n), None))
        .collect();
    let before = instances.states(now);
    instances.replace(&equal("cba"), |e| created.push(e.address.to_string()));
    assert_eq!(created, ["a", "b", "c"]);
    for old in before {
        let states = instances.states(now);
        let new = states.iter().find(|s| s.address == old.address).unwrap();
        assert_eq!((new.in_flight, new.latency), (old.in_flight, old.latency));
    }
    let same = instances.set.load().find(instance.address()).unwrap();
    assert!(Arc::ptr_eq(&instance, &same));
    // A removed instance gets no new attempts; its attempts in flight continue.
    instances.replace(&equal("c"), |_| ());
    assert_eq!(picked_names(&instances, now), "c");
    drop(held);
    assert_eq!(instance.in_flight(), 0);
}

#[test]
fn configuration_uses_snake_case_names() {
    let text = r#"{"policy": "round_robin", "zone_min_healthy": 0.5, "ewma_decay": "5s"}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    assert_eq!(config.policy, LbPolicy::RoundRobin);
    assert_eq!(config.ewma_decay, Duration::from_secs(5));
    assert!(serde_json::from_str::<Config>(r#"{"polici": "random"}"#).is_err());
}

proptest! {
    #[test]
    fn an_ejected_instance_is_not_picked_while_another_is_healthy(
        policy in prop::sample::select(&[LbPolicy::RoundRobin, LbPolicy::Random, LbPolicy::LeastLoaded][..]),
        endpoints in prop::collection::vec((0_u16..5, 0_usize..3), 1..8),
        steps in prop::collection::vec((any::<u64>(), 0_u64..800, 0_u8..8), 1..200),
    ) {
        let mut now = Instant::now();
        let zones = [None, Some("local"), Some("remote")];
        let endpoints: Vec<_> = endpoints
            .iter()
            .zip('a'..)
            .map(|((weight, zone), name)| endpoint(&name.to_string(), *weight, zones[*zone]))
            .collect();
        let config = Config { policy, zone: Some("local".to_owned()), ..Config::default() };
        let instances = instances(&config, &endpoints, now);
        let mut held = Vec::new();
        let mut previous = None;
        for (random_number, millis, step) in steps {
            let states = instances.states(now);
            let ejected: BTreeSet<_> =
                states.iter().filter(|s| s.ejected).map(|s| s.address.to_string()).collect();
            let avoid: Option<Arc<Instance<()>>> = previous.take().filter(|_| step % 2 == 0);
            let picked = instances.pick(now, random_number, avoid.as_deref()).unwrap();
            let name = name(&picked);
            prop_assert!(ejected.len() == endpoints.len() || !ejected.contains(&name));
            if let Some(avoided) = avoid {
                let avoided = avoided.address().to_string();
                let others = endpoints.len() - ejected.len() - usize::from(!ejected.contains(&avoided));
                prop_assert!(others == 0 || name != avoided);
            }
            previous = Some(picked.instance().clone());
            now += Duration::from_millis(millis);
            match step {
                0 => held.push(picked),
                1 => drop(picked),
                2..5 => picked.done(now, AttemptOutcome::Success),
                _ => picked.done(now, AttemptOutcome::Failure),
            }
        }
        let in_flight: u32 = instances.states(now).iter().map(|s| s.in_flight).sum();
        prop_assert_eq!(in_flight as usize, held.len());
    }
}
