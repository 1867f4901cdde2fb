use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::outbound::outcome::AttemptOutcome;

const MILLI: Duration = Duration::from_millis(1);

fn endpoint(name: &str, weight: u16, zone: Option<&str>) -> Endpoint {
    Endpoint {
        address: name.parse().unwrap(),
        weight,
        zone: zone.map(str::to_owned),
    }
}

fn instances(config: &Config, found: &[Endpoint], now: Instant) -> Instances<()> {
    let instances = Instances::new(config, &outlier_detection::Config::default(), now);
    instances.replace(found, |_| ());
    instances
}

fn by(policy: LbPolicy) -> Config {
    Config {
        policy,
        ..Config::default()
    }
}

fn equal(names: &str) -> Vec<Endpoint> {
    let each = |name: char| endpoint(&name.to_string(), 1, None);
    names.chars().map(each).collect()
}

fn zoned() -> (Config, Vec<Endpoint>) {
    let near = |name| endpoint(name, 1, Some("near"));
    let found = [
        endpoint("x", 1, Some("far")),
        near("a"),
        near("b"),
        near("c"),
        near("d"),
        endpoint("y", 1, None),
    ];
    let config = Config {
        policy: LbPolicy::RoundRobin,
        zone: Some("near".to_owned()),
        ..Config::default()
    };
    (config, found.to_vec())
}

/// A sequence in which every draw is new: SplitMix64's.
fn draw(n: u64) -> u64 {
    let z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn name(picked: &InstanceGuard<'_, ()>) -> String {
    picked.instance().address().to_string()
}

/// How often each is chosen for attempts that end at once and say nothing.
fn counts(instances: &Instances<()>, now: Instant, attempts: u64) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for n in 0..attempts {
        let picked = instances.pick(now, draw(n), None).unwrap();
        *counts.entry(name(&picked)).or_default() += 1;
    }
    counts
}

fn chosen(instances: &Instances<()>, now: Instant) -> String {
    counts(instances, now, 100).into_keys().collect()
}

fn eject(instances: &Instances<()>, now: Instant, name: &str) {
    let instance = instances.set.load().find(&name.parse().unwrap()).unwrap();
    for _ in 0..20 {
        InstanceGuard::new(instances, instance.clone(), now).done(now, AttemptOutcome::Failure);
    }
    assert!(
        instances.ejector.is_ejected(now, &instance.health),
        "{name}"
    );
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let now = Instant::now();
    let instances = instances(&by(LbPolicy::RoundRobin), &equal("abc"), now);
    let names = (0..6).map(|n| name(&instances.pick(now, n, None).unwrap()));
    assert_eq!(names.collect::<String>(), "abcabc");
}

#[test]
fn every_policy_respects_weights() {
    let now = Instant::now();
    let found = [
        endpoint("a", 10, None),
        endpoint("b", 20, None),
        endpoint("c", 70, None),
    ];
    for (policy, off) in [
        (LbPolicy::RoundRobin, 5),
        (LbPolicy::Random, 300),
        // Nothing is measured and nothing under way: the first draw decides.
        (LbPolicy::LeastLoaded, 300),
    ] {
        let instances = instances(&by(policy), &found, now);
        let counts = counts(&instances, now, 10_000);
        for (name, expected) in [("a", 1000_u32), ("b", 2000), ("c", 7000)] {
            assert!(
                counts[name].abs_diff(expected) <= off,
                "{policy:?} {counts:?}"
            );
        }
    }
}

#[test]
fn a_heavy_instance_does_not_get_its_attempts_in_a_row() {
    let now = Instant::now();
    let found = [endpoint("a", 3, None), endpoint("b", 2, None)];
    let instances = instances(&by(LbPolicy::RoundRobin), &found, now);
    let names = (0..100).map(|n| name(&instances.pick(now, n, None).unwrap()));
    let names = names.collect::<String>();
    assert!(!names.contains("aaa") && !names.contains("bbb"), "{names}");
}

#[test]
fn the_least_loaded_shuns_the_slow_and_forgives_it() {
    let start = Instant::now();
    let instances = instances(&Config::default(), &equal("abc"), start);
    let mut slow = 0;
    let mut now = start;
    for n in 0..3000 {
        let picked = instances.pick(now, draw(n), None).unwrap();
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
    let mut forgiven = 0;
    for n in 3000..18_000 {
        let picked = instances.pick(now, draw(n), None).unwrap();
        forgiven += u32::from(name(&picked) == "a");
        now += 10 * MILLI;
        picked.done(now, AttemptOutcome::Success);
    }
    assert!(forgiven > 1000, "{forgiven}");
}

#[test]
fn attempts_under_way_are_spread() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &equal("abcd"), now);
    for n in 0..40 {
        let picked = instances.pick(now, draw(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    let held: Vec<_> = (40..440)
        .map(|n| instances.pick(now, draw(n), None))
        .collect();
    for state in instances.states(now) {
        assert!((90..=110).contains(&state.in_flight), "{state:?}");
    }
    drop(held);
    assert!(instances.states(now).iter().all(|s| s.in_flight == 0));
}

#[test]
fn a_heavy_instance_bears_more_attempts_under_way() {
    let now = Instant::now();
    let found = [endpoint("a", 1, None), endpoint("b", 3, None)];
    let instances = instances(&Config::default(), &found, now);
    for n in 0..40 {
        let picked = instances.pick(now, draw(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    let _held: Vec<_> = (0..400)
        .map(|n| instances.pick(now, draw(n), None))
        .collect();
    let states = instances.states(now);
    assert!((95..=105).contains(&states[0].in_flight), "{states:?}");
}

#[test]
fn a_new_instance_is_tried_with_one_attempt_and_not_with_all() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &equal("ab"), now);
    for n in 0..20 {
        let picked = instances.pick(now, draw(n), None).unwrap();
        picked.done(now + 10 * MILLI, AttemptOutcome::Success);
    }
    let now = now + 10 * MILLI;
    instances.replace(&equal("abc"), |_| ());
    let _held: Vec<_> = (20..120)
        .map(|n| instances.pick(now, draw(n), None))
        .collect();
    assert_eq!(instances.states(now)[2].in_flight, 1);
}

#[test]
fn the_own_zone_is_preferred_while_enough_of_it_is_healthy() {
    let now = Instant::now();
    let (config, found) = zoned();
    let instances = instances(&config, &found, now);
    assert_eq!(chosen(&instances, now), "abcd");
    eject(&instances, now, "a");
    assert_eq!(chosen(&instances, now), "bcd", "three of four are enough");
    eject(&instances, now, "b");
    assert_eq!(chosen(&instances, now), "cdxy", "half is not");
    let later = now + Duration::from_secs(10);
    assert_eq!(chosen(&instances, later), "abcd");
}

#[test]
fn a_zone_without_instances_means_all() {
    let now = Instant::now();
    let (config, found) = zoned();
    let config = Config {
        zone: Some("elsewhere".to_owned()),
        ..config
    };
    assert_eq!(chosen(&instances(&config, &found, now), now), "abcdxy");
}

#[test]
fn a_retry_avoids_whoever_failed_if_there_is_another() {
    let now = Instant::now();
    for policy in [
        LbPolicy::RoundRobin,
        LbPolicy::Random,
        LbPolicy::LeastLoaded,
    ] {
        let instances = instances(&by(policy), &equal("abc"), now);
        for n in 0..100 {
            let first = instances.pick(now, draw(n), None).unwrap();
            let again = instances
                .pick(now, draw(n), Some(first.instance()))
                .unwrap();
            assert_ne!(name(&first), name(&again), "{policy:?}");
        }
        instances.replace(&equal("a"), |_| ());
        let first = instances.pick(now, 0, None).unwrap();
        let again = instances.pick(now, 0, Some(first.instance())).unwrap();
        assert_eq!(name(&again), "a", "better the same than none");
    }
}

#[test]
fn when_all_are_out_all_are_asked() {
    let now = Instant::now();
    let instances = instances(&by(LbPolicy::Random), &equal("abcd"), now);
    eject(&instances, now, "a");
    eject(&instances, now, "b");
    assert_eq!(chosen(&instances, now), "cd");
    instances.replace(&equal("ab"), |_| ());
    assert_eq!(chosen(&instances, now), "ab");
}

#[test]
fn nobody_is_nobody() {
    let now = Instant::now();
    let instances = instances(&Config::default(), &[], now);
    assert!(instances.pick(now, 7, None).is_none());
}

#[test]
fn who_stays_keeps_what_is_known_of_it() {
    let now = Instant::now();
    let instances = Instances::new(
        &Config::default(),
        &outlier_detection::Config::default(),
        now,
    );
    let mut made = Vec::new();
    instances.replace(&equal("aab"), |e| made.push(e.address.to_string()));
    let picked = instances.pick(now, 0, None).unwrap();
    let kept = picked.instance().clone();
    picked.done(now + 20 * MILLI, AttemptOutcome::Success);
    let held: Vec<_> = (0..8).map(|n| instances.pick(now, draw(n), None)).collect();
    let before = instances.states(now);
    instances.replace(&equal("cba"), |e| made.push(e.address.to_string()));
    assert_eq!(made, ["a", "b", "c"]);
    for old in before {
        let states = instances.states(now);
        let new = states.iter().find(|s| s.address == old.address).unwrap();
        assert_eq!((new.in_flight, new.latency), (old.in_flight, old.latency));
    }
    let same = instances.set.load().find(kept.address()).unwrap();
    assert!(Arc::ptr_eq(&kept, &same));
    // Whoever is gone is not called any more, and what is under way at it ends undisturbed.
    instances.replace(&equal("c"), |_| ());
    assert_eq!(chosen(&instances, now), "c");
    drop(held);
    assert_eq!(kept.in_flight(), 0);
}

#[test]
fn configuration_is_written_in_words() {
    let text = r#"{"policy": "round_robin", "zone_min_healthy": 0.5, "ewma_decay": "5s"}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    assert_eq!(config.policy, LbPolicy::RoundRobin);
    assert_eq!(config.ewma_decay, Duration::from_secs(5));
    assert!(serde_json::from_str::<Config>(r#"{"polici": "random"}"#).is_err());
}

proptest! {
    #[test]
    fn whoever_is_out_is_not_chosen_while_another_is_in(
        policy in prop::sample::select(&[LbPolicy::RoundRobin, LbPolicy::Random, LbPolicy::LeastLoaded][..]),
        found in prop::collection::vec((0_u16..5, 0_usize..3), 1..8),
        steps in prop::collection::vec((any::<u64>(), 0_u64..800, 0_u8..8), 1..200),
    ) {
        let mut now = Instant::now();
        let zones = [None, Some("near"), Some("far")];
        let found: Vec<_> = found
            .iter()
            .zip('a'..)
            .map(|((weight, zone), name)| endpoint(&name.to_string(), *weight, zones[*zone]))
            .collect();
        let config = Config { policy, zone: Some("near".to_owned()), ..Config::default() };
        let instances = instances(&config, &found, now);
        let mut held = Vec::new();
        let mut last = None;
        for (random, millis, fate) in steps {
            let states = instances.states(now);
            let is_out: BTreeSet<_> =
                states.iter().filter(|s| s.ejected).map(|s| s.address.to_string()).collect();
            let avoid: Option<Arc<Instance<()>>> = last.take().filter(|_| fate % 2 == 0);
            let picked = instances.pick(now, random, avoid.as_deref()).unwrap();
            let name = name(&picked);
            prop_assert!(is_out.len() == found.len() || !is_out.contains(&name));
            if let Some(avoided) = avoid {
                let avoided = avoided.address().to_string();
                let others = found.len() - is_out.len() - usize::from(!is_out.contains(&avoided));
                prop_assert!(others == 0 || name != avoided);
            }
            last = Some(picked.instance().clone());
            now += Duration::from_millis(millis);
            match fate {
                0 => held.push(picked),
                1 => drop(picked),
                2..5 => picked.done(now, AttemptOutcome::Success),
                _ => picked.done(now, AttemptOutcome::Failure),
            }
        }
        let under_way: u32 = instances.states(now).iter().map(|s| s.in_flight).sum();
        prop_assert_eq!(under_way as usize, held.len());
    }
}
