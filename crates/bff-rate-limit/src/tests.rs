//! Each algorithm against a slow and obvious model of it; then the table, and Redis against the same arithmetic.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::adaptive::{Adaptive, Health, WHOLE};
use super::algorithm::{Algorithm, Rule, State};
use super::local::Table;
use super::{Config, Limits};
use bff_context::scope::{Caller, Identity};
use bff_runtime::net::Env;
use bff_store::testing::{CapturedLogs, Cluster, Server, wait_until_available};
use bff_store::{Key, Namespace, Redis, Store};
use bff_telemetry::Metrics;

const ALL: [Algorithm; 5] = [
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
    Algorithm::TokenBucket,
    Algorithm::LeakyMeter,
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

/// Gaps between requests, from none to long.
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

/// What each request is answered, by the rule and by a model that is asked in the same order.
fn same(rule: Rule, gaps: &[u64], mut model: impl FnMut(u64) -> bool) -> Result<(), TestCaseError> {
    let (mut state, mut now) = (None, 1);
    for gap in gaps {
        now += gap;
        let decision = rule.decide(&mut state, now, 1);
        prop_assert_eq!(decision.allowed, model(now), "{:?} at {}", rule, now);
    }
    Ok(())
}

/// How many of these passed in any one period.
fn most_in_a_period(passed: &[u64], period: u64) -> u64 {
    let from = passed.iter().enumerate();
    let within = from.map(|(at, from)| {
        passed[at..]
            .iter()
            .take_while(|p| **p < from + period)
            .count()
    });
    within.max().unwrap_or(0) as u64
}

/// The bound of a sliding window is no looser than it must be: one less than twice the limit does pass.
#[test]
fn a_sliding_window_is_wrong_by_as_much_as_is_documented() {
    let rule = rule(Algorithm::SlidingWindow, (10, 1000, 1));
    let (mut state, mut passed) = (None, Vec::new());
    // One to begin the window, all others at its end, and then as soon as one passes.
    for now in [1]
        .into_iter()
        .chain(std::iter::repeat_n(1000, 9))
        .chain(1001..2000)
    {
        if rule.decide(&mut state, now, 1).allowed {
            passed.push(now);
        }
    }
    assert_eq!(most_in_a_period(&passed, rule.period), 2 * rule.limit - 2);
}

proptest! {
    #[test]
    fn a_fixed_window_counts_what_passed_since_it_began(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::FixedWindow, r);
        let mut passed: Vec<u64> = Vec::new();
        same(rule, &gaps, |now| {
            if passed.first().is_some_and(|first| now >= first + rule.period) {
                passed.clear();
            }
            let passes = (passed.len() as u64) < rule.limit;
            if passes {
                passed.push(now);
            }
            passes
        })?;
    }

    #[test]
    fn a_bucket_fills_and_is_emptied(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::TokenBucket, r);
        // In tokens' microseconds, one step of time after another.
        let (mut level, mut last) = (rule.burst * rule.interval(), 0);
        same(rule, &gaps, |now| {
            for _ in last..now {
                level = (level + 1).min(rule.burst * rule.interval());
            }
            last = now;
            let passes = level >= rule.interval();
            if passes {
                level -= rule.interval();
            }
            passes
        })?;
    }

    #[test]
    fn a_meter_leaks_and_overflows(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::LeakyMeter, r);
        let (mut level, mut last) = (0u64, 0);
        same(rule, &gaps, |now| {
            for _ in last..now {
                level = level.saturating_sub(1);
            }
            last = now;
            let passes = level + rule.interval() <= rule.burst * rule.interval();
            if passes {
                level += rule.interval();
            }
            passes
        })?;
    }

    #[test]
    fn a_queue_lets_one_out_after_another(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::LeakyBucketQueue, r);
        let (mut state, mut now) = (None, 1);
        // When each one leaves that waits or was the last to leave.
        let mut leaves: VecDeque<u64> = VecDeque::new();
        for gap in gaps {
            now += gap;
            while leaves.len() > 1 && leaves[0] <= now {
                leaves.pop_front();
            }
            let next = leaves.back().map_or(now, |last| (last + rule.interval()).max(now));
            let decision = rule.decide(&mut state, now, 1);
            let passes = next - now <= rule.burst * rule.interval();
            prop_assert_eq!(decision.allowed, passes);
            if passes {
                prop_assert_eq!(decision.wait, next - now);
                leaves.push_back(next);
            }
            let waiting = leaves.iter().filter(|at| **at > now).count() as u64;
            prop_assert!(waiting <= rule.burst);
        }
    }

    #[test]
    fn a_sliding_window_counts_the_one_before_by_its_share(r in rules(), gaps in gaps()) {
        let rule = rule(Algorithm::SlidingWindow, r);
        let mut passed: Vec<u64> = Vec::new();
        let mut anchor = 1 + gaps[0];
        same(rule, &gaps, |now| {
            // A new key's first window begins with it, and so does a forgotten one's; windows follow one another.
            let begins = match now - anchor {
                gone if gone >= 2 * rule.period => now,
                gone if gone >= rule.period => anchor + rule.period,
                _ => anchor,
            };
            let counted = |from: u64| {
                passed.iter().filter(|at| (from..from + rule.period).contains(*at)).count() as u64
            };
            let before = begins.checked_sub(rule.period).map_or(0, counted);
            // In fractions of the period, not rounded.
            let weighed = before * (begins + rule.period - now);
            let passes = weighed + (counted(begins) + 1) * rule.period <= rule.limit * rule.period;
            if passes {
                passed.push(now);
                anchor = begins;
            }
            passes
        })?;
        // The bound that is documented: less than twice the limit in any period.
        prop_assert!(most_in_a_period(&passed, rule.period) < 2 * rule.limit, "{:?} {:?}", rule, passed);
    }

    #[test]
    fn a_sliding_window_lets_one_too_many_of_even_requests_pass_at_most(r in rules(), gap in 1usize..400) {
        let rule = rule(Algorithm::SlidingWindow, r);
        let mut state = None;
        let times = (1..).step_by(gap).take(400);
        let passed: Vec<u64> = times.filter(|now| rule.decide(&mut state, *now, 1).allowed).collect();
        let most = most_in_a_period(&passed, rule.period);
        prop_assert!(most <= rule.limit + 1, "{} of {:?}", most, rule);
    }

    #[test]
    fn what_is_told_comes_true(at in 0usize..5, r in rules(), gaps in gaps()) {
        let rule = rule(ALL[at], r);
        let (mut state, mut now) = (None, 1);
        for gap in gaps {
            now += gap;
            let told = rule.decide(&mut state, now, 1);
            // As many more pass as was said, and not one beyond.
            let mut rest = state;
            for _ in 0..told.remaining {
                prop_assert!(rule.decide(&mut rest, now, 1).allowed);
            }
            prop_assert!(!rule.decide(&mut rest, now, 1).allowed);
            // At the end of `reset` everything is free.
            let mut later = state;
            let free = rule.decide(&mut later, now + told.reset, 0);
            prop_assert_eq!(free.remaining, rule.quota(), "{:?} {:?}", rule, told);
            if !told.allowed {
                prop_assert!(told.retry_after > 0);
                let mut early = state;
                let early = rule.decide(&mut early, now + told.retry_after - 1, 1);
                prop_assert!(!early.allowed, "{:?} {:?}", rule, told);
                let mut then = state;
                let then = rule.decide(&mut then, now + told.retry_after, 1);
                prop_assert!(then.allowed, "{:?} {:?}", rule, told);
            }
        }
    }

    /// What is told of the moment comes true although the limit was another one before.
    #[test]
    fn what_is_told_comes_true_of_a_limit_that_moves(
        at in 0usize..5, r in rules(), gaps in gaps(), shares in prop::collection::vec(1u64..=WHOLE, 120),
    ) {
        let whole = rule(ALL[at], r);
        let (mut state, mut now) = (None, 1);
        for (gap, share) in gaps.into_iter().zip(shares) {
            now += gap;
            let rule = whole.at(share);
            prop_assert!(rule.limit <= whole.limit && rule.burst <= whole.burst);
            let told = rule.decide(&mut state, now, 1);
            let mut rest = state;
            for _ in 0..told.remaining {
                prop_assert!(rule.decide(&mut rest, now, 1).allowed);
            }
            prop_assert!(!rule.decide(&mut rest, now, 1).allowed);
            if !told.allowed {
                let mut early = state;
                prop_assert!(!rule.decide(&mut early, now + told.retry_after - 1, 1).allowed);
                let mut then = state;
                prop_assert!(rule.decide(&mut then, now + told.retry_after, 1).allowed);
            }
            let mut later = state;
            prop_assert_eq!(rule.decide(&mut later, now + told.reset, 0).remaining, rule.quota());
        }
    }

    /// The model keeps every answer, and walks through all windows since the beginning each time it is asked.
    #[test]
    fn a_limit_follows_health_window_by_window(
        window in 1u64..50, failing in 1u64..=WHOLE, minimum in 0u64..5, least in 1u64..=WHOLE, step in 1u64..=WHOLE,
        answers in prop::collection::vec((prop_oneof![0u64..5, 0u64..200], any::<bool>()), 1..60),
    ) {
        let adaptive = Adaptive { window, failing, minimum, least, step };
        let (mut health, mut now) = (Health::default(), 0);
        let mut told: Vec<(u64, bool)> = Vec::new();
        for (gap, failed) in answers {
            now += gap;
            let mut share = WHOLE;
            for begins in (0..).map(|n| n * window).take_while(|begins| begins + window <= now) {
                let within = told.iter().filter(|(at, _)| (begins..begins + window).contains(at));
                let all = within.clone().count() as u64;
                let bad = within.filter(|(_, failed)| *failed).count() as u64;
                share = if bad > 0 && all >= minimum && bad * WHOLE >= failing * all {
                    if share / 2 > least { share / 2 } else { least }
                } else if share + step > WHOLE {
                    WHOLE
                } else {
                    share + step
                };
            }
            prop_assert_eq!(adaptive.share(&mut health, now), share);
            adaptive.answered(&mut health, now, failed);
            told.push((now, failed));
        }
    }

    #[test]
    fn what_ended_is_the_same_forgotten(at in 0usize..5, r in rules(), gaps in gaps()) {
        let rule = rule(ALL[at], r);
        let (mut remembered, mut forgotten) = (None, None);
        let (mut now, mut ends) = (1, 0);
        for gap in gaps {
            now += gap;
            if now >= ends {
                forgotten = None;
            }
            let decided = rule.decide(&mut remembered, now, 1).allowed;
            prop_assert_eq!(decided, rule.decide(&mut forgotten, now, 1).allowed);
            ends = now + forgotten.map_or(0, |state: State| rule.ends(state, now));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_million_keys_do_not_exhaust_it_nor_free_the_one_that_asks_most() {
    let table = Table::new();
    let strict = rule(Algorithm::TokenBucket, (100, 60_000_000, 100));
    // It has asked for all it may, so it is remembered longest.
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
async fn a_charge_takes_what_is_there() {
    let table = Table::new();
    let rule = rule(Algorithm::TokenBucket, (15, 60_000_000, 15));
    assert_eq!(table.decide(1, &rule, 1).remaining, 14);
    table.charge(1, &rule, 9);
    assert_eq!(table.peek(1, &rule, 0).remaining, 5);
    table.charge(1, &rule, 9);
    assert_eq!(table.peek(1, &rule, 0).remaining, 0);
}

/// Redis' clock is its own: a period long enough that nothing of it passes meanwhile, then one that passes.
#[tokio::test]
async fn redis_decides_as_this_process_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = server.store();
    wait_until_available(&store).await;
    let Store::Redis(redis) = &store else {
        unreachable!()
    };
    // The limit moves, as one that follows health does.
    let shares = [
        WHOLE,
        WHOLE,
        WHOLE / 2,
        WHOLE / 2,
        WHOLE,
        WHOLE,
        WHOLE / 4,
        WHOLE,
    ];
    for algorithm in ALL {
        let whole = rule(algorithm, (5, 3_600_000_000, 3));
        let mut state = None;
        let key = format!("test:{{{algorithm:?}}}");
        for share in shares {
            let rule = whole.at(share);
            let told = decides(redis, &key, &rule).await;
            let wanted = rule.decide(&mut state, 1, 1);
            let near = |ours: u64, theirs: u64| ours.abs_diff(theirs) < 30_000_000;
            assert_eq!(
                (told[0] == 1, told[1]),
                (wanted.allowed, wanted.remaining),
                "{rule:?}"
            );
            assert!(near(told[2], wanted.reset), "{rule:?} {told:?} {wanted:?}");
            assert!(
                near(told[3], wanted.retry_after),
                "{rule:?} {told:?} {wanted:?}"
            );
            assert!(near(told[4], wanted.wait), "{rule:?} {told:?} {wanted:?}");
        }
        // And what it said of when the next one passes comes true.
        let quick = Rule {
            period: 200_000,
            ..whole
        };
        let key = format!("quick:{{{algorithm:?}}}");
        let mut told = vec![1];
        while told[0] == 1 {
            told = decides(redis, &key, &quick).await;
        }
        tokio::time::sleep(Duration::from_micros(told[3])).await;
        told = decides(redis, &key, &quick).await;
        assert_eq!(told[0], 1, "{quick:?}");
    }
}

async fn decides(redis: &Redis, key: &str, rule: &Rule) -> Vec<u64> {
    let script = ::redis::Script::new(include_str!("decide.lua"));
    let mut call = script.prepare_invoke();
    call.key(key);
    for number in rule.numbers() {
        call.arg(number);
    }
    let space = Namespace {
        name: "test",
        evictable: true,
    };
    let at = Key::of(space, key.as_bytes(), &[]);
    redis.invoke(&at, &call).await.unwrap()
}

#[tokio::test]
async fn limits_hold_in_one_process_and_over_replicas_on_one_redis() {
    hold(&[Store::memory(1 << 20, &Env::real())], 10).await;
    if let Some(server) = Server::start() {
        let stores = [server.store(), server.store()];
        wait_until_available(&stores[0]).await;
        hold(&stores, 10).await;
    }
}

#[tokio::test]
async fn limits_hold_over_replicas_on_one_cluster() {
    if let Some(cluster) = Cluster::start().await {
        let stores = [cluster.store(), cluster.store()];
        wait_until_available(&stores[0]).await;
        hold(&stores, 1000).await;
    }
}

#[tokio::test]
async fn gateways_that_share_a_redis_count_each_for_itself() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = server.store();
    wait_until_available(&store).await;
    let policy = serde_json::json!({ "limit": 1, "period": "1h" });
    let config = serde_json::json!({ "policies": { "screens": policy } });
    let config: super::Config = serde_json::from_value(config).unwrap();
    let ada = of("ada");
    let asks = super::Request {
        caller: Some(&ada),
        ..anybody()
    };
    for client in ["one", "two"] {
        let limits = open_for(client, &config, store.clone()).unwrap();
        assert!(limits.check(asks).await.1.is_ok(), "{client}");
        assert!(limits.check(asks).await.1.is_err(), "{client}");
    }
}

/// What limits do wherever they count: in one process, or in replicas that share a store. `all` is how many of everybody
/// pass: more than ask, where what one limit refuses may have taken from another, as on a cluster.
async fn hold(replicas: &[Store], all: u32) {
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        one_refusal_takes_nothing_from_the_others(replicas, algorithm, all).await;
        what_is_told_of_the_next_one_comes_true(replicas, algorithm).await;
    }
}

fn open(replicas: &[Store], policies: &serde_json::Value) -> Vec<super::Limits> {
    let config = serde_json::json!({ "policies": policies });
    let config: super::Config = serde_json::from_value(config).unwrap();
    let open = |store: &Store| open_for("test", &config, store.clone()).unwrap();
    replicas.iter().map(open).collect()
}

fn of(account: &str) -> Caller {
    Caller::new(Identity {
        account: account.into(),
        ..Identity::default()
    })
    .unwrap()
}

/// Two of each caller pass and as many of all as may, whichever replica is asked: who is refused costs the others nothing.
async fn one_refusal_takes_nothing_from_the_others(replicas: &[Store], algorithm: &str, most: u32) {
    let policy = |by: &str, limit: u32| {
        serde_json::json!({
            "key_by": [by], "limit": limit, "burst": limit, "period": "1h", "algorithm": algorithm,
        })
    };
    let own = format!("own-{}", algorithm.replace('_', "-"));
    let all = format!("all-{}", algorithm.replace('_', "-"));
    let policies = serde_json::json!({ own: policy("caller", 2), all: policy("route", most) });
    let limits = open(replicas, &policies);
    let mut passed = Vec::new();
    for account in ["ada", "ben", "kim", "lea", "mia", "tom"] {
        let caller = of(account);
        let mut some = 0;
        for n in 0..5 {
            let request = super::Request {
                caller: Some(&caller),
                ..anybody()
            };
            let (_, answer) = limits[n % limits.len()].check(request).await;
            some += u32::from(answer.is_ok());
        }
        passed.push(some);
    }
    let last = most.saturating_sub(10).min(2);
    assert_eq!(passed, [2, 2, 2, 2, 2, last], "{algorithm}");
}

/// Who waits as long as a refusal says passes at the other replica, and who comes much earlier does not.
async fn what_is_told_of_the_next_one_comes_true(replicas: &[Store], algorithm: &str) {
    let name = format!("next-{}", algorithm.replace('_', "-"));
    let policy = serde_json::json!({
        "limit": 3, "burst": 3, "period": "2s", "algorithm": algorithm,
    });
    let limits = open(replicas, &serde_json::json!({ name: policy }));
    let (one, other) = (&limits[0], &limits[limits.len() - 1]);
    let mut remaining = Vec::new();
    let refused = loop {
        let (standing, answer) = one.check(anybody()).await;
        let mut headers = http::HeaderMap::new();
        standing.write_headers(&mut headers);
        let left = headers["x-ratelimit-remaining"].to_str().unwrap();
        remaining.push(left.parse::<u32>().unwrap());
        if let Err(refused) = answer {
            break refused;
        }
    };
    assert!(
        remaining.starts_with(&[2, 1, 0]),
        "{algorithm}: {remaining:?}"
    );
    assert_eq!(refused.code(), bff_context::error::codes::RATE_LIMITED);
    let wait = refused.retry_hint().unwrap();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(3),
        "{algorithm}: {wait:?}"
    );
    assert!(other.check(anybody()).await.1.is_err(), "{algorithm}");
    tokio::time::sleep(wait).await;
    assert!(
        other.check(anybody()).await.1.is_ok(),
        "{algorithm}: {wait:?}"
    );
}

/// A request of nobody in particular through a door.
fn anybody() -> super::Request<'static> {
    super::Request {
        address: None,
        caller: None,
        route: Some("/"),
        passed: false,
        path: "/",
    }
}

/// A hundred an hour, that follows health so.
fn follows(adaptive: &serde_json::Value) -> super::Config {
    let policy = serde_json::json!({
        "limit": 100, "period": "1h", "algorithm": "fixed_window", "adaptive": adaptive,
    });
    serde_json::from_value(serde_json::json!({ "policies": { "screens": policy } })).unwrap()
}

/// Through [`super::Limits`], on the clock that counts.
#[tokio::test(start_paused = true)]
async fn a_limit_shrinks_while_its_answers_fail_and_recovers_by_itself() {
    let config = follows(&serde_json::json!({}));
    let store = Store::memory(1 << 20, &Env::real());
    let limits = open_for("test", &config, store).unwrap();
    let quota = async |failed: Option<bool>| {
        let (standing, passes) = limits.check(anybody()).await;
        if let (Some(failed), true) = (failed, passes.is_ok()) {
            limits.record_outcome(&standing, || failed);
        }
        let mut headers = http::HeaderMap::new();
        standing.write_headers(&mut headers);
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
    // Nine are too few to say anything.
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
    // Those that passed are more than half of what is left: nobody passes, nothing fails, it recovers.
    assert_eq!(quota(Some(true)).await, 25);
    for quota_then in [35, 45, 55, 65, 75, 85, 95, 100, 100] {
        tokio::time::advance(second).await;
        assert_eq!(quota(None).await, quota_then);
    }
}

#[test]
fn what_a_limit_cannot_follow_is_refused() {
    for (key, value) in [
        ("window", serde_json::json!("0s")),
        ("failure_ratio", 0.into()),
        ("min_fraction", 0.into()),
        ("recovery_step", 0.into()),
    ] {
        let config = follows(&serde_json::json!({ key: value }));
        let store = Store::memory(1 << 20, &Env::real());
        let line = open_for("test", &config, store).unwrap_err();
        assert!(
            line.contains("policies.screens: adaptive") && line.contains(key),
            "{line}"
        );
    }
}

/// Whoever listens and never answers is away: decided by the store's own timeout, said once, and not asked in between.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_away_within_50_ms_and_said_so_once() {
    let lines = CapturedLogs::default();
    let _guard = lines.capture();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let store = bff_store::Config {
        url: Some(bff_config::Secret::new(url)),
        ..bff_store::Config::default()
    };
    for (away, closes) in [("local", false), ("fail_closed", true)] {
        let policy = serde_json::json!({ "limit": 100, "period": "1h", "on_store_failure": away });
        let config = serde_json::json!({ "policies": { "screens": policy } });
        let config: super::Config = serde_json::from_value(config).unwrap();
        let store = Store::open(&store, &Env::real()).unwrap();
        let limits = open_for("test", &config, store).unwrap();
        for asked in 0..20 {
            let began = tokio::time::Instant::now();
            let (standing, passes) = limits.check(anybody()).await;
            let took = began.elapsed();
            // The first pays for finding out, and one in each pause after that.
            assert!(
                took <= Duration::from_millis(50),
                "{away} {asked}: {took:?}"
            );
            assert_eq!(passes.is_err(), closes);
            if let Err(error) = passes {
                assert_eq!(error.code(), bff_context::error::codes::UNAVAILABLE);
                assert_eq!(error.retry_hint(), Some(Duration::from_secs(1)));
            }
            let mut headers = http::HeaderMap::new();
            standing.write_headers(&mut headers);
            assert_eq!(
                headers.contains_key("ratelimit"),
                !closes,
                "who cannot count says nothing"
            );
            tokio::time::advance(Duration::from_millis(60)).await;
        }
    }
    // Once for each of the two stores.
    assert_eq!(lines.count("redis unavailable"), 2);
}
