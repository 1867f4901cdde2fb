//! Thousands of interleavings of reads, disconnects, faults, writes and purges: no reader gets the value of another
//! scope.

use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use bff_context::scope::{Language, Region};

/// The scope of a reader. Every value is the scope it was fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderScope {
    Everyone,
    Region(&'static str),
    Language(&'static str),
    Caller(&'static str, &'static str),
}

const READER_SCOPES: [ReaderScope; 9] = [
    ReaderScope::Everyone,
    ReaderScope::Region("DE"),
    ReaderScope::Region("AT"),
    ReaderScope::Language("de"),
    ReaderScope::Language("en"),
    ReaderScope::Caller("ada", "adult"),
    ReaderScope::Caller("ada", "kids"),
    ReaderScope::Caller("ben", "adult"),
    ReaderScope::Caller("ben", "kids"),
];

/// One reader, the script of its backend, and an event before its read.
#[derive(Clone, Debug)]
struct Reader {
    scope: ReaderScope,
    starts_after: u64,
    gives_up_after: u64,
    delay: u64,
    fault: Option<Reason>,
    unchanged: bool,
    caches: bool,
    /// 0: a purge. 1: a write. Anything else: nothing.
    event: u8,
}

fn reader() -> impl Strategy<Value = Reader> {
    let fault = prop::sample::select(&[Reason::Timeout, Reason::NotFound, Reason::Unavailable][..]);
    (
        (
            prop::sample::select(&READER_SCOPES[..]),
            0_u64..400,
            1_u64..200,
            0_u64..60,
        ),
        (
            prop::option::weighted(0.3, fault),
            any::<bool>(),
            any::<bool>(),
            0_u8..12,
        ),
    )
        .prop_map(
            |((scope, starts_after, gives_up_after, delay), (fault, unchanged, caches, event))| {
                Reader {
                    scope,
                    starts_after,
                    gives_up_after,
                    delay,
                    fault,
                    unchanged,
                    caches,
                    event,
                }
            },
        )
}

impl Reader {
    async fn read<S: Scope>(&self, scene: &Scene, scope: S) -> Option<ReaderScope> {
        let mut policy = CachePolicy::default_for(S::PERSONAL);
        if S::PERSONAL && self.caches {
            policy.private_ttl(ms(50));
        } else if !S::PERSONAL {
            policy.ttl(ms(50));
            policy.stale_while_revalidate(ms(30));
            policy.stale_if_error(ms(90));
        }
        let options = ReadThrough {
            read: ReadKey {
                key: (scene.shared.cache).key::<ReaderScope>("alpha", Method::GET, "/one", &scope),
                route: "/one",
                visibility: CacheVisibility::default(),
            },
            policy,
            revalidation_timeout: ms(100),
            decode: None,
        };
        let Self {
            scope,
            delay,
            fault,
            unchanged,
            ..
        } = self.clone();
        let fetch = move |fetch: FetchContext| async move {
            sleep(ms(delay)).await;
            if let Some(reason) = fault {
                return Err(Failure::new(reason));
            }
            let mut head = HeaderMap::new();
            let copy = fetch.add_validators(&mut HeaderMap::new());
            head.insert(header::ETAG, HeaderValue::from_static("\"same\""));
            if unchanged && copy {
                return Ok(FetchResult::NotModified(head, Duration::ZERO));
            }
            Ok(FetchResult::Full(FullResponse {
                value: Arc::new(scope),
                status: StatusCode::OK,
                head,
                bytes: 10,
                body: Bytes::new(),
                omitted: 0,
                response_delay: Duration::ZERO,
            }))
        };
        let cx = scene.cx(ms(self.gives_up_after.max(20)));
        let page = timeout(
            ms(self.gives_up_after),
            (scene.shared.cache).get_or_fetch::<ReaderScope, S, _, _>(&cx, options, fetch),
        )
        .await;
        page.ok()?.ok().map(|page| *page.value)
    }

    async fn run(&self, scene: &Scene) -> Option<ReaderScope> {
        sleep(ms(self.starts_after)).await;
        let cache = &scene.shared.cache;
        let segment = |language: &str, region: &str| {
            let language: Language = language.parse().unwrap();
            let region: Region = region.parse().unwrap();
            bff_context::trusted::segment(language, region, None)
        };
        match self.event {
            0 => cache.purge(
                &serde_json::from_str(r#"{"upstreams": ["alpha"]}"#).unwrap(),
                scene.now(),
            ),
            1 => {
                let audience = bff_context::trusted::audience(&caller("ada", "kids"));
                cache.invalidate_after_write(
                    ("alpha", b"/two"),
                    &audience,
                    &CachePolicy::default_for(true),
                    scene.now(),
                );
            }
            _ => {}
        }
        match self.scope {
            ReaderScope::Everyone => self.read(scene, Public).await,
            ReaderScope::Region(region) => {
                self.read(scene, segment("en", region).by_region()).await
            }
            ReaderScope::Language(of) => self.read(scene, segment(of, "DE").by_language()).await,
            ReaderScope::Caller(account, profile) => {
                self.read(scene, caller(account, profile)).await
            }
        }
    }
}

proptest! {
    #[test]
    fn no_reader_gets_the_value_of_another_scope(
        readers in prop::collection::vec(reader(), 2..40),
        small: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let config = Config {
            max_bytes: if small { 4000 } else { 64 << 10 },
            max_background_revalidations: 2,
            ..Config::default()
        };
        let (values, active_flights) = runtime.block_on(async {
            let scene = Scene::new(&config);
            let values = join_all(readers.iter().map(|reader| reader.run(&scene))).await;
            // Revalidations end by themselves, and then no flight is active.
            scene.shared.tasks.close();
            scene.shared.tasks.wait().await;
            (values, scene.shared.cache.0.flights.len())
        });
        prop_assert_eq!(active_flights, 0);
        for (reader, value) in readers.iter().zip(values) {
            if let Some(value) = value {
                prop_assert_eq!(value, reader.scope);
            }
        }
    }
}
