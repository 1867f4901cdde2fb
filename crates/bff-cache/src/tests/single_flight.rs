//! Single-flight: joining, dropping out, cancellation and deadlines.

use futures_util::future::join_all;

use super::*;

const SLOW: BackendScript = BackendScript {
    delay: ms(500),
    responds: Ok(&[("cache-control", "no-store")]),
    unchanged: false,
};

fn active_flights(scene: &Scene) -> usize {
    scene.shared.cache.0.flights.len()
}

#[tokio::test(start_paused = true)]
async fn uncacheable_reads_at_once_are_one_call() {
    let scene = Scene::new(&Config::default());
    let reads = (0..1000).map(|_| scene.read(SLOW, CachePolicy::default_for(false)));
    let pages = join_all(reads).await;
    assert_eq!(scene.calls(), 1);
    let shared =
        |page: &Fetched<u32, Public>| page.provenance.cache_result == CacheResult::Coalesced;
    let pages: Vec<_> = pages.into_iter().map(Result::unwrap).collect();
    assert_eq!(pages.iter().filter(|page| shared(page)).count(), 999);
    assert!(
        pages
            .iter()
            .all(|page| page.provenance.state == Freshness::Fresh)
    );
    assert_eq!(active_flights(&scene), 0);
    scene
        .read(SLOW, CachePolicy::default_for(false))
        .await
        .unwrap();
    assert_eq!(scene.calls(), 2, "a flight that ended is not joined");
}

#[tokio::test(start_paused = true)]
async fn each_waiter_has_its_own_deadline() {
    let scene = Scene::new(&Config::default());
    let read = |time: Duration| {
        let cx = scene.cx(time);
        let started = Instant::now();
        let read = scene.read_by(&cx, Public, SLOW, CachePolicy::default_for(false));
        async move { (read.await.map(|page| *page.value), started.elapsed()) }
    };
    // The first starts the flight; the last has the shortest deadline. A tenth of the time is reserved for responding.
    let (first, second, third) = tokio::join!(read(ms(100)), read(s(2)), read(ms(50)));
    assert_eq!(scene.calls(), 1);
    assert_eq!((second.0.unwrap(), second.1), (1, ms(500)));
    assert_eq!(first.0.unwrap_err().reason(), Reason::Deadline);
    assert_eq!(third.0.unwrap_err().reason(), Reason::Deadline);
    assert_eq!(third.1, ms(45));
    assert_eq!(first.1, ms(90));
}

#[tokio::test(start_paused = true)]
async fn callers_share_calls_only_with_themselves() {
    let scene = Scene::new(&Config::default());
    let cx = scene.cx(s(5));
    let read = |scope| scene.read_by(&cx, scope, SLOW, CachePolicy::default_for(true));
    let all = [("ada", "a"), ("ada", "a"), ("ada", "kids"), ("ben", "a")];
    let pages = join_all(all.map(|(account, profile)| read(caller(account, profile)))).await;
    let values: Vec<u32> = pages.into_iter().map(|page| *page.unwrap().value).collect();
    assert_eq!(values, [1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_does_not_join_a_call_from_before_its_write() {
    let scene = Scene::new(&Config::default());
    let (cx, ada) = (scene.cx(s(5)), caller("ada", "a"));
    let read = || Box::pin(scene.read_by(&cx, ada.clone(), SLOW, CachePolicy::default_for(true)));
    let mut before = read();
    assert!(timeout(ms(100), &mut before).await.is_err());
    let target = ("alpha", &b"/elsewhere"[..]);
    (scene.shared.cache).invalidate_after_write(
        target,
        &bff_context::trusted::audience(&ada),
        &CachePolicy::default_for(true),
        scene.now(),
    );
    sleep(ms(1)).await;
    let (before, after) = tokio::join!(before, read());
    assert_ne!(before.unwrap().value, after.unwrap().value);
}

#[tokio::test(start_paused = true)]
async fn calls_are_separate_without_coalesce_requests() {
    let scene = Scene::new(&Config {
        coalesce_requests: false,
        ..Config::default()
    });
    join_all((0..3).map(|_| scene.read(SLOW, CachePolicy::default_for(false)))).await;
    assert_eq!((scene.calls(), active_flights(&scene)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn revalidations_are_limited_and_none_starts_while_draining() {
    for (permits, draining, calls) in [(1, false, 2), (0, false, 1), (1, true, 1)] {
        let scene = Scene::new(&Config {
            max_background_revalidations: permits,
            ..Config::default()
        });
        scene.read(FRESH_FOR_A_MINUTE, stale(600, 0)).await.unwrap();
        sleep(s(70)).await;
        if draining {
            scene.shared.tasks.close();
        }
        let page = scene.read(FRESH_FOR_A_MINUTE, stale(600, 0)).await.unwrap();
        assert_eq!(page.provenance.state, Freshness::Stale);
        scene.shared.tasks.close();
        timeout(s(2), scene.shared.tasks.wait()).await.unwrap();
        assert_eq!(scene.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_ends_at_its_deadline_and_frees_its_permit() {
    let scene = Scene::new(&Config {
        max_background_revalidations: 1,
        ..Config::default()
    });
    scene.read(FRESH_FOR_A_MINUTE, stale(600, 0)).await.unwrap();
    sleep(s(70)).await;
    let hangs = BackendScript {
        delay: s(3600),
        ..FRESH_FOR_A_MINUTE
    };
    for calls in [2, 2, 3] {
        scene.read(hangs.clone(), stale(600, 0)).await.unwrap();
        sleep(ms(600)).await;
        assert_eq!(scene.calls(), calls);
    }
}
