//! Thousands of interleavings of readers, hang-ups, faults, writes and purges: nobody is ever shown another's datum.

use futures_util::future::join_all;
use proptest::prelude::*;

use super::*;
use crate::scope::{Language, Region, Segment};

/// Who reads; the value of every answer says for whom it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Everyone,
    Region(&'static str),
    Language(&'static str),
    Caller(&'static str, &'static str),
}

const WHO: [Who; 9] = [
    Who::Everyone,
    Who::Region("DE"),
    Who::Region("AT"),
    Who::Language("de"),
    Who::Language("en"),
    Who::Caller("ada", "adult"),
    Who::Caller("ada", "kids"),
    Who::Caller("ben", "adult"),
    Who::Caller("ben", "kids"),
];

/// One reader, and what befalls them.
#[derive(Clone, Debug)]
struct Reader {
    who: Who,
    comes: u64,
    patience: u64,
    takes: u64,
    fault: Option<Reason>,
    unchanged: bool,
    keeps: bool,
    /// What happens just before: a write of theirs, a purge, or nothing.
    before: u8,
}

fn reader() -> impl Strategy<Value = Reader> {
    let fault = prop::sample::select(&[Reason::Timeout, Reason::NotFound, Reason::Unavailable][..]);
    (
        (
            prop::sample::select(&WHO[..]),
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
            |((who, comes, patience, takes), (fault, unchanged, keeps, before))| Reader {
                who,
                comes,
                patience,
                takes,
                fault,
                unchanged,
                keeps,
                before,
            },
        )
}

impl Reader {
    async fn reads<S: Scope>(&self, scene: &Scene, scope: S) -> Option<Who> {
        let mut keep = CachePolicy::default_for(S::PERSONAL);
        if S::PERSONAL && self.keeps {
            keep.private_ttl(ms(50));
        } else if !S::PERSONAL {
            keep.ttl(ms(50));
            keep.stale_while_revalidate(ms(30));
            keep.stale_if_error(ms(90));
        }
        let ask = ReadThrough {
            read: ReadKey {
                key: (scene.shared.cache).key::<Who>("alpha", Method::GET, "/one", &scope),
                route: "/one",
                sharing: CacheVisibility::default(),
            },
            keep,
            renew_within: ms(100),
            recall: None,
        };
        let Self {
            who,
            takes,
            fault,
            unchanged,
            ..
        } = self.clone();
        let fetch = move |fetch: FetchContext| async move {
            sleep(ms(takes)).await;
            if let Some(reason) = fault {
                return Err(Failure::new(reason));
            }
            let mut head = HeaderMap::new();
            let copy = fetch.condition(&mut HeaderMap::new());
            head.insert(header::ETAG, HeaderValue::from_static("\"same\""));
            if unchanged && copy {
                return Ok(FetchResult::NotModified(head, Duration::ZERO));
            }
            Ok(FetchResult::Full(FullResponse {
                value: Arc::new(who),
                status: StatusCode::OK,
                head,
                bytes: 10,
                body: Bytes::new(),
                took: Duration::ZERO,
            }))
        };
        let cx = scene.cx(ms(self.patience.max(20)));
        let page = timeout(
            ms(self.patience),
            get_or_fetch::<Who, S, _, _>(&cx, ask, fetch),
        )
        .await;
        page.ok()?.ok().map(|page| *page.value)
    }

    async fn comes(&self, scene: &Scene) -> Option<Who> {
        sleep(ms(self.comes)).await;
        let cache = &scene.shared.cache;
        let segment = |language: &str, region: &str| {
            let language: Language = language.parse().unwrap();
            let region: Region = region.parse().unwrap();
            Segment::of(language, region, None)
        };
        match self.before {
            0 => cache.purge(
                &serde_json::from_str(r#"{"upstreams": ["alpha"]}"#).unwrap(),
                scene.now(),
            ),
            1 => {
                let audience = caller("ada", "kids").audience();
                cache.invalidate_after_write(
                    ("alpha", b"/two"),
                    &audience,
                    &CachePolicy::default_for(true),
                    scene.now(),
                );
            }
            _ => {}
        }
        match self.who {
            Who::Everyone => self.reads(scene, Public).await,
            Who::Region(region) => self.reads(scene, segment("en", region).by_region()).await,
            Who::Language(of) => self.reads(scene, segment(of, "DE").by_language()).await,
            Who::Caller(account, profile) => self.reads(scene, caller(account, profile)).await,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nobody_is_shown_what_was_made_for_another(
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
        let (shown, air) = runtime.block_on(async {
            let scene = Scene::new(&config);
            let shown = join_all(readers.iter().map(|reader| reader.comes(&scene))).await;
            // Renewals end by themselves, and then nothing is left in the air.
            scene.shared.tasks.close();
            scene.shared.tasks.wait().await;
            (shown, scene.shared.cache.0.flights.len())
        });
        prop_assert_eq!(air, 0);
        for (reader, shown) in readers.iter().zip(shown) {
            if let Some(shown) = shown {
                prop_assert_eq!(shown, reader.who);
            }
        }
    }
}
