//! The behaviour of a cache in every setup: in one process, on two replicas over one Redis, and on two over a cluster.
//! Each test is written once. Reads at two replicas must behave like reads at one.
//!
//! Redis is real, and so is the clock. `advance_time` moves both forward.

use futures_util::future::join_all;

use super::gateway::{Gateway, Setup};
use super::*;
use bff_context::scope::Region;
use bff_store::testing::{store_at, wait_until_available};
use test_servers::{RedisCluster, RedisServer};

fn default_policy() -> CachePolicy {
    CachePolicy::default_for(false)
}

fn is_near(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < s(5)
}

#[tokio::test]
async fn in_one_process() {
    all(&Setup::Process).await;
}

#[tokio::test]
async fn on_replicas_over_one_redis() {
    if let Some(server) = RedisServer::start() {
        wait_until_available(&store_at(server.url())).await;
        all(&Setup::Server(server)).await;
    }
}

#[tokio::test]
async fn on_replicas_over_a_cluster() {
    if let Some(cluster) = RedisCluster::start().await {
        wait_until_available(&store_at(cluster.url())).await;
        all(&Setup::Cluster(cluster)).await;
    }
}

async fn all(setup: &Setup) {
    a_fresh_entry_is_served_with_its_age(setup).await;
    an_uncacheable_response_is_fetched_each_time(setup).await;
    a_304_refreshes_the_entry(setup).await;
    a_stale_entry_is_served_while_one_call_revalidates(setup).await;
    a_failed_revalidation_is_the_reason_of_a_stale_entry(setup).await;
    a_stale_entry_is_served_on_error_within_its_bound(setup).await;
    a_deleted_resource_is_not_served_on_error(setup).await;
    a_404_is_stored_only_with_a_lifetime(setup).await;
    scopes_do_not_share_entries(setup).await;
    a_callers_response_is_stored_only_with_private_ttl(setup).await;
    a_write_invalidates_its_address_and_its_callers_entries(setup).await;
    a_purge_invalidates_only_entries_with_its_tag(setup).await;
    a_thousand_equal_reads_are_one_call(setup).await;
    every_waiter_gets_the_failure(setup).await;
    a_leader_that_leaves_fails_no_waiter_and_the_last_one_cancels(setup).await;
    no_reader_joins_a_call_from_before_a_purge(setup).await;
    a_revalidation_from_before_a_purge_stores_nothing(setup).await;
}

/// A new gateway whose first replica has read an entry that is fresh for a minute.
async fn gateway_with_entry(setup: &Setup, policy: CachePolicy) -> Gateway {
    let gateway = setup.gateway().await;
    let read = gateway.one().read(FRESH_FOR_A_MINUTE, policy);
    read.await.unwrap();
    gateway
}

async fn a_fresh_entry_is_served_with_its_age(setup: &Setup) {
    let gateway = setup.gateway().await;
    let first = gateway
        .one()
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(
        (first.provenance.state, first.provenance.age),
        (Freshness::Fresh, None)
    );
    assert_eq!(first.provenance.cache_result, CacheResult::Miss);
    assert_eq!(first.provenance.fresh_for, s(60));
    gateway.advance_time(s(40)).await;
    for scene in gateway.all() {
        let found = scene
            .read(FRESH_FOR_A_MINUTE, default_policy())
            .await
            .unwrap();
        let provenance = found.provenance;
        assert_eq!((*found.value, provenance.state), (1, Freshness::Cached));
        assert_eq!(provenance.cache_result, CacheResult::Hit);
        let age = provenance.age.unwrap();
        assert!(
            is_near(age, s(40)) && is_near(provenance.fresh_for, s(20)),
            "{provenance:?}"
        );
        assert!(
            age + provenance.fresh_for <= s(60) + ms(1),
            "{provenance:?}"
        );
        let again = scene
            .read(FRESH_FOR_A_MINUTE, default_policy())
            .await
            .unwrap();
        assert!(
            Arc::ptr_eq(&found.value, &again.value),
            "the value is not decoded again"
        );
    }
    gateway.advance_time(s(20)).await;
    let third = gateway
        .other()
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(
        (*third.value, third.provenance.state),
        (2, Freshness::Fresh)
    );
}

async fn an_uncacheable_response_is_fetched_each_time(setup: &Setup) {
    for (head, calls) in [
        (&[("cache-control", "max-age=60")][..], 1),
        (
            &[("cache-control", "max-age=60"), ("vary", "accept-encoding")],
            1,
        ),
        (
            &[("cache-control", "max-age=60"), ("vary", "x-request-id")],
            2,
        ),
        (&[("cache-control", "max-age=60"), ("vary", "*")], 2),
        (&[("cache-control", "max-age=60, no-store")], 2),
        (&[("cache-control", "max-age=60, private")], 2),
        (&[("cache-control", "max-age=0")], 2),
        (&[], 2),
    ] {
        let gateway = setup.gateway().await;
        for scene in [gateway.one(), gateway.other()] {
            scene
                .read(BackendScript::responds(head), default_policy())
                .await
                .unwrap();
            gateway.wait_for_tasks().await;
        }
        assert_eq!(gateway.calls(), calls, "{head:?}");
    }
}

async fn a_304_refreshes_the_entry(setup: &Setup) {
    let gateway = gateway_with_entry(setup, default_policy()).await;
    gateway.advance_time(s(61)).await;
    let unchanged = BackendScript {
        unchanged: true,
        ..BackendScript::responds(&[("cache-control", "max-age=10")])
    };
    let other = gateway.other();
    let same = other
        .read(unchanged.clone(), default_policy())
        .await
        .unwrap();
    assert_eq!((*same.value, same.provenance.state), (1, Freshness::Fresh));
    assert_eq!(same.provenance.fresh_for, s(10));
    gateway.wait_for_tasks().await;
    let found = gateway
        .one()
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(
        (*found.value, found.provenance.state),
        (1, Freshness::Cached)
    );
    assert_eq!(gateway.calls(), 2);
    // A 304 about another version is a failure, and evicts the entry.
    gateway.advance_time(s(11)).await;
    let other_version = BackendScript {
        responds: Ok(&[("etag", "\"v2\"")]),
        ..unchanged
    };
    let failure = other.read(other_version.clone(), stale(0, 600)).await;
    assert_eq!(failure.unwrap_err().reason(), Reason::BadResponse);
    gateway.wait_for_tasks().await;
    let again = other.read(other_version, default_policy()).await.unwrap();
    assert_eq!(*again.value, 4);
}

async fn a_stale_entry_is_served_while_one_call_revalidates(setup: &Setup) {
    let policy = || stale(30, 0);
    let gateway = gateway_with_entry(setup, policy()).await;
    gateway.advance_time(s(70)).await;
    for _ in 0..3 {
        let page = gateway
            .one()
            .read(FRESH_FOR_A_MINUTE, policy())
            .await
            .unwrap();
        let provenance = page.provenance;
        assert_eq!((*page.value, provenance.state), (1, Freshness::Stale));
        assert_eq!(
            (provenance.cache_result, provenance.reason),
            (CacheResult::Stale, None)
        );
        assert_eq!(provenance.fresh_for, Duration::ZERO);
    }
    gateway.wait_for_tasks().await;
    assert_eq!(gateway.calls(), 2, "three readers, one revalidation");
    let page = gateway
        .other()
        .read(FRESH_FOR_A_MINUTE, policy())
        .await
        .unwrap();
    assert_eq!((*page.value, page.provenance.state), (2, Freshness::Cached));
    // Past the bound, the backend is called first.
    gateway.advance_time(s(91)).await;
    let page = gateway
        .other()
        .read(FRESH_FOR_A_MINUTE, policy())
        .await
        .unwrap();
    assert_eq!((*page.value, page.provenance.state), (3, Freshness::Fresh));
}

async fn a_failed_revalidation_is_the_reason_of_a_stale_entry(setup: &Setup) {
    let gateway = gateway_with_entry(setup, stale(30, 600)).await;
    gateway.advance_time(s(70)).await;
    let broken = || {
        (gateway.one()).read(
            BackendScript::fails_with(Reason::Unavailable),
            stale(30, 600),
        )
    };
    assert_eq!(broken().await.unwrap().provenance.reason, None);
    gateway.wait_for_tasks().await;
    let page = broken().await.unwrap();
    assert_eq!(page.provenance.reason, Some(Reason::Unavailable));
    assert_eq!(page.provenance.state, Freshness::Stale);
}

async fn a_stale_entry_is_served_on_error_within_its_bound(setup: &Setup) {
    for (reason, served) in [
        (Reason::Timeout, true),
        (Reason::Deadline, true),
        (Reason::CircuitOpen, true),
        (Reason::Overloaded, true),
        (Reason::Unavailable, true),
        (Reason::NoInstance, true),
        (Reason::BadResponse, true),
        (Reason::NotFound, false),
        (Reason::Forbidden, false),
        (Reason::SwitchedOff, false),
    ] {
        let gateway = gateway_with_entry(setup, stale(0, 600)).await;
        gateway.advance_time(s(300)).await;
        let broken = |policy| {
            gateway
                .other()
                .read(BackendScript::fails_with(reason), policy)
        };
        match broken(stale(0, 600)).await {
            Ok(page) => {
                assert!(served, "{reason:?}");
                assert_eq!((*page.value, page.provenance.state), (1, Freshness::Stale));
                assert_eq!(page.provenance.reason, Some(reason));
                assert!(
                    is_near(page.provenance.age.unwrap(), s(300)),
                    "{:?}",
                    page.provenance
                );
                assert_eq!(page.provenance.cache_result, CacheResult::StaleIfError);
            }
            Err(failure) => assert!(!served && failure.reason() == reason, "{reason:?}"),
        }
        // The bound was stored with the entry; the bound of a later reader does not matter.
        assert_eq!(broken(default_policy()).await.is_ok(), served);
        if served {
            gateway.advance_time(s(400)).await;
            let late = broken(stale(0, 600)).await;
            assert!(late.is_err(), "{reason:?}: past the bound");
        }
    }
    for (status, served) in [(410, false), (401, false), (500, true), (503, true)] {
        let gateway = gateway_with_entry(setup, stale(0, 600)).await;
        gateway.advance_time(s(61)).await;
        let status = StatusCode::from_u16(status).unwrap();
        let failure = Failure::new(Reason::BadResponse).with_response(status, Bytes::new());
        let script = BackendScript {
            responds: Err(failure),
            ..FRESH_FOR_A_MINUTE
        };
        let page = gateway.other().read(script, stale(0, 600)).await;
        assert_eq!(page.is_ok(), served, "{status}");
    }
}

async fn a_deleted_resource_is_not_served_on_error(setup: &Setup) {
    let gateway = setup.gateway().await;
    let read_failing_with = |reason| {
        gateway
            .other()
            .read(BackendScript::fails_with(reason), stale(0, 600))
    };
    gateway
        .one()
        .read(FRESH_FOR_A_MINUTE, stale(0, 600))
        .await
        .unwrap();
    gateway.advance_time(s(61)).await;
    let gone = read_failing_with(Reason::NotFound).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::NotFound);
    gateway.wait_for_tasks().await;
    let down = read_failing_with(Reason::Unavailable).await;
    assert_eq!(down.unwrap_err().reason(), Reason::Unavailable);
}

/// Negative entries are not shared between replicas.
async fn a_404_is_stored_only_with_a_lifetime(setup: &Setup) {
    for (head, calls) in [
        ("", 2),
        ("public", 2),
        ("max-age=5", 1),
        ("max-age=5, no-store", 2),
    ] {
        let gateway = setup.gateway().await;
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(head));
        let not_found = Failure::new(Reason::NotFound).with_response_headers(headers);
        let script = BackendScript {
            responds: Err(not_found),
            ..FRESH_FOR_A_MINUTE
        };
        let mut policy = stale(60, 600);
        policy.ttl(s(300));
        for _ in 0..2 {
            let read = gateway.one().read(script.clone(), policy.clone()).await;
            assert_eq!(read.unwrap_err().reason(), Reason::NotFound);
        }
        assert_eq!(gateway.calls(), calls, "{head}");
        gateway.advance_time(s(6)).await;
        for scene in gateway.all() {
            assert!(
                scene.read(FRESH_FOR_A_MINUTE, policy.clone()).await.is_ok(),
                "{head}"
            );
        }
    }
}

async fn scopes_do_not_share_entries(setup: &Setup) {
    let gateway = setup.gateway().await;
    let segment = |language: &str| {
        let language = language.parse().unwrap();
        bff_context::trusted::segment(language, Region::NONE, None).by_language()
    };
    let mut private_policy = CachePolicy::default_for(true);
    private_policy.private_ttl(s(60));
    for scene in [gateway.one(), gateway.other()] {
        let cx = scene.cx(s(5));
        let all = scene
            .read_by(&cx, Public, FRESH_FOR_A_MINUTE, default_policy())
            .await;
        let german = scene
            .read_by(&cx, segment("de"), FRESH_FOR_A_MINUTE, default_policy())
            .await;
        let english = scene
            .read_by(&cx, segment("en"), FRESH_FOR_A_MINUTE, default_policy())
            .await;
        let values = [
            *all.unwrap().value,
            *german.unwrap().value,
            *english.unwrap().value,
        ];
        assert_eq!(values, [1, 2, 3]);
        gateway.wait_for_tasks().await;
    }
    // A caller's response is not shared with any other caller or replica.
    let mut values = Vec::new();
    for (account, profile) in [("ada", "a"), ("ada", "kids"), ("ben", "a")] {
        for scene in gateway.all() {
            let cx = scene.cx(s(5));
            let read = scene.read_by(
                &cx,
                caller(account, profile),
                FRESH_FOR_A_MINUTE,
                private_policy.clone(),
            );
            values.push(*read.await.unwrap().value);
        }
    }
    let calls = gateway.calls();
    assert_eq!(values, (4..=calls).collect::<Vec<_>>());
    assert_eq!(calls, 3 + 3 * *gateway.one_call_per_replica().end());
}

async fn a_callers_response_is_stored_only_with_private_ttl(setup: &Setup) {
    let gateway = setup.gateway().await;
    let read = |policy: CachePolicy| {
        let cx = gateway.one().cx(s(5));
        (gateway.one()).read_by(&cx, caller("ada", "a"), FRESH_FOR_A_MINUTE, policy)
    };
    for _ in 0..2 {
        let provenance = read(CachePolicy::default_for(true))
            .await
            .unwrap()
            .provenance;
        assert_eq!(
            (provenance.state, provenance.cache_result),
            (Freshness::Fresh, CacheResult::Bypass)
        );
    }
    assert_eq!(gateway.calls(), 2);
    let mut private_policy = CachePolicy::default_for(true);
    private_policy.private_ttl(s(5));
    read(private_policy.clone()).await.unwrap();
    let cached = read(private_policy).await.unwrap();
    assert_eq!(
        (*cached.value, cached.provenance.state),
        (3, Freshness::Cached)
    );
}

async fn a_write_invalidates_its_address_and_its_callers_entries(setup: &Setup) {
    let gateway = setup.gateway().await;
    let mut private_policy = CachePolicy::default_for(true);
    private_policy.private_ttl(s(60));
    let other = gateway.other();
    let read = async |account: &str| {
        let ada = caller(account, "a");
        let read = other.read_by(
            &other.cx(s(5)),
            ada,
            FRESH_FOR_A_MINUTE,
            private_policy.clone(),
        );
        read.await.unwrap().provenance.state
    };
    let public = async || {
        other
            .read(FRESH_FOR_A_MINUTE, default_policy())
            .await
            .unwrap()
            .provenance
            .state
    };
    let ada = bff_context::trusted::audience(&caller("ada", "a"));
    let write_to = |upstream, target: &'static [u8]| {
        let ada = ada.clone();
        move |scene: &Scene| {
            let policy = CachePolicy::default_for(true);
            (scene.shared.cache).invalidate_after_write(
                (upstream, target),
                &ada,
                &policy,
                scene.now(),
            );
        }
    };
    gateway
        .one()
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    gateway.wait_for_tasks().await;
    public().await;
    read("ada").await;
    read("ben").await;
    gateway
        .invalidate_everywhere(write_to("beta", b"/other"))
        .await;
    assert_eq!(read("ada").await, Freshness::Cached);
    gateway
        .invalidate_everywhere(write_to("alpha", b"/other"))
        .await;
    assert_eq!(read("ada").await, Freshness::Fresh);
    assert_eq!(read("ben").await, Freshness::Cached);
    assert_eq!(public().await, Freshness::Cached);
    // The exact address (RFC 9111 §4.4) is invalidated for every audience.
    gateway
        .invalidate_everywhere(write_to("alpha", b"/things/1?a=b"))
        .await;
    assert_eq!(read("ben").await, Freshness::Fresh);
    assert_eq!(public().await, Freshness::Fresh);
    gateway.wait_for_tasks().await;
    // The response after the write is shared again.
    let found = gateway
        .one()
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(found.provenance.state, Freshness::Cached);
}

async fn a_purge_invalidates_only_entries_with_its_tag(setup: &Setup) {
    let tagged =
        BackendScript::responds(&[("cache-control", "max-age=60"), ("cache-tag", "one, two")]);
    for (body, invalidated) in [
        (r#"{"tags": ["two"]}"#, true),
        (r#"{"tags": ["own"]}"#, true),
        (r#"{"tags": ["three"]}"#, false),
        (r#"{"upstreams": ["alpha"]}"#, true),
        (r#"{"upstreams": ["beta"]}"#, false),
        (
            r#"{"keys": [{"upstream": "alpha", "path": "/things/1"}]}"#,
            true,
        ),
        (
            r#"{"keys": [{"upstream": "alpha", "path": "/things/1?a=b"}]}"#,
            true,
        ),
        (
            r#"{"keys": [{"upstream": "alpha", "path": "/things/1?a=c"}]}"#,
            false,
        ),
    ] {
        let gateway = setup.gateway().await;
        let mut policy = stale(60, 600);
        policy.tag("own");
        let read = async |scene: &Scene| {
            let page = scene.read(tagged.clone(), policy.clone()).await.unwrap();
            gateway.wait_for_tasks().await;
            page.provenance.state
        };
        let purge = |scene: &Scene| {
            let purge: Purge = serde_json::from_str(body).unwrap();
            scene.shared.cache.purge(&purge, scene.now());
        };
        let (one, other) = (gateway.one(), gateway.other());
        let states = (read(one).await, read(other).await);
        assert_eq!(states, (Freshness::Fresh, Freshness::Cached));
        gateway.invalidate_everywhere(purge).await;
        let state = if invalidated {
            Freshness::Fresh
        } else {
            Freshness::Cached
        };
        assert_eq!(read(other).await, state, "{body}");
        assert_eq!(read(one).await, Freshness::Cached, "{body}");
        assert_eq!(gateway.calls(), 1 + u32::from(invalidated), "{body}");
        // An invalidated entry is not served on error either.
        gateway.invalidate_everywhere(purge).await;
        gateway.advance_time(s(61)).await;
        let broken = other.read(BackendScript::fails_with(Reason::Timeout), policy.clone());
        assert_eq!(broken.await.is_err(), invalidated, "{body}");
    }
}

type ReadResult = Result<Fetched<u32, Public>, Failure>;

/// A slow response that is stored.
const SLOW: BackendScript = BackendScript {
    delay: ms(600),
    ..FRESH_FOR_A_MINUTE
};

async fn a_thousand_equal_reads_are_one_call(setup: &Setup) {
    let gateway = setup.gateway().await;
    let scenes = gateway.all().cycle();
    let reads = scenes.take(1000).map(|scene| {
        let cx = scene.cx(s(30));
        scene.read_by(&cx, Public, SLOW, default_policy())
    });
    let pages: Vec<_> = join_all(reads)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(pages.iter().all(|page| *page.value == 1));
    assert_eq!(gateway.calls(), 1);
    let shared =
        |page: &&Fetched<u32, Public>| page.provenance.cache_result == CacheResult::Coalesced;
    let missed = pages
        .iter()
        .filter(|page| page.provenance.cache_result == CacheResult::Miss);
    assert_eq!(missed.count(), 1, "one reader made the call");
    assert!(pages.iter().filter(shared).count() >= 499);
    for scene in gateway.all() {
        assert_eq!(scene.shared.cache.0.flights.len(), 0);
    }
}

/// Failures are not shared between replicas: each tries once.
async fn every_waiter_gets_the_failure(setup: &Setup) {
    let gateway = setup.gateway().await;
    let reads = (gateway.all().cycle().take(10))
        .map(|scene| scene.read(BackendScript::fails_with(Reason::Timeout), default_policy()));
    for page in join_all(reads).await {
        let failure = page.unwrap_err();
        let result = (failure.reason(), failure.source());
        assert_eq!(result, (Reason::Timeout, "alpha"));
    }
    assert!(gateway.one_call_per_replica().contains(&gateway.calls()));
}

/// Two reads that wait for one call: the leader, and a follower at the other replica.
async fn waiting_readers(gateway: &Gateway) -> [impl Future<Output = ReadResult> + use<>; 2] {
    let [mut leader, mut follower] = [gateway.one(), gateway.other()].map(|scene| {
        let cx = scene.cx(LIMIT);
        Box::pin(scene.read_by(&cx, Public, SLOW, default_policy()))
    });
    poll_until(&mut leader, || gateway.calls() == 1).await;
    // Long enough to join.
    assert!(timeout(ms(50), &mut follower).await.is_err());
    assert_eq!(gateway.calls(), 1);
    [leader, follower]
}

async fn a_leader_that_leaves_fails_no_waiter_and_the_last_one_cancels(setup: &Setup) {
    let gateway = setup.gateway().await;
    let [leader, follower] = waiting_readers(&gateway).await;
    drop(leader);
    assert!(follower.await.is_ok());
    // In one process the call continues. Another replica makes its own.
    assert_eq!(gateway.calls(), *gateway.one_call_per_replica().end());

    let gateway = setup.gateway().await;
    let [leader, follower] = waiting_readers(&gateway).await;
    drop(follower);
    drop(leader);
    assert_eq!(gateway.one().ended_calls.load(Relaxed), 1);
    for scene in gateway.all() {
        assert_eq!(scene.shared.cache.0.flights.len(), 0);
    }
    // No reader waits for a cancelled call.
    gateway.wait_for_tasks().await;
    let read = gateway.other().read(FRESH_FOR_A_MINUTE, default_policy());
    assert!(read.await.is_ok(), "it must not reach its deadline");
}

fn purge_all(scene: &Scene) {
    let purge = Purge {
        upstreams: vec!["alpha".into()],
        ..Purge::default()
    };
    scene.shared.cache.purge(&purge, scene.now());
}

async fn no_reader_joins_a_call_from_before_a_purge(setup: &Setup) {
    let gateway = setup.gateway().await;
    let mut before = Box::pin(gateway.one().read(SLOW, default_policy()));
    poll_until(&mut before, || gateway.calls() == 1).await;
    gateway.invalidate_everywhere(purge_all).await;
    let after = gateway.other().read(SLOW, default_policy());
    let (before, after) = tokio::join!(before, after);
    assert_eq!((*before.unwrap().value, *after.unwrap().value), (1, 2));
}

/// A stale entry is served during a revalidation; it is purged before the revalidation ends.
async fn a_revalidation_from_before_a_purge_stores_nothing(setup: &Setup) {
    let policy = || stale(30, 600);
    let gateway = gateway_with_entry(setup, policy()).await;
    gateway.advance_time(s(70)).await;
    let page = gateway.one().read(SLOW, policy()).await.unwrap();
    assert_eq!((*page.value, page.provenance.state), (1, Freshness::Stale));
    while gateway.calls() < 2 {
        sleep(ms(1)).await;
    }
    gateway.invalidate_everywhere(purge_all).await;
    let page = gateway
        .other()
        .read(FRESH_FOR_A_MINUTE, policy())
        .await
        .unwrap();
    assert_eq!((*page.value, page.provenance.state), (3, Freshness::Fresh));
    gateway.wait_for_tasks().await;
    for scene in gateway.all() {
        let page = scene.read(FRESH_FOR_A_MINUTE, policy()).await.unwrap();
        assert_eq!((*page.value, page.provenance.state), (3, Freshness::Cached));
    }
    assert_eq!(gateway.calls(), 3);
}
