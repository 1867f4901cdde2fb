//! What a cache does wherever it keeps: written once, and run in one process, on two replicas over one Redis, and on two
//! over a cluster. What one of them was asked for is asked of the other, and must be answered as by one.
//!
//! Redis runs, and so does the clock; it jumps where time is to pass, in Redis as here.

use futures_util::future::join_all;

use super::gateway::{Gateway, On};
use super::*;
use crate::scope::{Region, Segment};
use crate::store::tests::cluster::Cluster;
use crate::store::tests::{Server, until_there};

fn unsaid() -> CachePolicy {
    CachePolicy::default_for(false)
}

fn near(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < s(5)
}

#[tokio::test]
async fn in_one_process() {
    all(&On::Process).await;
}

#[tokio::test]
async fn on_replicas_over_one_redis() {
    if let Some(server) = Server::start() {
        until_there(&server.store()).await;
        all(&On::Server(server)).await;
    }
}

#[tokio::test]
async fn on_replicas_over_a_cluster() {
    if let Some(cluster) = Cluster::start().await {
        until_there(&cluster.store()).await;
        all(&On::Cluster(cluster)).await;
    }
}

async fn all(on: &On) {
    a_copy_serves_until_it_is_no_longer_fresh_and_says_how_old_it_is(on).await;
    what_may_not_be_kept_or_varies_is_asked_for_each_time(on).await;
    a_304_freshens_the_copy(on).await;
    a_stale_copy_serves_at_once_while_one_call_renews_it(on).await;
    a_renewal_that_failed_is_why_a_copy_is_stale(on).await;
    a_copy_stands_in_for_a_mishap_within_its_bound_and_for_no_answer(on).await;
    what_is_gone_stands_in_for_nothing(on).await;
    that_there_is_nothing_is_kept_only_where_the_backend_says_so(on).await;
    scopes_do_not_mix(on).await;
    what_is_one_callers_is_kept_only_when_asked_to_and_for_them_alone(on).await;
    a_write_outdates_its_address_and_what_its_caller_read_at_that_backend(on).await;
    a_purge_kills_what_has_the_tag_and_spares_the_rest(on).await;
    a_thousand_who_want_the_same_are_one_call(on).await;
    everybody_hears_of_a_failure(on).await;
    a_leader_who_leaves_fails_nobody_and_the_last_one_cancels_the_call(on).await;
    nobody_shares_a_call_that_began_before_a_purge(on).await;
    a_renewal_that_began_before_a_purge_brings_nothing_back(on).await;
}

async fn a_copy_serves_until_it_is_no_longer_fresh_and_says_how_old_it_is(on: &On) {
    let gateway = on.gateway().await;
    let first = gateway.one().read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(
        (first.provenance.state, first.provenance.age),
        (Freshness::Fresh, None)
    );
    assert_eq!(first.provenance.cache_result, CacheResult::Miss);
    assert_eq!(first.provenance.fresh_for, s(60));
    gateway.pass(s(40)).await;
    for scene in gateway.all() {
        let found = scene.read(MINUTE, unsaid()).await.unwrap();
        let from = found.provenance;
        assert_eq!((*found.value, from.state), (1, Freshness::Cached));
        assert_eq!(from.cache_result, CacheResult::Hit);
        let age = from.age.unwrap();
        assert!(near(age, s(40)) && near(from.fresh_for, s(20)), "{from:?}");
        assert!(age + from.fresh_for <= s(60) + ms(1), "{from:?}");
        let again = scene.read(MINUTE, unsaid()).await.unwrap();
        assert!(
            Arc::ptr_eq(&found.value, &again.value),
            "it is not parsed again"
        );
    }
    gateway.pass(s(20)).await;
    let third = gateway.other().read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(
        (*third.value, third.provenance.state),
        (2, Freshness::Fresh)
    );
}

async fn what_may_not_be_kept_or_varies_is_asked_for_each_time(on: &On) {
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
        let gateway = on.gateway().await;
        for scene in [gateway.one(), gateway.other()] {
            scene.read(Script::says(head), unsaid()).await.unwrap();
            gateway.settled().await;
        }
        assert_eq!(gateway.calls(), calls, "{head:?}");
    }
}

async fn a_304_freshens_the_copy(on: &On) {
    let gateway = on.gateway().await;
    gateway.one().read(MINUTE, unsaid()).await.unwrap();
    gateway.pass(s(61)).await;
    let unchanged = Script {
        unchanged: true,
        ..Script::says(&[("cache-control", "max-age=10")])
    };
    let other = gateway.other();
    let same = other.read(unchanged.clone(), unsaid()).await.unwrap();
    assert_eq!((*same.value, same.provenance.state), (1, Freshness::Fresh));
    assert_eq!(same.provenance.fresh_for, s(10));
    gateway.settled().await;
    let found = gateway.one().read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(
        (*found.value, found.provenance.state),
        (1, Freshness::Cached)
    );
    assert_eq!(gateway.calls(), 2);
    // A 304 about another version is no answer, and the copy is worth nothing any more.
    gateway.pass(s(11)).await;
    let version = Script {
        says: Ok(&[("etag", "\"v2\"")]),
        ..unchanged
    };
    let failure = other.read(version.clone(), stale(0, 600)).await;
    assert_eq!(failure.unwrap_err().reason(), Reason::BadResponse);
    gateway.settled().await;
    let again = other.read(version, unsaid()).await.unwrap();
    assert_eq!(*again.value, 4);
}

async fn a_stale_copy_serves_at_once_while_one_call_renews_it(on: &On) {
    let gateway = on.gateway().await;
    let keep = || stale(30, 0);
    gateway.one().read(MINUTE, keep()).await.unwrap();
    gateway.pass(s(70)).await;
    for _ in 0..3 {
        let page = gateway.one().read(MINUTE, keep()).await.unwrap();
        let from = page.provenance;
        assert_eq!((*page.value, from.state), (1, Freshness::Stale));
        assert_eq!((from.cache_result, from.reason), (CacheResult::Stale, None));
        assert_eq!(from.fresh_for, Duration::ZERO);
    }
    gateway.settled().await;
    assert_eq!(gateway.calls(), 2, "three readers, one renewal");
    let page = gateway.other().read(MINUTE, keep()).await.unwrap();
    assert_eq!((*page.value, page.provenance.state), (2, Freshness::Cached));
    // Past the bound it is asked for first.
    gateway.pass(s(91)).await;
    let page = gateway.other().read(MINUTE, keep()).await.unwrap();
    assert_eq!((*page.value, page.provenance.state), (3, Freshness::Fresh));
}

async fn a_renewal_that_failed_is_why_a_copy_is_stale(on: &On) {
    let gateway = on.gateway().await;
    gateway.one().read(MINUTE, stale(30, 600)).await.unwrap();
    gateway.pass(s(70)).await;
    let broken = || (gateway.one()).read(Script::fails(Reason::Unavailable), stale(30, 600));
    assert_eq!(broken().await.unwrap().provenance.reason, None);
    gateway.settled().await;
    let page = broken().await.unwrap();
    assert_eq!(page.provenance.reason, Some(Reason::Unavailable));
    assert_eq!(page.provenance.state, Freshness::Stale);
}

async fn a_copy_stands_in_for_a_mishap_within_its_bound_and_for_no_answer(on: &On) {
    for (reason, stands_in) in [
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
        let gateway = on.gateway().await;
        gateway.one().read(MINUTE, stale(0, 600)).await.unwrap();
        gateway.pass(s(300)).await;
        let broken = |keep| gateway.other().read(Script::fails(reason), keep);
        match broken(stale(0, 600)).await {
            Ok(page) => {
                assert!(stands_in, "{reason:?}");
                assert_eq!((*page.value, page.provenance.state), (1, Freshness::Stale));
                assert_eq!(page.provenance.reason, Some(reason));
                assert!(
                    near(page.provenance.age.unwrap(), s(300)),
                    "{:?}",
                    page.provenance
                );
                assert_eq!(page.provenance.cache_result, CacheResult::StaleIfError);
            }
            Err(failure) => assert!(!stands_in && failure.reason() == reason, "{reason:?}"),
        }
        // The copy was kept under the bound it came with, whoever asks.
        assert_eq!(broken(unsaid()).await.is_ok(), stands_in);
        if stands_in {
            gateway.pass(s(400)).await;
            let late = broken(stale(0, 600)).await;
            assert!(late.is_err(), "{reason:?}: past the bound");
        }
    }
    for (status, covered) in [(410, false), (401, false), (500, true), (503, true)] {
        let gateway = on.gateway().await;
        gateway.one().read(MINUTE, stale(0, 600)).await.unwrap();
        gateway.pass(s(61)).await;
        let status = StatusCode::from_u16(status).unwrap();
        let failure = Failure::new(Reason::BadResponse).with_response(status, Bytes::new());
        let script = Script {
            says: Err(failure),
            ..MINUTE
        };
        let page = gateway.other().read(script, stale(0, 600)).await;
        assert_eq!(page.is_ok(), covered, "{status}");
    }
}

async fn what_is_gone_stands_in_for_nothing(on: &On) {
    let gateway = on.gateway().await;
    let says = |reason| gateway.other().read(Script::fails(reason), stale(0, 600));
    gateway.one().read(MINUTE, stale(0, 600)).await.unwrap();
    gateway.pass(s(61)).await;
    let gone = says(Reason::NotFound).await.unwrap_err();
    assert_eq!(gone.reason(), Reason::NotFound);
    gateway.settled().await;
    let down = says(Reason::Unavailable).await;
    assert_eq!(down.unwrap_err().reason(), Reason::Unavailable);
}

/// It is kept where it was asked: replicas do not tell each other of it.
async fn that_there_is_nothing_is_kept_only_where_the_backend_says_so(on: &On) {
    for (head, calls) in [
        ("", 2),
        ("public", 2),
        ("max-age=5", 1),
        ("max-age=5, no-store", 2),
    ] {
        let gateway = on.gateway().await;
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(head));
        let nothing = Failure::new(Reason::NotFound).with_response_headers(headers);
        let script = Script {
            says: Err(nothing),
            ..MINUTE
        };
        let mut keep = stale(60, 600);
        keep.ttl(s(300));
        for _ in 0..2 {
            let read = gateway.one().read(script.clone(), keep.clone()).await;
            assert_eq!(read.unwrap_err().reason(), Reason::NotFound);
        }
        assert_eq!(gateway.calls(), calls, "{head}");
        gateway.pass(s(6)).await;
        for scene in gateway.all() {
            assert!(scene.read(MINUTE, keep.clone()).await.is_ok(), "{head}");
        }
    }
}

async fn scopes_do_not_mix(on: &On) {
    let gateway = on.gateway().await;
    let segment = |language: &str| {
        let language = language.parse().unwrap();
        Segment::of(language, Region::NONE, None).by_language()
    };
    let mut own = CachePolicy::default_for(true);
    own.private_ttl(s(60));
    for scene in [gateway.one(), gateway.other()] {
        let cx = scene.cx(s(5));
        let all = scene.read_by(&cx, Public, MINUTE, unsaid()).await;
        let german = scene.read_by(&cx, segment("de"), MINUTE, unsaid()).await;
        let english = scene.read_by(&cx, segment("en"), MINUTE, unsaid()).await;
        let values = [
            *all.unwrap().value,
            *german.unwrap().value,
            *english.unwrap().value,
        ];
        assert_eq!(values, [1, 2, 3]);
        gateway.settled().await;
    }
    // Nobody's own answer is anybody else's, at any replica.
    let mut seen = Vec::new();
    for (account, profile) in [("ada", "a"), ("ada", "kids"), ("ben", "a")] {
        for scene in gateway.all() {
            let cx = scene.cx(s(5));
            let read = scene.read_by(&cx, caller(account, profile), MINUTE, own.clone());
            seen.push(*read.await.unwrap().value);
        }
    }
    let calls = gateway.calls();
    assert_eq!(seen, (4..=calls).collect::<Vec<_>>());
    assert_eq!(calls, 3 + 3 * *gateway.few().end());
}

async fn what_is_one_callers_is_kept_only_when_asked_to_and_for_them_alone(on: &On) {
    let gateway = on.gateway().await;
    let read = |keep: CachePolicy| {
        let cx = gateway.one().cx(s(5));
        (gateway.one()).read_by(&cx, caller("ada", "a"), MINUTE, keep)
    };
    for _ in 0..2 {
        let from = read(CachePolicy::default_for(true))
            .await
            .unwrap()
            .provenance;
        assert_eq!(
            (from.state, from.cache_result),
            (Freshness::Fresh, CacheResult::Bypass)
        );
    }
    assert_eq!(gateway.calls(), 2);
    let mut own = CachePolicy::default_for(true);
    own.private_ttl(s(5));
    read(own.clone()).await.unwrap();
    let kept = read(own).await.unwrap();
    assert_eq!((*kept.value, kept.provenance.state), (3, Freshness::Cached));
}

async fn a_write_outdates_its_address_and_what_its_caller_read_at_that_backend(on: &On) {
    let gateway = on.gateway().await;
    let mut own = CachePolicy::default_for(true);
    own.private_ttl(s(60));
    let other = gateway.other();
    let read = async |account: &str| {
        let ada = caller(account, "a");
        let read = other.read_by(&other.cx(s(5)), ada, MINUTE, own.clone());
        read.await.unwrap().provenance.state
    };
    let public = async || other.read(MINUTE, unsaid()).await.unwrap().provenance.state;
    let ada = caller("ada", "a").audience();
    let written = |upstream, target: &'static [u8]| {
        let ada = ada.clone();
        move |scene: &Scene| {
            let keep = CachePolicy::default_for(true);
            (scene.shared.cache).invalidate_after_write(
                (upstream, target),
                &ada,
                &keep,
                scene.now(),
            );
        }
    };
    gateway.one().read(MINUTE, unsaid()).await.unwrap();
    gateway.settled().await;
    public().await;
    read("ada").await;
    read("ben").await;
    gateway.tell(written("beta", b"/other")).await;
    assert_eq!(read("ada").await, Freshness::Cached);
    gateway.tell(written("alpha", b"/other")).await;
    assert_eq!(read("ada").await, Freshness::Fresh);
    assert_eq!(read("ben").await, Freshness::Cached);
    assert_eq!(public().await, Freshness::Cached);
    // The very address (RFC 9111 §4.4) is outdated for everybody.
    gateway.tell(written("alpha", b"/things/1?a=b")).await;
    assert_eq!(read("ben").await, Freshness::Fresh);
    assert_eq!(public().await, Freshness::Fresh);
    gateway.settled().await;
    // And the answer after the write is everybody's again.
    let found = gateway.one().read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(found.provenance.state, Freshness::Cached);
}

async fn a_purge_kills_what_has_the_tag_and_spares_the_rest(on: &On) {
    let tagged = Script::says(&[("cache-control", "max-age=60"), ("cache-tag", "one, two")]);
    for (body, killed) in [
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
        let gateway = on.gateway().await;
        let mut keep = stale(60, 600);
        keep.tag("own");
        let read = async |scene: &Scene| {
            let page = scene.read(tagged.clone(), keep.clone()).await.unwrap();
            gateway.settled().await;
            page.provenance.state
        };
        let purge = |scene: &Scene| {
            let purge: Purge = serde_json::from_str(body).unwrap();
            scene.shared.cache.purge(&purge, scene.now());
        };
        let (one, other) = (gateway.one(), gateway.other());
        let states = (read(one).await, read(other).await);
        assert_eq!(states, (Freshness::Fresh, Freshness::Cached));
        gateway.tell(purge).await;
        let state = if killed {
            Freshness::Fresh
        } else {
            Freshness::Cached
        };
        assert_eq!(read(other).await, state, "{body}");
        assert_eq!(read(one).await, Freshness::Cached, "{body}");
        assert_eq!(gateway.calls(), 1 + u32::from(killed), "{body}");
        // Nor does a dead copy stand in for anything.
        gateway.tell(purge).await;
        gateway.pass(s(61)).await;
        let broken = other.read(Script::fails(Reason::Timeout), keep.clone());
        assert_eq!(broken.await.is_err(), killed, "{body}");
    }
}

/// It takes long, and is kept.
const SLOW: Script = Script {
    takes: ms(300),
    ..MINUTE
};

async fn a_thousand_who_want_the_same_are_one_call(on: &On) {
    let gateway = on.gateway().await;
    let scenes = gateway.all().cycle();
    let herd = scenes.take(1000).map(|scene| {
        let cx = scene.cx(s(30));
        scene.read_by(&cx, Public, SLOW, unsaid())
    });
    let pages: Vec<_> = join_all(herd)
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
    assert_eq!(missed.count(), 1, "who called");
    assert!(pages.iter().filter(shared).count() >= 499);
    for scene in gateway.all() {
        assert_eq!(scene.shared.cache.0.flights.len(), 0);
    }
}

/// A replica does not tell the others of a failure: each tries once.
async fn everybody_hears_of_a_failure(on: &On) {
    let gateway = on.gateway().await;
    let herd = (gateway.all().cycle().take(10))
        .map(|scene| scene.read(Script::fails(Reason::Timeout), unsaid()));
    for page in join_all(herd).await {
        let failure = page.unwrap_err();
        let told = (failure.reason(), failure.source());
        assert_eq!(told, (Reason::Timeout, "alpha"));
    }
    assert!(gateway.few().contains(&gateway.calls()));
}

async fn a_leader_who_leaves_fails_nobody_and_the_last_one_cancels_the_call(on: &On) {
    let waiting = async |gateway: &Gateway| {
        let mut all = Vec::new();
        for scene in [gateway.one(), gateway.other()] {
            let read = scene.read_by(&scene.cx(s(5)), Public, SLOW, unsaid());
            let mut read = Box::pin(read);
            assert!(timeout(ms(50), &mut read).await.is_err());
            all.push(read);
        }
        assert_eq!(gateway.calls(), 1);
        (all.remove(0), all.remove(0))
    };
    let gateway = on.gateway().await;
    let (leader, follower) = waiting(&gateway).await;
    drop(leader);
    assert!(follower.await.is_ok());
    // In one process the call goes on; another replica makes its own.
    assert_eq!(gateway.calls(), *gateway.few().end());

    let gateway = on.gateway().await;
    let (leader, follower) = waiting(&gateway).await;
    drop(follower);
    drop(leader);
    assert_eq!(gateway.one().ended.load(Relaxed), 1);
    for scene in gateway.all() {
        assert_eq!(scene.shared.cache.0.flights.len(), 0);
    }
    // And nobody waits for what was cancelled.
    gateway.settled().await;
    let began = Instant::now();
    gateway.other().read(MINUTE, unsaid()).await.unwrap();
    assert!(began.elapsed() < s(5), "{:?}", began.elapsed());
}

fn purge_all(scene: &Scene) {
    let purge = Purge {
        upstreams: vec!["alpha".into()],
        ..Purge::default()
    };
    scene.shared.cache.purge(&purge, scene.now());
}

async fn nobody_shares_a_call_that_began_before_a_purge(on: &On) {
    let gateway = on.gateway().await;
    let mut before = Box::pin(gateway.one().read(SLOW, unsaid()));
    assert!(timeout(ms(50), &mut before).await.is_err());
    gateway.tell(purge_all).await;
    let after = gateway.other().read(SLOW, unsaid());
    let (before, after) = tokio::join!(before, after);
    assert_eq!((*before.unwrap().value, *after.unwrap().value), (1, 2));
}

/// A stale copy is served while it is asked for anew; then it is purged, and only then the answer comes.
async fn a_renewal_that_began_before_a_purge_brings_nothing_back(on: &On) {
    let gateway = on.gateway().await;
    let keep = || stale(30, 600);
    gateway.one().read(MINUTE, keep()).await.unwrap();
    gateway.pass(s(70)).await;
    let page = gateway.one().read(SLOW, keep()).await.unwrap();
    assert_eq!((*page.value, page.provenance.state), (1, Freshness::Stale));
    while gateway.calls() < 2 {
        sleep(ms(1)).await;
    }
    gateway.tell(purge_all).await;
    let page = gateway.other().read(MINUTE, keep()).await.unwrap();
    assert_eq!((*page.value, page.provenance.state), (3, Freshness::Fresh));
    gateway.settled().await;
    for scene in gateway.all() {
        let page = scene.read(MINUTE, keep()).await.unwrap();
        assert_eq!((*page.value, page.provenance.state), (3, Freshness::Cached));
    }
    assert_eq!(gateway.calls(), 3);
}
