//! Copies and flights on a paused clock, against a backend that is a function.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;
use crate::context::{Cx, Shared};
use crate::net::Net;
use crate::outbound::{Failure, Fetched, Reason, State};
use crate::scope::{Caller, Identity, Public, Sharing};
use crate::telemetry::Metrics;

mod flights;
mod race;
mod replicas;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a backend does when it is called.
#[derive(Clone)]
struct Script {
    takes: Duration,
    says: Result<&'static [(&'static str, &'static str)], Failure>,
    /// It answers 304 to whoever holds a copy.
    unchanged: bool,
}

impl Script {
    fn says(head: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            takes: ms(10),
            says: Ok(head),
            unchanged: false,
        }
    }

    fn fails(reason: Reason) -> Self {
        Self {
            says: Err(Failure::new(reason)),
            ..Self::says(&[])
        }
    }
}

/// A gateway's cache, and how often the backend was called.
struct Scene {
    shared: Arc<Shared>,
    calls: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
}

/// Counts the end of a call, be it that it is dropped.
struct Ended(Arc<AtomicU32>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Scene {
    fn new(config: &Config) -> Self {
        let world = World::seeded(7, Net::Tcp);
        let cache = Cache::new(config, &world);
        Self::with(world, cache)
    }

    fn with(world: World, cache: Cache) -> Self {
        let shared = Arc::new(Shared {
            client: HeaderValue::from_static("test"),
            tasks: TaskTracker::new(),
            leaving: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::unread(),
            cache,
            fields: crate::section::fields::Known::default(),
            world,
        });
        Self {
            shared,
            calls: Arc::default(),
            ended: Arc::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    fn now(&self) -> u64 {
        self.shared.world.unix_millis()
    }

    fn cx(&self, time: Duration) -> Cx {
        Cx::background(&self.shared, time)
    }

    async fn read(&self, script: Script, keep: Keep) -> Result<Fetched<u32, Public>, Failure> {
        self.read_by(&self.cx(s(5)), Public, script, keep).await
    }

    /// A read whose value is the number of the call that brought it.
    fn read_by<S: Scope>(
        &self,
        cx: &Cx,
        scope: S,
        script: Script,
        keep: Keep,
    ) -> impl Future<Output = Result<Fetched<u32, S>, Failure>> + Send + use<S> {
        let (calls, ended, cx) = (self.calls.clone(), self.ended.clone(), cx.clone());
        let ask = Ask {
            read: Read {
                key: (self.shared.cache).key::<u32>("alpha", Method::GET, "/things/1?a=b", &scope),
                route: "/things/{id}",
                sharing: Sharing::default(),
            },
            keep,
            renew_within: s(1),
            recall: Some(recall),
        };
        let fetch = move |fetch: Fetch| async move {
            let number = calls.fetch_add(1, Relaxed) + 1;
            let _ended = Ended(ended);
            let slow = async {
                sleep(script.takes).await;
                Ok(())
            };
            // As every attempt is.
            fetch.until.cut(Instant::now() + s(9999), slow).await?;
            let mut condition = HeaderMap::new();
            let copy = fetch.condition(&mut condition);
            let mut head = HeaderMap::new();
            for (name, value) in script.says? {
                head.append(*name, HeaderValue::from_static(value));
            }
            if copy && script.unchanged {
                assert_eq!(condition[header::IF_NONE_MATCH], "\"v1\"");
                return Ok(Got::Same(head, script.takes));
            }
            Ok(Got::Whole(Whole {
                value: number,
                status: StatusCode::OK,
                head,
                bytes: 100,
                body: Bytes::from(number.to_string()),
                took: Duration::ZERO,
            }))
        };
        async move { answer(&cx, ask, fetch).await }
    }
}

fn recall(body: &[u8]) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
    let number: u32 = std::str::from_utf8(body).ok()?.parse().ok()?;
    Some(Arc::new(number))
}

fn caller(account: &str, profile: &str) -> Caller {
    Caller::new(Identity {
        account: account.into(),
        profile: Some(profile.into()),
        ..Identity::default()
    })
    .unwrap()
}

fn stale(while_revalidate: u64, if_error: u64) -> Keep {
    let mut keep = Keep::unsaid(false);
    keep.stale_while_revalidate(s(while_revalidate));
    keep.stale_if_error(s(if_error));
    keep
}

const MINUTE: Script = Script {
    takes: ms(10),
    says: Ok(&[("cache-control", "max-age=60"), ("etag", "\"v1\"")]),
    unchanged: false,
};

#[tokio::test(start_paused = true)]
async fn a_copy_serves_until_it_is_no_longer_fresh_and_says_how_old_it_is() {
    let scene = Scene::new(&Config::default());
    let first = scene.read(MINUTE, Keep::unsaid(false)).await.unwrap();
    assert_eq!((first.from.state, first.from.age), (State::Fresh, None));
    assert_eq!(
        (first.from.lookup, first.from.fresh_for),
        (Lookup::Miss, s(60))
    );
    sleep(s(40)).await;
    let began = Instant::now();
    let second = scene.read(MINUTE, Keep::unsaid(false)).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(
        (second.from.state, second.from.age),
        (State::Cached, Some(s(40)))
    );
    assert_eq!(
        (second.from.lookup, second.from.fresh_for),
        (Lookup::Hit, s(20))
    );
    assert!(
        Arc::ptr_eq(&first.value, &second.value),
        "it is not parsed again"
    );
    sleep(s(20)).await;
    let third = scene.read(MINUTE, Keep::unsaid(false)).await.unwrap();
    assert_eq!((*third.value, third.from.state), (2, State::Fresh));
}

#[tokio::test(start_paused = true)]
async fn a_304_freshens_the_copy_and_parses_nothing() {
    let scene = Scene::new(&Config::default());
    let first = scene.read(MINUTE, Keep::unsaid(false)).await.unwrap();
    sleep(s(61)).await;
    let unchanged = Script {
        unchanged: true,
        ..Script::says(&[("cache-control", "max-age=10")])
    };
    let second = scene
        .read(unchanged.clone(), Keep::unsaid(false))
        .await
        .unwrap();
    assert!(Arc::ptr_eq(&first.value, &second.value));
    assert_eq!(
        (second.from.state, second.from.fresh_for),
        (State::Fresh, s(10))
    );
    assert_eq!(scene.calls(), 2);
    // A 304 about another version is no answer, and the copy is worth nothing any more.
    sleep(s(11)).await;
    let other = Script {
        says: Ok(&[("etag", "\"v2\"")]),
        ..unchanged
    };
    let failure = scene.read(other.clone(), stale(0, 600)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::BadResponse);
    let again = scene.read(other, Keep::unsaid(false)).await.unwrap();
    assert_eq!(*again.value, 4);
}

#[tokio::test(start_paused = true)]
async fn a_stale_copy_serves_at_once_while_one_call_renews_it() {
    let scene = Scene::new(&Config::default());
    scene.read(MINUTE, stale(30, 0)).await.unwrap();
    sleep(s(70)).await;
    for _ in 0..3 {
        let began = Instant::now();
        let page = scene.read(MINUTE, stale(30, 0)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(
            (page.from.state, page.from.lookup),
            (State::Stale, Lookup::Stale)
        );
        assert_eq!(
            (page.from.reason, page.from.fresh_for),
            (None, Duration::ZERO)
        );
    }
    sleep(ms(20)).await;
    assert_eq!(scene.calls(), 2, "three readers, one renewal");
    let page = scene.read(MINUTE, stale(30, 0)).await.unwrap();
    assert_eq!((*page.value, page.from.state), (2, State::Cached));
    // Past the bound it is asked for first.
    sleep(s(91)).await;
    let page = scene.read(MINUTE, stale(30, 0)).await.unwrap();
    assert_eq!((*page.value, page.from.state), (3, State::Fresh));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_failed_is_why_a_copy_is_stale() {
    let scene = Scene::new(&Config::default());
    scene.read(MINUTE, stale(30, 600)).await.unwrap();
    sleep(s(70)).await;
    let broken = Script::fails(Reason::Unavailable);
    scene.read(broken.clone(), stale(30, 600)).await.unwrap();
    sleep(ms(20)).await;
    let page = scene.read(broken, stale(30, 600)).await.unwrap();
    assert_eq!(page.from.reason, Some(Reason::Unavailable));
    assert_eq!(page.from.state, State::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_copy_stands_in_for_a_mishap_within_its_bound_and_for_no_answer() {
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
        let scene = Scene::new(&Config::default());
        scene.read(MINUTE, stale(0, 600)).await.unwrap();
        sleep(s(300)).await;
        let broken = scene.read(Script::fails(reason), stale(0, 600)).await;
        match broken {
            Ok(page) => {
                assert!(stands_in, "{reason:?}");
                assert_eq!(
                    (page.from.state, page.from.reason),
                    (State::Stale, Some(reason))
                );
                assert_eq!(page.from.age.map(|a| a.as_secs()), Some(300));
                assert_eq!(page.from.lookup, Lookup::StandIn);
            }
            Err(failure) => assert!(!stands_in && failure.reason() == reason, "{reason:?}"),
        }
        // A call that declares nothing is never served stale.
        let broken = scene.read(Script::fails(reason), Keep::unsaid(false)).await;
        if stands_in {
            sleep(s(400)).await;
            let late = scene.read(Script::fails(reason), stale(0, 600)).await;
            assert!(late.is_err(), "{reason:?}: past the bound");
        }
        // The first copy was kept under the bound it came with.
        assert_eq!(broken.is_ok(), stands_in);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_backends_own_is_not_covered_up() {
    let scene = Scene::new(&Config::default());
    for (status, covered) in [(410, false), (401, false), (500, true), (503, true)] {
        scene.read(MINUTE, stale(0, 600)).await.unwrap();
        sleep(s(61)).await;
        let status = StatusCode::from_u16(status).unwrap();
        let failure = Failure::new(Reason::BadResponse).answer(status, Bytes::new());
        let script = Script {
            says: Err(failure),
            ..MINUTE
        };
        let page = scene.read(script, stale(0, 600)).await;
        assert_eq!(page.is_ok(), covered, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_is_nothing_is_kept_only_where_the_backend_says_so() {
    for (head, calls) in [
        ("", 2),
        ("public", 2),
        ("max-age=5", 1),
        ("max-age=5, no-store", 2),
    ] {
        let scene = Scene::new(&Config::default());
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(head));
        let nothing = Failure::new(Reason::NotFound).with_head(headers);
        let script = Script {
            says: Err(nothing),
            ..MINUTE
        };
        let mut keep = stale(60, 600);
        keep.ttl(s(300));
        for _ in 0..2 {
            let failure = scene.read(script.clone(), keep.clone()).await.unwrap_err();
            assert_eq!(failure.reason(), Reason::NotFound);
        }
        assert_eq!(scene.calls(), calls, "{head}");
        sleep(s(6)).await;
        assert!(scene.read(MINUTE, keep).await.is_ok(), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_one_callers_is_kept_only_when_asked_to_and_for_them_alone() {
    let scene = Scene::new(&Config::default());
    let read = |scope: Caller, keep: Keep| {
        let cx = scene.cx(s(5));
        scene.read_by(&cx, scope, MINUTE, keep)
    };
    for _ in 0..2 {
        let page = read(caller("ada", "a"), Keep::unsaid(true)).await.unwrap();
        assert_eq!(
            (page.from.state, page.from.lookup),
            (State::Fresh, Lookup::Bypass)
        );
    }
    assert_eq!(scene.calls(), 2);
    let mut own = Keep::unsaid(true);
    own.own(s(5));
    read(caller("ada", "a"), own.clone()).await.unwrap();
    let kept = read(caller("ada", "a"), own.clone()).await.unwrap();
    assert_eq!((*kept.value, kept.from.state), (3, State::Cached));
    // Another profile of the account, and another account, are somebody else.
    assert_eq!(
        *read(caller("ada", "kids"), own.clone())
            .await
            .unwrap()
            .value,
        4
    );
    assert_eq!(*read(caller("ben", "a"), own).await.unwrap().value, 5);
}

#[tokio::test(start_paused = true)]
async fn a_write_outdates_what_its_caller_read_at_that_backend() {
    let scene = Scene::new(&Config::default());
    let mut own = Keep::unsaid(true);
    own.own(s(60));
    let ada = caller("ada", "a");
    let read = |scope: Caller| scene.read_by(&scene.cx(s(5)), scope, MINUTE, own.clone());
    read(ada.clone()).await.unwrap();
    read(caller("ben", "b")).await.unwrap();
    sleep(ms(1)).await;
    let written = |upstream, target: &[u8]| {
        let keep = Keep::unsaid(true);
        let at = (upstream, target);
        (scene.shared.cache).written(at, &ada.audience(), &keep, scene.now());
    };
    written("beta", b"/other");
    assert_eq!(read(ada.clone()).await.unwrap().from.state, State::Cached);
    written("alpha", b"/other");
    sleep(ms(1)).await;
    assert_eq!(read(ada.clone()).await.unwrap().from.state, State::Fresh);
    assert_eq!(
        read(caller("ben", "b")).await.unwrap().from.state,
        State::Cached
    );
    // The very address (RFC 9111 §4.4) is outdated for everybody.
    written("alpha", b"/things/1?a=b");
    sleep(ms(1)).await;
    assert_eq!(
        read(caller("ben", "b")).await.unwrap().from.state,
        State::Fresh
    );
}

#[tokio::test(start_paused = true)]
async fn a_purge_kills_what_has_the_tag_and_spares_the_rest() {
    let tagged = Script::says(&[("cache-control", "max-age=60"), ("cache-tag", "one, two")]);
    let purge = |text: &str| serde_json::from_str::<Purge>(text).unwrap();
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
        let scene = Scene::new(&Config::default());
        let mut keep = stale(60, 600);
        keep.tag("own");
        scene.read(tagged.clone(), keep.clone()).await.unwrap();
        sleep(ms(1)).await;
        scene.shared.cache.purge(&purge(body), scene.now());
        sleep(ms(1)).await;
        let page = scene.read(tagged.clone(), keep.clone()).await.unwrap();
        let state = if killed { State::Fresh } else { State::Cached };
        assert_eq!(page.from.state, state, "{body}");
        // Nor does a dead copy stand in for anything.
        scene.shared.cache.purge(&purge(body), scene.now());
        sleep(s(61)).await;
        let broken = scene.read(Script::fails(Reason::Timeout), keep).await;
        assert_eq!(broken.is_err(), killed, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_beyond_the_bytes_allowed() {
    let read = |scene: &Scene, n: u32| {
        let key = (scene.shared.cache).key::<u32>("alpha", Method::GET, n.to_string(), &Public);
        let ask = Ask {
            read: Read {
                key,
                route: "/",
                sharing: Sharing::default(),
            },
            keep: Keep::unsaid(false),
            renew_within: s(1),
            recall: None,
        };
        let cx = scene.cx(s(5));
        async move {
            let fetch = move |_| async move {
                let mut head = HeaderMap::new();
                head.insert(
                    header::CACHE_CONTROL,
                    HeaderValue::from_static("max-age=60"),
                );
                Ok(Got::Whole(Whole {
                    value: n,
                    status: StatusCode::OK,
                    head,
                    bytes: 2000,
                    body: Bytes::new(),
                    took: Duration::ZERO,
                }))
            };
            answer::<u32, Public, _, _>(&cx, ask, fetch).await.unwrap()
        }
    };
    let small = Config {
        max_bytes: 100_000,
        ..Config::default()
    };
    let scene = Scene::new(&small);
    for n in 0..1000 {
        read(&scene, n).await;
        let copy = scene.shared.cache.0.memory.as_ref().unwrap().bytes();
        assert!(copy <= small.max_bytes, "{copy}");
    }
    assert!(scene.shared.cache.0.memory.as_ref().unwrap().len() > 10);
    let none = Config {
        max_bytes: 0,
        ..Config::default()
    };
    let scene = Scene::new(&none);
    for _ in 0..2 {
        let page = read(&scene, 1).await;
        assert_eq!(
            (page.from.state, page.from.lookup),
            (State::Fresh, Lookup::Bypass)
        );
        assert_eq!(
            page.from.fresh_for,
            s(60),
            "what is told outside does not depend on it"
        );
    }
}
