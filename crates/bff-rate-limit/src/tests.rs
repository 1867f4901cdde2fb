//! Compares each algorithm with a slow, obvious model; then tests the table, and Redis against the same arithmetic.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::adaptive::{AdaptiveRule, FULL_FRACTION, Health};
use super::algorithm::{Algorithm, CounterState, Rule};
use super::local::Table;
use super::{Config, Limits};
use bff_context::scope::{Caller, Identity};
use bff_runtime::net::Env;
use bff_store::testing::{CapturedLogs, store_at, wait_until_available};
use bff_store::{Key, Namespace, Redis, Store};
use bff_telemetry::Metrics;
use test_servers::{RedisCluster, RedisServer};

const ALL: [Algorithm; 4] = [
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
    Algorithm::TokenBucket,
    Algorithm::LeakyBucketQueue,
];

/// The limits of the gateway `client`.
fn open_for(client: &'static str, config: &Config, store: Store) -> Result<Limits, String> {
    let client = http::HeaderValue::from_static(client);
    Limits::open(config, store, &client, &Env::real(), &Metrics::noop())
}

fn rules() -> impl Strategy<Value = (u64, u64, u64)> {
    (1u64..12, 1u64..2000, 1u64..12)
}

/// Gaps between requests in microseconds, from 0 to long.
fn gaps() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![Just(0), 0u64..300, 0u64..5000], 1..120)
}

fn rule(algorithm: Algorithm, (limit, period, burst): (u64, u64, u64)) -> Rule {
    Rule {
        algorithm,
        limit,
        period,
        burst,
    }
}

/// Asserts that the rule and a model decide alike on every request.
fn assert_matches_model(
    rule: Rule,
    gaps: &[u64],
    mut model: impl FnMut(u64) -> bool,
) -> Result<(), TestCaseError> {
    let (mut state, mut now) = (None, 1);
    for gap in gaps {
        now += gap;
        let decision = rule.decide(&mut state, now, 1);
        prop_assert_eq!(decision.allowed, model(now), "{:?} at {}", rule, now);
    }
    Ok(())
}

/// The most of these times that lie in one period.
fn most_in_a_period(allowed: &[u64], period: u64) -> u64 {
    let counts = allowed.iter().enumerate().map(|(at, start)| {
        allowed[at..]
            .iter()
            .take_while(|time| **time < start + period)
            .count()
    });
    counts.max().unwrap_or(0) as u64
}

/// The documented bound is tight: up to two less than twice the limit do pass.
#[test]
fn sliding_window_error_reaches_its_documented_bound() {
    let rule = rule(Algorithm::SlidingWindow, (10, 1000, 1));
    let (mut state, mut allowed) = (None, Vec::new());
    // One request starts the window, nine come at its end, then one every microsecond.
    for now in [1]
        .into_iter()
        .chain(std::iter::repeat_n(1000, 9))
        .chain(1001..2000)
    {
        if rule.decide(&mut state, now, 1).allowed {
            allowed.push(now);
        }
    }
    assert_eq!(most_in_a_period(&allowed, rule.period), 2 * rule.limit - 2);
}

proptest! {
    #[test]
    fn fixed_window_matches_its_model(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::FixedWindow, r);
        let mut allowed: Vec<u64> = Vec::new();
        assert_matches_model(rule, &gaps, |now| {
            if allowed.first().is_some_and(|first| now >= first + rule.period) {
                allowed.clear();
            }
            let allows = (allowed.len() as u64) < rule.limit;
            if allows {
                allowed.push(now);
            }
            allows
        })?;
    }

    #[test]
    fn token_bucket_matches_its_model(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::TokenBucket, r);
        // The level in microseconds: a token is one interval. Time advances in single steps.
        let (mut level, mut last) = (rule.burst * rule.interval(), 0);
        assert_matches_model(rule, &gaps, |now| {
            for _ in last..now {
                level = (level + 1).min(rule.burst * rule.interval());
            }
            last = now;
            let allows = level >= rule.interval();
            if allows {
                level -= rule.interval();
            }
            allows
        })?;
    }

    #[test]
    fn leaky_bucket_queue_matches_its_model(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::LeakyBucketQueue, r);
        let (mut state, mut now) = (None, 1);
        // The departure times of the waiting requests and of the last one before them.
        let mut departures: VecDeque<u64> = VecDeque::new();
        for gap in gaps {
            now += gap;
            while departures.len() > 1 && departures[0] <= now {
                departures.pop_front();
            }
            let next = departures.back().map_or(now, |last| (last + rule.interval()).max(now));
            let decision = rule.decide(&mut state, now, 1);
            let allows = next - now <= rule.burst * rule.interval();
            prop_assert_eq!(decision.allowed, allows);
            if allows {
                prop_assert_eq!(decision.wait, next - now);
                departures.push_back(next);
            }
            let waiting = departures.iter().filter(|at| **at > now).count() as u64;
            prop_assert!(waiting <= rule.burst);
        }
    }

    #[test]
    fn sliding_window_matches_its_model(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::SlidingWindow, r);
        let mut allowed: Vec<u64> = Vec::new();
        let mut anchor = 1 + gaps[0];
        assert_matches_model(rule, &gaps, |now| {
            // The first request of a new or expired key starts a window. Further windows follow without gaps.
            let start = match now - anchor {
                elapsed if elapsed >= 2 * rule.period => now,
                elapsed if elapsed >= rule.period => anchor + rule.period,
                _ => anchor,
            };
            let count = |from: u64| {
                allowed.iter().filter(|at| (from..from + rule.period).contains(*at)).count() as u64
            };
            let previous = start.checked_sub(rule.period).map_or(0, count);
            // Multiplied by the period, so that nothing is rounded.
            let weighted = previous * (start + rule.period - now);
            let allows = weighted + (count(start) + 1) * rule.period <= rule.limit * rule.period;
            if allows {
                allowed.push(now);
                anchor = start;
            }
            allows
        })?;
        // The documented bound: less than twice the limit in any period.
        prop_assert!(most_in_a_period(&allowed, rule.period) < 2 * rule.limit, "{:?} {:?}", rule, allowed);
    }

    #[test]
    fn sliding_window_allows_at_most_limit_plus_one_of_evenly_spaced_requests(r in rules(), gap in 1usize..400) {
        let rule = rule(Algorithm::SlidingWindow, r);
        let mut state = None;
        let times = (1..).step_by(gap).take(400);
        let allowed: Vec<u64> = times.filter(|now| rule.decide(&mut state, *now, 1).allowed).collect();
        let most = most_in_a_period(&allowed, rule.period);
        prop_assert!(most <= rule.limit + 1, "{} of {:?}", most, rule);
    }

    #[test]
    fn remaining_reset_and_retry_after_are_exact(at in 0usize..ALL.len(), r in rules(), gaps in gaps()) {
        let rule = rule(ALL[at], r);
        let (mut state, mut now) = (None, 1);
        for gap in gaps {
            now += gap;
            let decision = rule.decide(&mut state, now, 1);
            // Exactly `remaining` further requests are allowed now.
            let mut rest = state;
            for _ in 0..decision.remaining {
                prop_assert!(rule.decide(&mut rest, now, 1).allowed);
            }
            prop_assert!(!rule.decide(&mut rest, now, 1).allowed);
            // After `reset` the whole quota is free.
            let mut later = state;
            let free = rule.decide(&mut later, now + decision.reset, 0);
            prop_assert_eq!(free.remaining, rule.quota(), "{:?} {:?}", rule, decision);
            if !decision.allowed {
                prop_assert!(decision.retry_after > 0);
                let mut early = state;
                let early = rule.decide(&mut early, now + decision.retry_after - 1, 1);
                prop_assert!(!early.allowed, "{:?} {:?}", rule, decision);
                let mut then = state;
                let then = rule.decide(&mut then, now + decision.retry_after, 1);
                prop_assert!(then.allowed, "{:?} {:?}", rule, decision);
            }
        }
    }

    /// The decision is exact even if the limit was different before.
    #[test]
    fn remaining_reset_and_retry_after_are_exact_while_the_limit_changes(
        at in 0usize..ALL.len(), r in rules(), gaps in gaps(),
        fractions in prop::collection::vec(1u64..=FULL_FRACTION, 120),
    ) {
        let full = rule(ALL[at], r);
        let (mut state, mut now) = (None, 1);
        for (gap, fraction) in gaps.into_iter().zip(fractions) {
            now += gap;
            let rule = full.scaled(fraction);
            prop_assert!(rule.limit <= full.limit && rule.burst <= full.burst);
            let decision = rule.decide(&mut state, now, 1);
            let mut rest = state;
            for _ in 0..decision.remaining {
                prop_assert!(rule.decide(&mut rest, now, 1).allowed);
            }
            prop_assert!(!rule.decide(&mut rest, now, 1).allowed);
            if !decision.allowed {
                let mut early = state;
                prop_assert!(!rule.decide(&mut early, now + decision.retry_after - 1, 1).allowed);
                let mut then = state;
                prop_assert!(rule.decide(&mut then, now + decision.retry_after, 1).allowed);
            }
            let mut later = state;
            prop_assert_eq!(rule.decide(&mut later, now + decision.reset, 0).remaining, rule.quota());
        }
    }

    /// The model stores every response and computes all windows from the start each time.
    #[test]
    fn adaptive_limit_matches_its_model(
        window in 1u64..50, failure_ratio in 1u64..=FULL_FRACTION, min_samples in 0u64..5,
        min_fraction in 1u64..=FULL_FRACTION, recovery_step in 1u64..=FULL_FRACTION,
        responses in prop::collection::vec((prop_oneof![0u64..5, 0u64..200], any::<bool>()), 1..60),
    ) {
        let rule = AdaptiveRule { window, failure_ratio, min_samples, min_fraction, recovery_step };
        let (mut health, mut now) = (Health::default(), 0);
        let mut recorded: Vec<(u64, bool)> = Vec::new();
        for (gap, failed) in responses {
            now += gap;
            let mut fraction = FULL_FRACTION;
            for start in (0..).map(|n| n * window).take_while(|start| start + window <= now) {
                let within = recorded.iter().filter(|(at, _)| (start..start + window).contains(at));
                let all = within.clone().count() as u64;
                let failures = within.filter(|(_, failed)| *failed).count() as u64;
                let fails = failures * FULL_FRACTION >= failure_ratio * all;
                fraction = if failures > 0 && all >= min_samples && fails {
                    if fraction / 2 > min_fraction { fraction / 2 } else { min_fraction }
                } else if fraction + recovery_step > FULL_FRACTION {
                    FULL_FRACTION
                } else {
                    fraction + recovery_step
                };
            }
            prop_assert_eq!(rule.fraction(&mut health, now), fraction);
            rule.record_outcome(&mut health, now, failed);
            recorded.push((now, failed));
        }
    }

    #[test]
    fn an_expired_state_equals_no_state(at in 0usize..ALL.len(), r in rules(), gaps in gaps()) {
        let rule = rule(ALL[at], r);
        let (mut permanent, mut expiring) = (None, None);
        let (mut now, mut expires) = (1, 0);
        for gap in gaps {
            now += gap;
            if now >= expires {
                expiring = None;
            }
            let allowed = rule.decide(&mut permanent, now, 1).allowed;
            prop_assert_eq!(allowed, rule.decide(&mut expiring, now, 1).allowed);
            expires = now + expiring.map_or(0, |state: CounterState| rule.expires_in(state, now));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_does_not_evict_the_busiest_counter() {
    let table = Table::new();
    let strict = rule(Algorithm::TokenBucket, (100, 60_000_000, 100));
    // This key uses its whole limit, so its counter expires last.
    let heavy = 7;
    for _ in 0..100 {
        assert!(table.decide(heavy, &strict, 1).allowed);
    }
    for key in 0..1_000_000u64 {
        table.decide(xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes()), &strict, 1);
    }
    assert!(!table.decide(heavy, &strict, 1).allowed);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(table.decide(heavy, &strict, 1).remaining, 99);
}

#[tokio::test(start_paused = true)]
async fn a_charge_takes_at_most_the_available_tokens() {
    let table = Table::new();
    let rule = rule(Algorithm::TokenBucket, (15, 60_000_000, 15));
    assert_eq!(table.decide(1, &rule, 1).remaining, 14);
    table.charge(1, &rule, 9);
    assert_eq!(table.peek(1, &rule, 0).remaining, 5);
    table.charge(1, &rule, 9);
    assert_eq!(table.peek(1, &rule, 0).remaining, 0);
}

/// Redis has its own clock. So the test uses a very long period first, then a short one.
#[tokio::test]
async fn redis_decides_like_this_process() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = store_at(server.url());
    wait_until_available(&store).await;
    let Store::Redis(redis) = &store else {
        unreachable!()
    };
    // The limit changes like an adaptive one.
    let fractions = [
        FULL_FRACTION,
        FULL_FRACTION,
        FULL_FRACTION / 2,
        FULL_FRACTION / 2,
        FULL_FRACTION,
        FULL_FRACTION,
        FULL_FRACTION / 4,
        FULL_FRACTION,
    ];
    for algorithm in ALL {
        let full = rule(algorithm, (5, 3_600_000_000, 3));
        let mut state = None;
        let key = format!("test:{{{algorithm:?}}}");
        for fraction in fractions {
            let rule = full.scaled(fraction);
            let reply = decide_in_redis(redis, &key, &rule).await;
            let expected = rule.decide(&mut state, 1, 1);
            let near = |ours: u64, theirs: u64| ours.abs_diff(theirs) < 30_000_000;
            let context = format!("{rule:?} {reply:?} {expected:?}");
            assert_eq!(
                (reply[0] == 1, reply[1]),
                (expected.allowed, expected.remaining),
                "{context}"
            );
            assert!(near(reply[2], expected.reset), "{context}");
            assert!(near(reply[3], expected.retry_after), "{context}");
            assert!(near(reply[4], expected.wait), "{context}");
        }
        // After `retry_after` the next request is allowed.
        let short = Rule {
            period: 200_000,
            ..full
        };
        let key = format!("short:{{{algorithm:?}}}");
        let mut reply = vec![1];
        while reply[0] == 1 {
            reply = decide_in_redis(redis, &key, &short).await;
        }
        tokio::time::sleep(Duration::from_micros(reply[3])).await;
        reply = decide_in_redis(redis, &key, &short).await;
        assert_eq!(reply[0], 1, "{short:?}");
    }
}

async fn decide_in_redis(redis: &Redis, key: &str, rule: &Rule) -> Vec<u64> {
    let script = ::redis::Script::new(include_str!("decide.lua"));
    let mut call = script.prepare_invoke();
    call.key(key);
    for arg in rule.script_args() {
        call.arg(arg);
    }
    let space = Namespace {
        name: "test",
        evictable: true,
    };
    let at = Key::of(space, key.as_bytes(), &[]);
    redis.invoke(&at, &call).await.unwrap()
}

#[tokio::test]
async fn limits_apply_in_one_process_and_across_replicas_on_one_redis() {
    assert_limits_apply(&[Store::memory(1 << 20, &Env::real())], 10).await;
    if let Some(server) = RedisServer::start() {
        let stores = [store_at(server.url()), store_at(server.url())];
        wait_until_available(&stores[0]).await;
        assert_limits_apply(&stores, 10).await;
    }
}

#[tokio::test]
async fn limits_apply_across_replicas_on_one_cluster() {
    if let Some(cluster) = RedisCluster::start().await {
        let stores = [store_at(cluster.url()), store_at(cluster.url())];
        wait_until_available(&stores[0]).await;
        assert_limits_apply(&stores, 1000).await;
    }
}

#[tokio::test]
async fn gateways_that_share_a_redis_count_separately() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = store_at(server.url());
    wait_until_available(&store).await;
    let policy = serde_json::json!({ "limit": 1, "period": "1h" });
    let config = serde_json::json!({ "policies": { "screens": policy } });
    let config: super::Config = serde_json::from_value(config).unwrap();
    let ada = caller("ada");
    let request = super::Request {
        caller: Some(&ada),
        ..anonymous_request()
    };
    for client in ["one", "two"] {
        let limits = open_for(client, &config, store.clone()).unwrap();
        assert!(limits.check(request).await.1.is_ok(), "{client}");
        assert!(limits.check(request).await.1.is_err(), "{client}");
    }
}

/// Asserts the behaviour of limits in one process, or in replicas that share a store.
///
/// `route_limit` is the limit of all callers together. On a cluster it is higher than the number of requests, because a
/// request that one policy rejects there may still take from another.
async fn assert_limits_apply(replicas: &[Store], route_limit: u32) {
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        assert_rejection_takes_nothing(replicas, algorithm, route_limit).await;
    }
    // All wait at the same time.
    tokio::join!(
        assert_retry_after_is_exact(replicas, "fixed_window"),
        assert_retry_after_is_exact(replicas, "sliding_window"),
        assert_retry_after_is_exact(replicas, "token_bucket"),
    );
}

fn open(replicas: &[Store], policies: &serde_json::Value) -> Vec<super::Limits> {
    let config = serde_json::json!({ "policies": policies });
    let config: super::Config = serde_json::from_value(config).unwrap();
    let open = |store: &Store| open_for("test", &config, store.clone()).unwrap();
    replicas.iter().map(open).collect()
}

fn caller(account: &str) -> Caller {
    Caller::new(Identity {
        account: account.into(),
        ..Identity::default()
    })
    .unwrap()
}

/// Each caller gets two requests, and all together `route_limit`, at any replica. A rejected request takes nothing.
async fn assert_rejection_takes_nothing(replicas: &[Store], algorithm: &str, route_limit: u32) {
    let policy = |by: &str, limit: u32| {
        serde_json::json!({
            "key_by": [by], "limit": limit, "burst": limit, "period": "1h", "algorithm": algorithm,
        })
    };
    let own = format!("own-{}", algorithm.replace('_', "-"));
    let all = format!("all-{}", algorithm.replace('_', "-"));
    let policies =
        serde_json::json!({ own: policy("caller", 2), all: policy("route", route_limit) });
    let limits = open(replicas, &policies);
    let mut allowed = Vec::new();
    for account in ["ada", "ben", "kim", "lea", "mia", "tom"] {
        let caller = caller(account);
        let mut count = 0;
        for n in 0..5 {
            let request = super::Request {
                caller: Some(&caller),
                ..anonymous_request()
            };
            let (_, result) = limits[n % limits.len()].check(request).await;
            count += u32::from(result.is_ok());
        }
        allowed.push(count);
    }
    let last = route_limit.saturating_sub(10).min(2);
    assert_eq!(allowed, [2, 2, 2, 2, 2, last], "{algorithm}");
}

/// After `Retry-After` of one replica, another replica allows the request. Before that, it rejects it.
async fn assert_retry_after_is_exact(replicas: &[Store], algorithm: &str) {
    let name = format!("next-{}", algorithm.replace('_', "-"));
    let policy = serde_json::json!({
        "limit": 3, "burst": 3, "period": "4s", "algorithm": algorithm,
    });
    let limits = open(replicas, &serde_json::json!({ name: policy }));
    let (one, other) = (&limits[0], &limits[limits.len() - 1]);
    let mut remaining = Vec::new();
    let error = loop {
        let (state, result) = one.check(anonymous_request()).await;
        let mut headers = http::HeaderMap::new();
        state.write_headers(&mut headers);
        let left = headers["x-ratelimit-remaining"].to_str().unwrap();
        remaining.push(left.parse::<u32>().unwrap());
        if let Err(error) = result {
            break error;
        }
    };
    assert!(
        remaining.starts_with(&[2, 1, 0]),
        "{algorithm}: {remaining:?}"
    );
    assert_eq!(error.code(), bff_context::error::codes::RATE_LIMITED);
    let wait = error.retry_hint().unwrap();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(6),
        "{algorithm}: {wait:?}"
    );
    assert!(
        other.check(anonymous_request()).await.1.is_err(),
        "{algorithm}"
    );
    tokio::time::sleep(wait).await;
    assert!(
        other.check(anonymous_request()).await.1.is_ok(),
        "{algorithm}: {wait:?}"
    );
}

/// An anonymous request to an endpoint.
fn anonymous_request() -> super::Request<'static> {
    super::Request {
        address: None,
        caller: None,
        route: Some("/"),
        proxied: false,
        path: "/",
    }
}

/// 100 requests an hour, with this adaptive configuration.
fn adaptive_config(adaptive: &serde_json::Value) -> super::Config {
    let policy = serde_json::json!({
        "limit": 100, "period": "1h", "algorithm": "fixed_window", "adaptive": adaptive,
    });
    serde_json::from_value(serde_json::json!({ "policies": { "screens": policy } })).unwrap()
}

/// Uses [`super::Limits`], with its clock.
#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_shrinks_while_responses_fail_and_recovers() {
    let config = adaptive_config(&serde_json::json!({}));
    let store = Store::memory(1 << 20, &Env::real());
    let limits = open_for("test", &config, store).unwrap();
    let quota = async |failed: Option<bool>| {
        let (state, result) = limits.check(anonymous_request()).await;
        if let (Some(failed), true) = (failed, result.is_ok()) {
            limits.record_outcome(&state, || failed);
        }
        let mut headers = http::HeaderMap::new();
        state.write_headers(&mut headers);
        let quota = headers["x-ratelimit-limit"].to_str().unwrap();
        assert!(
            headers["ratelimit-policy"]
                .to_str()
                .unwrap()
                .contains(&format!("q={quota};"))
        );
        quota.parse::<u64>().unwrap()
    };
    let second = Duration::from_secs(1);
    for _ in 0..9 {
        assert_eq!(quota(Some(true)).await, 100);
    }
    tokio::time::advance(second).await;
    // Nine responses are fewer than `min_samples`.
    for failed in [
        true, true, true, true, true, false, false, false, false, false,
    ] {
        assert_eq!(quota(Some(failed)).await, 100);
    }
    tokio::time::advance(second).await;
    for _ in 0..10 {
        assert_eq!(quota(Some(true)).await, 50);
    }
    tokio::time::advance(second).await;
    // More requests passed than the reduced limit. So all are rejected, none fails, and the limit recovers.
    assert_eq!(quota(Some(true)).await, 25);
    for expected in [35, 45, 55, 65, 75, 85, 95, 100, 100] {
        tokio::time::advance(second).await;
        assert_eq!(quota(None).await, expected);
    }
}

#[test]
fn zero_is_rejected_in_an_adaptive_configuration() {
    for (key, value) in [
        ("window", serde_json::json!("0s")),
        ("failure_ratio", 0.into()),
        ("min_fraction", 0.into()),
        ("recovery_step", 0.into()),
    ] {
        let config = adaptive_config(&serde_json::json!({ key: value }));
        let store = Store::memory(1 << 20, &Env::real());
        let line = open_for("test", &config, store).unwrap_err();
        assert!(
            line.contains("policies.screens: adaptive") && line.contains(key),
            "{line}"
        );
    }
}

/// A Redis that accepts connections and never replies is unavailable after `store.timeout`. It is logged once, and not
/// called again before `store.retry_interval`.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_replies_is_unavailable_within_50_ms_and_logged_once() {
    let lines = CapturedLogs::default();
    let _guard = lines.capture();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let store = bff_store::Config {
        url: Some(bff_config::Secret::new(url)),
        ..bff_store::Config::default()
    };
    for (on_failure, rejects) in [("local", false), ("fail_closed", true)] {
        let policy =
            serde_json::json!({ "limit": 100, "period": "1h", "on_store_failure": on_failure });
        let config = serde_json::json!({ "policies": { "screens": policy } });
        let config: super::Config = serde_json::from_value(config).unwrap();
        let store = Store::open(&store, &Env::real()).unwrap();
        let limits = open_for("test", &config, store).unwrap();
        for n in 0..20 {
            let started = tokio::time::Instant::now();
            let (state, result) = limits.check(anonymous_request()).await;
            let elapsed = started.elapsed();
            // Only the first request, and one per `retry_interval`, waits for the timeout.
            assert!(
                elapsed <= Duration::from_millis(50),
                "{on_failure} {n}: {elapsed:?}"
            );
            assert_eq!(result.is_err(), rejects);
            if let Err(error) = result {
                assert_eq!(error.code(), bff_context::error::codes::UNAVAILABLE);
                assert_eq!(error.retry_hint(), Some(Duration::from_secs(1)));
            }
            let mut headers = http::HeaderMap::new();
            state.write_headers(&mut headers);
            assert_eq!(
                headers.contains_key("ratelimit"),
                !rejects,
                "without counters there are no headers"
            );
            tokio::time::advance(Duration::from_millis(60)).await;
        }
    }
    // One line for each of the two stores.
    assert_eq!(lines.count("redis unavailable"), 2);
}
