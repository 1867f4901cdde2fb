//! Tests of the cache with a function as the backend. `every_setup` has the tests that hold in one process, on replicas
//! and on a cluster. The others need a paused clock, replicas, or a cluster.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;
use bff_context::context::RequestContext;
use bff_context::context::{Failure, Fetched, Freshness, Reason};
use bff_context::scope::{CacheVisibility, Caller, Identity, Public};
use bff_runtime::net::Net;
use bff_telemetry::Metrics;

mod cluster;
mod every_setup;
mod gateway;
mod race;
mod replicas;
mod single_flight;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The longest time that a test waits for an event. Only a failure reaches it, also on a busy machine.
const LIMIT: Duration = s(30);

/// Waits until `condition` holds.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    let wait = timeout(LIMIT, async {
        while !condition() {
            sleep(ms(1)).await;
        }
    });
    wait.await.expect("the event must occur");
}

/// Polls `reads`, which must not end before `condition` holds.
async fn poll_until(reads: impl Future, condition: impl FnMut() -> bool) {
    tokio::select! {
        biased;
        _ = reads => panic!("the reads ended too early"),
        () = wait_until(condition) => {}
    }
}

/// The scripted behaviour of the backend.
#[derive(Clone)]
struct BackendScript {
    delay: Duration,
    responds: Result<&'static [(&'static str, &'static str)], Failure>,
    /// It answers 304 to a conditional request.
    unchanged: bool,
}

impl BackendScript {
    fn responds(head: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            delay: ms(10),
            responds: Ok(head),
            unchanged: false,
        }
    }

    fn fails_with(reason: Reason) -> Self {
        Self {
            responds: Err(Failure::new(reason)),
            ..Self::responds(&[])
        }
    }
}

/// A cache of this process alone.
fn in_process(config: &Config, env: &Env) -> Cache {
    Cache::new(config, env, &TaskTracker::new(), &Metrics::noop())
}

/// The cache of one replica of `gateway`.
fn replica(config: &Config, env: &Env, gateway: &str, store: &Store) -> Cache {
    let (tasks, metrics) = (TaskTracker::new(), Metrics::noop());
    Cache::with_shared_tier(config, env, &tasks, &metrics, (gateway, store))
}

/// The parts of one gateway.
struct Parts {
    env: Env,
    tasks: TaskTracker,
    cache: Cache,
}

/// The cache of a gateway, and counters of the calls to its backend.
struct Scene {
    shared: Parts,
    calls: Arc<AtomicU32>,
    ended_calls: Arc<AtomicU32>,
}

/// Counts the end of a call when dropped, also when the call was cancelled.
struct EndedCall(Arc<AtomicU32>);

impl Drop for EndedCall {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Scene {
    fn new(config: &Config) -> Self {
        let env = Env::seeded(7, Net::Tcp);
        let cache = in_process(config, &env);
        Self::with(env, cache)
    }

    fn with(env: Env, cache: Cache) -> Self {
        let shared = Parts {
            env,
            tasks: cache.0.tasks.clone(),
            cache,
        };
        Self {
            shared,
            calls: Arc::default(),
            ended_calls: Arc::default(),
        }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    fn now(&self) -> u64 {
        self.shared.env.unix_millis()
    }

    /// Waits until all background tasks have ended.
    async fn wait_for_tasks(&self) {
        wait_until(|| self.shared.tasks.is_empty()).await;
    }

    fn cx(&self, time: Duration) -> RequestContext {
        RequestContext::background(&HeaderValue::from_static("test"), &self.shared.env, time)
    }

    async fn read(
        &self,
        script: BackendScript,
        policy: CachePolicy,
    ) -> Result<Fetched<u32, Public>, Failure> {
        self.read_by(&self.cx(LIMIT), Public, script, policy).await
    }

    /// A read whose value is the number of the call that fetched it.
    fn read_by<S: Scope>(
        &self,
        cx: &RequestContext,
        scope: S,
        script: BackendScript,
        policy: CachePolicy,
    ) -> impl Future<Output = Result<Fetched<u32, S>, Failure>> + Send + use<S> {
        let (calls, ended_calls, cx) = (self.calls.clone(), self.ended_calls.clone(), cx.clone());
        let options = ReadThrough {
            read: ReadKey {
                key: (self.shared.cache).key::<u32>("alpha", Method::GET, "/things/1?a=b", &scope),
                route: "/things/{id}",
                visibility: CacheVisibility::default(),
            },
            policy,
            revalidation_timeout: s(1),
            decode: Some(decode),
        };
        let fetch = move |fetch: FetchContext| async move {
            let number = calls.fetch_add(1, Relaxed) + 1;
            let _ended = EndedCall(ended_calls);
            let slow = async {
                sleep(script.delay).await;
                Ok(())
            };
            // Like every attempt.
            fetch
                .deadline
                .timeout(Instant::now() + s(9999), slow)
                .await?;
            let mut validators = HeaderMap::new();
            let conditional = fetch.add_validators(&mut validators);
            let mut head = HeaderMap::new();
            for (name, value) in script.responds? {
                head.append(*name, HeaderValue::from_static(value));
            }
            if conditional && script.unchanged {
                assert_eq!(validators[header::IF_NONE_MATCH], "\"v1\"");
                return Ok(FetchResult::NotModified(head, script.delay));
            }
            Ok(FetchResult::Full(FullResponse {
                value: Arc::new(number),
                status: StatusCode::OK,
                head,
                bytes: 100,
                body: Bytes::from(number.to_string()),
                omitted: number,
                response_delay: Duration::ZERO,
            }))
        };
        let cache = self.shared.cache.clone();
        async move {
            let fetched: Fetched<u32, S> = cache.get_or_fetch(&cx, options, fetch).await?;
            // Every reader of a value reports what its lists omit.
            assert_eq!(fetched.provenance.omitted, *fetched.value);
            Ok(fetched)
        }
    }
}

fn decode(body: &[u8]) -> Option<DecodedBody> {
    let number: u32 = std::str::from_utf8(body).ok()?.parse().ok()?;
    Some(DecodedBody::new(number, number))
}

fn caller(account: &str, profile: &str) -> Caller {
    Caller::new(Identity {
        account: account.into(),
        profile: Some(profile.into()),
        ..Identity::default()
    })
    .unwrap()
}

fn stale(while_revalidate: u64, if_error: u64) -> CachePolicy {
    let mut policy = CachePolicy::default_for(false);
    policy.stale_while_revalidate(s(while_revalidate));
    policy.stale_if_error(s(if_error));
    policy
}

const FRESH_FOR_A_MINUTE: BackendScript = BackendScript {
    delay: ms(10),
    responds: Ok(&[("cache-control", "max-age=60"), ("etag", "\"v1\"")]),
    unchanged: false,
};

#[tokio::test(start_paused = true)]
async fn the_cache_stays_within_max_bytes() {
    let read = |scene: &Scene, n: u32| {
        let key = (scene.shared.cache).key::<u32>("alpha", Method::GET, n.to_string(), &Public);
        let options = ReadThrough {
            read: ReadKey {
                key,
                route: "/",
                visibility: CacheVisibility::default(),
            },
            policy: CachePolicy::default_for(false),
            revalidation_timeout: s(1),
            decode: None,
        };
        let (cx, cache) = (scene.cx(s(5)), scene.shared.cache.clone());
        async move {
            let fetch = move |_| async move {
                let mut head = HeaderMap::new();
                head.insert(
                    header::CACHE_CONTROL,
                    HeaderValue::from_static("max-age=60"),
                );
                Ok(FetchResult::Full(FullResponse {
                    value: Arc::new(n),
                    status: StatusCode::OK,
                    head,
                    bytes: 2000,
                    body: Bytes::new(),
                    omitted: 0,
                    response_delay: Duration::ZERO,
                }))
            };
            cache
                .get_or_fetch::<u32, Public, _, _>(&cx, options, fetch)
                .await
                .unwrap()
        }
    };
    let small = Config {
        max_bytes: 100_000,
        ..Config::default()
    };
    let scene = Scene::new(&small);
    for n in 0..1000 {
        read(&scene, n).await;
        let bytes = scene.shared.cache.0.local.memory.as_ref().unwrap().bytes();
        assert!(bytes <= small.max_bytes, "{bytes}");
    }
    assert!(scene.shared.cache.0.local.memory.as_ref().unwrap().len() > 10);
    let none = Config {
        max_bytes: 0,
        ..Config::default()
    };
    let scene = Scene::new(&none);
    for _ in 0..2 {
        let page = read(&scene, 1).await;
        assert_eq!(
            (page.provenance.state, page.provenance.cache_result),
            (Freshness::Fresh, CacheResult::Bypass)
        );
        assert_eq!(
            page.provenance.fresh_for,
            s(60),
            "freshness for clients does not depend on max_bytes"
        );
    }
}
