//! What only two replicas on one Redis can show, which is real where it is installed.

use futures_util::future::join_all;

use super::*;
use crate::cache::shared_tier::record::SharedRecord;
use crate::store::tests::{Server, until_there};
use crate::store::{Key as StoreKey, Namespace, Record as Kept, Store};

/// Two replicas of one gateway, and the Redis they share.
struct Pair {
    one: Scene,
    two: Scene,
    store: Store,
    server: Server,
}

async fn pair(wait: Duration) -> Option<Pair> {
    let server = Server::start()?;
    let store = server.store();
    until_there(&store).await;
    let config = Config {
        shared: SharedConfig {
            lease_wait: wait,
            ..SharedConfig::default()
        },
        ..Config::default()
    };
    let replica = || {
        let (world, store) = (Env::real(), server.store());
        let scene = Scene::with(
            world.clone(),
            Cache::with_shared_tier(&config, &world, "test", &store),
        );
        scene.shared.cache.follow(&store, &scene.shared);
        scene
    };
    let (one, two) = (replica(), replica());
    Some(Pair {
        one,
        two,
        store,
        server,
    })
}

impl Pair {
    /// What is kept of the read that these tests make, once there is something.
    async fn record(&self) -> Bytes {
        let key = self.key("cache");
        for _ in 0..200 {
            let found = self.store.get_many(std::slice::from_ref(&key)).await;
            if let Some(record) = found.unwrap().remove(0) {
                return record;
            }
            sleep(ms(10)).await;
        }
        panic!("nothing was kept");
    }

    fn key(&self, name: &'static str) -> StoreKey {
        let space = Namespace {
            name,
            evictable: true,
        };
        let key =
            (self.one.shared.cache).key::<u32>("alpha", Method::GET, "/things/1?a=b", &Public);
        StoreKey::of(space, &key.shared_key("test").unwrap(), &[])
    }

    fn calls(&self) -> u32 {
        self.one.calls() + self.two.calls()
    }
}

fn unsaid() -> CachePolicy {
    CachePolicy::default_for(false)
}

#[tokio::test]
async fn everything_there_ends_by_itself_and_lies_together_in_a_cluster() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one.read(MINUTE, unsaid()).await.unwrap();
    pair.record().await;
    pair.one.shared.cache.purge(&purge("other"), pair.one.now());
    pair.one
        .shared
        .cache
        .sync(pair.one.cx(s(1)).world())
        .await
        .unwrap();
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let left: i64 = pair.server.ask(&["PTTL", key]).await;
        assert!(left > 0, "{key}: {left}");
    }
    assert_eq!(pair.key("cache").tag(), pair.key("cache-lease").tag());
}

#[tokio::test]
async fn a_record_of_another_release_is_none_and_is_replaced() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one.read(MINUTE, unsaid()).await.unwrap();
    let mut record = pair.record().await.to_vec();
    record[0] += 1;
    let kept = Kept {
        key: pair.key("cache"),
        value: record.clone().into(),
        ttl: s(60),
    };
    pair.store.put_many(vec![kept]).await.unwrap();
    let read = pair.two.read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(
        (read.provenance.state, pair.two.calls()),
        (Freshness::Fresh, 1)
    );
    while pair.record().await == record {
        sleep(ms(5)).await;
    }
}

#[tokio::test]
async fn what_is_one_callers_never_leaves_the_process() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let mut own = CachePolicy::default_for(true);
    own.private_ttl(s(60));
    for (scene, calls) in [(&pair.one, 1), (&pair.two, 1), (&pair.two, 1)] {
        let ada = caller("ada", "a");
        let read = scene.read_by(&scene.cx(s(5)), ada, MINUTE, own.clone());
        read.await.unwrap();
        assert_eq!(scene.calls(), calls);
    }
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn what_one_screen_misses_is_looked_for_in_one_round_trip() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    // How often Redis read from a socket. Asking costs some reads too, and so does following purges.
    let reads = async || {
        let stats: String = pair.server.ask(&["INFO", "stats"]).await;
        let line = stats
            .lines()
            .find_map(|l| l.strip_prefix("total_reads_processed:"));
        line.unwrap().parse::<i64>().unwrap()
    };
    // Once, so that the script is known there.
    pair.one.read(MINUTE, unsaid()).await.unwrap();
    let asking = reads().await;
    let asking = reads().await - asking;
    let languages = [
        "ca", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "nl",
    ];
    let segments = languages.map(|language| {
        let none = crate::scope::Region::NONE;
        crate::scope::Segment::of(language.parse().unwrap(), none, None).by_language()
    });
    let slow = Script {
        takes: ms(200),
        ..MINUTE
    };
    let before = reads().await;
    let cx = pair.one.cx(s(5));
    let screen = join_all(segments.map(|s| pair.one.read_by(&cx, s, slow.clone(), unsaid())));
    // Looked for, and not yet landed.
    assert!(timeout(ms(100), screen).await.is_err());
    assert_eq!(pair.calls(), 1 + 12);
    let cost = reads().await - before - asking;
    assert!(cost <= 4, "{cost} reads for {} looks", languages.len());
}

#[tokio::test]
async fn a_holder_that_died_delays_others_by_the_bound_and_one_that_gave_up_does_not() {
    let Some(pair) = pair(ms(400)).await else {
        return;
    };
    // It died with the right to call, and nobody gives that back.
    let (lease, died) = (pair.key("cache-lease"), Bytes::from_static(b"died"));
    let Store::Redis(redis) = &pair.store else {
        unreachable!()
    };
    assert_eq!(redis.lease(&lease, &died, s(3600)).await, Ok(true));
    let began = Instant::now();
    pair.two.read(MINUTE, unsaid()).await.unwrap();
    let took = began.elapsed();
    assert!(took >= ms(300) && took < ms(1500), "{took:?}");
    redis.release(&lease, &died).await.unwrap();

    for alpha in ["dropped", "failed"] {
        pair.store.delete_many(&[pair.key("cache")]).await.unwrap();
        pair.one.shared.cache.purge(&purge_alpha(), pair.one.now());
        pair.two.shared.cache.purge(&purge_alpha(), pair.two.now());
        sleep(ms(20)).await;
        let slow = Script {
            takes: s(3600),
            ..MINUTE
        };
        if alpha == "dropped" {
            let held = pair.one.read(slow, unsaid());
            assert!(timeout(ms(100), held).await.is_err());
        } else {
            let broken = Script::fails(Reason::Unavailable);
            pair.one.read(broken, unsaid()).await.unwrap_err();
        }
        let began = Instant::now();
        pair.two.read(MINUTE, unsaid()).await.unwrap();
        assert!(began.elapsed() < ms(300), "{alpha}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn who_leaves_before_redis_answers_leaves_no_right_behind() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    // Once for somebody else, so that the script is known there.
    let de = crate::scope::Segment::of("de".parse().unwrap(), crate::scope::Region::NONE, None);
    let other = (pair.one).read_by(&pair.one.cx(s(5)), de.by_language(), MINUTE, unsaid());
    other.await.unwrap();
    // Redis hears the question, and answers when nobody waits any more.
    let _: String = pair.server.ask(&["CLIENT", "PAUSE", "300", "ALL"]).await;
    let left = timeout(ms(100), pair.one.read(MINUTE, unsaid())).await;
    assert!(left.is_err());
    until_there(&pair.store).await;
    let began = Instant::now();
    pair.two.read(MINUTE, unsaid()).await.unwrap();
    assert!(began.elapsed() < s(2), "{:?}", began.elapsed());
    assert_eq!(pair.calls(), 2);
}

#[tokio::test]
async fn redis_that_hangs_takes_nobody_beyond_their_time() {
    let Some(server) = Server::start() else {
        return;
    };
    let world = Env::real();
    let store = server.store_that_waits(s(10), ms(20));
    let scene = Scene::with(
        world.clone(),
        Cache::with_shared_tier(&Config::default(), &world, "test", &store),
    );
    until_there(&store).await;
    let _: String = server.ask(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let began = Instant::now();
    let read = scene.read_by(&scene.cx(ms(300)), Public, MINUTE, unsaid());
    let failure = read.await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Deadline);
    assert!(began.elapsed() < s(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_reads_waits_for_purges_that_were_not_for_those_that_go_on() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let scene = &pair.one;
    let busy = async {
        loop {
            scene.shared.cache.purge(&purge("other"), scene.now());
            tokio::task::yield_now().await;
        }
    };
    scene.shared.cache.purge(&purge("other"), scene.now());
    tokio::select! {
        biased;
        read = timeout(s(2), scene.read(MINUTE, unsaid())) => {
            read.expect("it is not kept waiting").unwrap();
        }
        () = busy => {}
    }
}

#[tokio::test]
async fn a_purge_is_told_once_for_all_who_read_after_it() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let scene = &pair.one;
    let none = crate::scope::Region::NONE;
    let languages = [
        "ca", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "nl",
    ];
    let segments = languages.map(|language| {
        crate::scope::Segment::of(language.parse().unwrap(), none, None).by_language()
    });
    // Each look and each purge that is told is one script.
    let scripts = async || {
        let stats: String = pair.server.ask(&["INFO", "commandstats"]).await;
        let calls = |line: &str| {
            let rest = line.strip_prefix("cmdstat_evalsha:calls=")?;
            rest.split(',').next()?.parse::<usize>().ok()
        };
        stats.lines().find_map(calls).unwrap()
    };
    scene.read(MINUTE, unsaid()).await.unwrap();
    pair.record().await;
    let before = scripts().await;
    scene.shared.cache.purge(&purge("other"), scene.now());
    let cx = scene.cx(s(5));
    let all = join_all(segments.map(|s| scene.read_by(&cx, s, MINUTE, unsaid())));
    assert!(all.await.iter().all(Result::is_ok));
    while !scene.shared.tasks.is_empty() {
        sleep(ms(1)).await;
    }
    // Each read looked and landed; what is beyond that was about the purge.
    let told = scripts().await - before - 2 * languages.len();
    assert!(told < languages.len() / 2, "{told} for one purge");
}

#[tokio::test]
async fn what_may_not_be_kept_is_waited_for_once() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let unkept = Script {
        takes: ms(200),
        ..Script::says(&[("cache-control", "no-store")])
    };
    pair.one.read(unkept.clone(), unsaid()).await.unwrap();
    assert_eq!(pair.record().await, SharedRecord::Uncacheable.encode());
    for _ in 0..2 {
        let began = Instant::now();
        let both = join_all([&pair.one, &pair.two].map(|s| s.read(unkept.clone(), unsaid())));
        assert!(both.await.into_iter().all(|read| read.is_ok()));
        assert!(began.elapsed() < ms(390), "{:?}", began.elapsed());
    }
    assert_eq!(pair.calls(), 5);
}

fn purge(tag: &str) -> Purge {
    serde_json::from_value(serde_json::json!({ "tags": [tag] })).unwrap()
}

fn purge_alpha() -> Purge {
    serde_json::from_str(r#"{"upstreams": ["alpha"]}"#).unwrap()
}

/// How long it took until a replica saw that its copy is dead; it fetches a new one then.
async fn until_purged(scene: &Scene, calls: u32, keep: &CachePolicy) -> Duration {
    let began = Instant::now();
    while scene.calls() == calls {
        scene.read(MINUTE, keep.clone()).await.unwrap();
        sleep(ms(5)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_purge_is_seen_by_every_replica_within_a_second_with_and_without_a_channel() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let tagged = || {
        let mut keep = unsaid();
        keep.tag("own");
        keep
    };
    for broken in [false, true] {
        for scene in [&pair.one, &pair.two] {
            scene.read(MINUTE, tagged()).await.unwrap();
        }
        if broken {
            // Nobody can listen any more, not even again.
            let _: String = pair
                .server
                .ask(&["ACL", "SETUSER", "default", "-subscribe"])
                .await;
            let _: i64 = pair.server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
        sleep(ms(20)).await;
        let calls = pair.two.calls();
        pair.one.shared.cache.purge(&purge("own"), pair.one.now());
        let told = pair.one.shared.cache.sync(pair.one.cx(s(1)).world()).await;
        assert_eq!(told, Ok(true));
        let took = until_purged(&pair.two, calls, &tagged()).await;
        assert!(took < s(1), "broken {broken}: {took:?}");
        sleep(ms(20)).await;
        // What was fetched after it is shared again, and lives.
        let again = pair.one.read(MINUTE, tagged()).await.unwrap();
        assert_eq!(*again.value, pair.two.calls());
        sleep(ms(500)).await;
        let again = pair.one.read(MINUTE, tagged()).await.unwrap();
        assert_eq!(
            (again.provenance.state, *again.value),
            (Freshness::Cached, pair.two.calls())
        );
    }
}

#[tokio::test]
async fn a_replica_that_starts_knows_what_was_purged_before_and_a_lost_list_outdates_everything() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one.read(MINUTE, unsaid()).await.unwrap();
    let record = pair.record().await;
    let world = Env::real();
    pair.one.shared.cache.purge(&purge_alpha(), pair.one.now());
    pair.one.shared.cache.sync(&world).await.unwrap();
    let late = Cache::with_shared_tier(&Config::default(), &world, "test", &pair.server.store());
    late.sync(&world).await.unwrap();
    let late = Scene::with(world.clone(), late);
    late.read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(late.calls(), 1, "it is dead");
    // A list that is lost, while what it killed comes back.
    while pair.record().await == record {
        sleep(ms(5)).await;
    }
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*purges*"]).await;
    let _: i64 = pair.server.ask(&["DEL", &keys[0]]).await;
    let kept = Kept {
        key: pair.key("cache"),
        value: record,
        ttl: s(60),
    };
    pair.store.put_many(vec![kept]).await.unwrap();
    sleep(ms(500)).await;
    let later = Cache::with_shared_tier(&Config::default(), &world, "test", &pair.server.store());
    later.sync(&world).await.unwrap();
    let later = Scene::with(world, later);
    later.read(MINUTE, unsaid()).await.unwrap();
    assert_eq!(later.calls(), 1);
}

#[tokio::test]
async fn redis_that_dies_costs_no_answer_and_is_used_again_when_it_is_back() {
    let Some(mut pair) = pair(s(10)).await else {
        return;
    };
    pair.one.read(MINUTE, unsaid()).await.unwrap();
    pair.record().await;
    pair.server.kill();
    for n in 0..20 {
        pair.two.shared.cache.purge(&purge_alpha(), pair.two.now());
        sleep(ms(2)).await;
        let began = Instant::now();
        let read = pair.two.read(MINUTE, unsaid()).await.unwrap();
        assert_eq!(*read.value, n + 1);
        assert!(began.elapsed() < ms(500), "{:?}", began.elapsed());
    }
    // What was purged meanwhile is told when it is back.
    let calls = pair.one.calls();
    pair.server.restart();
    until_there(&pair.store).await;
    let took = until_purged(&pair.one, calls, &unsaid()).await;
    assert!(took < s(2), "{took:?}");
    pair.record().await;
}

#[tokio::test]
async fn redis_that_hangs_is_waited_for_once() {
    let Some(server) = Server::start() else {
        return;
    };
    until_there(&server.store()).await;
    let world = Env::real();
    let store = server.store_that_waits(ms(50), s(3600));
    let scene = Scene::with(
        world.clone(),
        Cache::with_shared_tier(&Config::default(), &world, "test", &store),
    );
    let unkept = Script::says(&[("cache-control", "max-age=0")]);
    until_there(&store).await;
    let _: String = server.ask(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let read = async || {
        let began = Instant::now();
        scene.read(unkept.clone(), unsaid()).await.unwrap();
        began.elapsed()
    };
    let first = read().await;
    assert!(first >= ms(50) && first < ms(1000), "{first:?}");
    // Known by now, and not asked again for a while.
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(read().await);
    }
    assert!(all.iter().min().unwrap() < &ms(50), "{all:?}");
}
