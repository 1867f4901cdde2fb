//! A cache against a backend that is a function: what it does wherever it keeps (`sides`), and what only a process, on a
//! paused clock, or only replicas can show.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;
use crate::context::{GatewayHandles, RequestContext};
use crate::net::Net;
use crate::outbound::{Failure, Fetched, Freshness, Reason};
use crate::scope::{CacheVisibility, Caller, Identity, Public};
use crate::telemetry::Metrics;

mod cluster;
mod flights;
mod gateway;
mod race;
mod replicas;
mod sides;

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
    shared: Arc<GatewayHandles>,
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
        let world = Env::seeded(7, Net::Tcp);
        let cache = Cache::new(config, &world);
        Self::with(world, cache)
    }

    fn with(world: Env, cache: Cache) -> Self {
        let shared = Arc::new(GatewayHandles {
            client: HeaderValue::from_static("test"),
            tasks: TaskTracker::new(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            metrics: Metrics::noop(),
            cache,
            fields: crate::section::fields::FieldCache::default(),
            env: world,
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
        self.shared.env.unix_millis()
    }

    fn cx(&self, time: Duration) -> RequestContext {
        RequestContext::background(&self.shared, time)
    }

    async fn read(
        &self,
        script: Script,
        keep: CachePolicy,
    ) -> Result<Fetched<u32, Public>, Failure> {
        self.read_by(&self.cx(s(5)), Public, script, keep).await
    }

    /// A read whose value is the number of the call that brought it.
    fn read_by<S: Scope>(
        &self,
        cx: &RequestContext,
        scope: S,
        script: Script,
        keep: CachePolicy,
    ) -> impl Future<Output = Result<Fetched<u32, S>, Failure>> + Send + use<S> {
        let (calls, ended, cx) = (self.calls.clone(), self.ended.clone(), cx.clone());
        let ask = ReadThrough {
            read: ReadKey {
                key: (self.shared.cache).key::<u32>("alpha", Method::GET, "/things/1?a=b", &scope),
                route: "/things/{id}",
                sharing: CacheVisibility::default(),
            },
            keep,
            renew_within: s(1),
            recall: Some(recall),
        };
        let fetch = move |fetch: FetchContext| async move {
            let number = calls.fetch_add(1, Relaxed) + 1;
            let _ended = Ended(ended);
            let slow = async {
                sleep(script.takes).await;
                Ok(())
            };
            // As every attempt is.
            fetch.until.timeout(Instant::now() + s(9999), slow).await?;
            let mut condition = HeaderMap::new();
            let copy = fetch.condition(&mut condition);
            let mut head = HeaderMap::new();
            for (name, value) in script.says? {
                head.append(*name, HeaderValue::from_static(value));
            }
            if copy && script.unchanged {
                assert_eq!(condition[header::IF_NONE_MATCH], "\"v1\"");
                return Ok(FetchResult::NotModified(head, script.takes));
            }
            Ok(FetchResult::Full(FullResponse {
                value: Arc::new(number),
                status: StatusCode::OK,
                head,
                bytes: 100,
                body: Bytes::from(number.to_string()),
                took: Duration::ZERO,
            }))
        };
        async move { get_or_fetch(&cx, ask, fetch).await }
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

fn stale(while_revalidate: u64, if_error: u64) -> CachePolicy {
    let mut keep = CachePolicy::default_for(false);
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
async fn nothing_is_kept_beyond_the_bytes_allowed() {
    let read = |scene: &Scene, n: u32| {
        let key = (scene.shared.cache).key::<u32>("alpha", Method::GET, n.to_string(), &Public);
        let ask = ReadThrough {
            read: ReadKey {
                key,
                route: "/",
                sharing: CacheVisibility::default(),
            },
            keep: CachePolicy::default_for(false),
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
                Ok(FetchResult::Full(FullResponse {
                    value: Arc::new(n),
                    status: StatusCode::OK,
                    head,
                    bytes: 2000,
                    body: Bytes::new(),
                    took: Duration::ZERO,
                }))
            };
            get_or_fetch::<u32, Public, _, _>(&cx, ask, fetch)
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
            (page.provenance.state, page.provenance.cache_result),
            (Freshness::Fresh, CacheResult::Bypass)
        );
        assert_eq!(
            page.provenance.fresh_for,
            s(60),
            "what is told outside does not depend on it"
        );
    }
}
