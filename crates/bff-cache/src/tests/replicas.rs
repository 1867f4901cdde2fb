//! Tests that need two replicas on one real Redis. They are skipped where Redis is not installed.

use futures_util::future::join_all;

use super::*;
use crate::shared_tier::record::SharedRecord;
use bff_store::testing::{store_at, store_with_timeouts, wait_until_available};
use bff_store::{Key as StoreKey, Namespace, Record as StoreRecord, Store};
use test_servers::RedisServer;

/// The timeout of the store, also of [`store_at`].
const STORE_TIMEOUT: Duration = s(2);

/// A call that hangs until its reader leaves.
const HANGS: BackendScript = BackendScript {
    delay: s(3600),
    ..FRESH_FOR_A_MINUTE
};

/// Two replicas of one gateway, and their Redis.
struct Pair {
    one: Scene,
    two: Scene,
    store: Store,
    server: RedisServer,
}

async fn pair(wait: Duration) -> Option<Pair> {
    let server = RedisServer::start()?;
    let store = store_at(server.url());
    wait_until_available(&store).await;
    let config = Config {
        shared: SharedConfig {
            lease_wait: wait,
            ..SharedConfig::default()
        },
        ..Config::default()
    };
    let open = || {
        let (env, store) = (Env::real(), store_at(server.url()));
        let scene = Scene::with(env.clone(), replica(&config, &env, "test", &store));
        scene.shared.cache.follow(&store);
        scene
    };
    let (one, two) = (open(), open());
    Some(Pair {
        one,
        two,
        store,
        server,
    })
}

impl Pair {
    /// Waits for the record of the read that these tests make.
    async fn record(&self) -> Bytes {
        let key = self.key("cache");
        for _ in 0..3000 {
            let found = self.store.get_many(std::slice::from_ref(&key)).await;
            if let Some(record) = found.unwrap().remove(0) {
                return record;
            }
            sleep(ms(10)).await;
        }
        panic!("no record was stored");
    }

    fn key(&self, name: &'static str) -> StoreKey {
        let namespace = Namespace {
            name,
            evictable: true,
        };
        let key =
            (self.one.shared.cache).key::<u32>("alpha", Method::GET, "/things/1?a=b", &Public);
        StoreKey::of(namespace, &key.shared_key("test").unwrap(), &[])
    }

    fn calls(&self) -> u32 {
        self.one.calls() + self.two.calls()
    }
}

fn default_policy() -> CachePolicy {
    CachePolicy::default_for(false)
}

#[tokio::test]
async fn all_keys_expire_and_a_record_is_in_one_slot_with_its_lease() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    pair.record().await;
    pair.one.shared.cache.purge(&purge("other"), pair.one.now());
    pair.one.shared.cache.sync().await.unwrap();
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let ttl_left: i64 = pair.server.ask(&["PTTL", key]).await;
        assert!(ttl_left > 0, "{key}: {ttl_left}");
    }
    assert_eq!(pair.key("cache").tag(), pair.key("cache-lease").tag());
}

#[tokio::test]
async fn a_record_of_another_release_is_ignored_and_replaced() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    let mut bytes = pair.record().await.to_vec();
    bytes[0] += 1;
    let record = StoreRecord {
        key: pair.key("cache"),
        value: bytes.clone().into(),
        ttl: s(60),
    };
    pair.store.put_many(vec![record]).await.unwrap();
    let read = pair
        .two
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(
        (read.provenance.state, pair.two.calls()),
        (Freshness::Fresh, 1)
    );
    while pair.record().await == bytes {
        sleep(ms(5)).await;
    }
}

#[tokio::test]
async fn a_callers_responses_never_leave_the_process() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let mut private_policy = CachePolicy::default_for(true);
    private_policy.private_ttl(s(60));
    for (scene, calls) in [(&pair.one, 1), (&pair.two, 1), (&pair.two, 1)] {
        let ada = caller("ada", "a");
        let read = scene.read_by(
            &scene.cx(s(5)),
            ada,
            FRESH_FOR_A_MINUTE,
            private_policy.clone(),
        );
        read.await.unwrap();
        assert_eq!(scene.calls(), calls);
    }
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, [""; 0]);
}

#[tokio::test]
async fn the_lookups_of_one_screen_take_one_round_trip() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    // The number of reads of Redis from a socket. Reading the counter and following purges cost reads too.
    let reads = async || {
        let stats: String = pair.server.ask(&["INFO", "stats"]).await;
        let line = stats
            .lines()
            .find_map(|l| l.strip_prefix("total_reads_processed:"));
        line.unwrap().parse::<i64>().unwrap()
    };
    // Once, so that Redis has the script.
    pair.one
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    let overhead = reads().await;
    let overhead = reads().await - overhead;
    let languages = [
        "ca", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "nl",
    ];
    let segments = languages.map(|language| {
        let none = bff_context::scope::Region::NONE;
        bff_context::trusted::segment(language.parse().unwrap(), none, None).by_language()
    });
    let before = reads().await;
    let cx = pair.one.cx(s(3600));
    let screen = join_all(segments.map(|s| pair.one.read_by(&cx, s, HANGS, default_policy())));
    // The lookups are done, the calls are not.
    poll_until(screen, || pair.calls() == 1 + 12).await;
    let cost = reads().await - before - overhead;
    // One round trip, and the reads of purges meanwhile.
    let lookups = i64::try_from(languages.len()).unwrap();
    assert!(cost <= lookups / 2, "{cost} reads for {lookups} lookups");
}

#[tokio::test]
async fn a_dead_leaseholder_delays_others_by_lease_wait() {
    let Some(pair) = pair(ms(400)).await else {
        return;
    };
    // A replica died with the lease, and nothing releases it.
    let (lease, died) = (pair.key("cache-lease"), Bytes::from_static(b"died"));
    let Store::Redis(redis) = &pair.store else {
        unreachable!()
    };
    assert_eq!(redis.acquire_lease(&lease, &died, s(3600)).await, Ok(true));
    let started = Instant::now();
    pair.two
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    // The lease lasts an hour, and the read would fail at its deadline.
    assert!(started.elapsed() >= ms(300), "{:?}", started.elapsed());
}

/// Nothing waits for a lease that was released. Otherwise the second read would wait an hour, and fail at its deadline.
#[tokio::test]
async fn a_leaseholder_that_gave_up_delays_nothing() {
    let Some(pair) = pair(s(3600)).await else {
        return;
    };
    for ending in ["dropped", "failed"] {
        pair.store.delete_many(&[pair.key("cache")]).await.unwrap();
        pair.one.shared.cache.purge(&purge_alpha(), pair.one.now());
        pair.two.shared.cache.purge(&purge_alpha(), pair.two.now());
        sleep(ms(20)).await;
        if ending == "dropped" {
            let calls = pair.one.calls();
            let cx = pair.one.cx(s(3600));
            let read = pair.one.read_by(&cx, Public, HANGS, default_policy());
            poll_until(read, || pair.one.calls() > calls).await;
        } else {
            let broken = BackendScript::fails_with(Reason::Unavailable);
            pair.one.read(broken, default_policy()).await.unwrap_err();
        }
        let read = pair.two.read(FRESH_FOR_A_MINUTE, default_policy()).await;
        assert!(read.is_ok(), "{ending}: {:?}", read.err());
    }
}

#[tokio::test]
async fn a_reader_that_leaves_before_redis_replies_leaves_no_lease() {
    // Longer than the deadline of a read, which would fail if it waited for the lease.
    let Some(pair) = pair(s(3600)).await else {
        return;
    };
    // One other read, so that Redis has the script.
    let de = bff_context::trusted::segment(
        "de".parse().unwrap(),
        bff_context::scope::Region::NONE,
        None,
    );
    let other = (pair.one).read_by(
        &pair.one.cx(s(5)),
        de.by_language(),
        FRESH_FOR_A_MINUTE,
        default_policy(),
    );
    other.await.unwrap();
    // Redis receives the command, and replies after the reader has left.
    let _: String = pair.server.ask(&["CLIENT", "PAUSE", "1000", "ALL"]).await;
    let result = timeout(ms(100), pair.one.read(FRESH_FOR_A_MINUTE, default_policy())).await;
    assert!(result.is_err());
    wait_until_available(&pair.store).await;
    pair.two
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(pair.calls(), 2);
}

#[tokio::test]
async fn a_hanging_redis_delays_no_read_beyond_its_deadline() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let env = Env::real();
    let store = store_with_timeouts(server.url(), s(3600), ms(20));
    let scene = Scene::with(
        env.clone(),
        replica(&Config::default(), &env, "test", &store),
    );
    wait_until_available(&store).await;
    let _: String = server.ask(&["CLIENT", "PAUSE", "3600000", "ALL"]).await;
    let read = scene.read_by(
        &scene.cx(ms(300)),
        Public,
        FRESH_FOR_A_MINUTE,
        default_policy(),
    );
    let read = timeout(LIMIT, read).await;
    let failure = read.expect("Redis hangs for an hour").unwrap_err();
    assert_eq!(failure.reason(), Reason::Deadline);
}

#[tokio::test]
async fn a_read_waits_for_earlier_purges_and_not_for_later_ones() {
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
        read = timeout(LIMIT, scene.read(FRESH_FOR_A_MINUTE, default_policy())) => {
            read.expect("the read must not wait").unwrap();
        }
        () = busy => {}
    }
}

#[tokio::test]
async fn a_purge_is_published_once_for_all_reads_after_it() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let scene = &pair.one;
    let none = bff_context::scope::Region::NONE;
    let languages = [
        "ca", "da", "de", "en", "es", "et", "fi", "fr", "hr", "hu", "it", "nl",
    ];
    let segments = languages.map(|language| {
        bff_context::trusted::segment(language.parse().unwrap(), none, None).by_language()
    });
    // Each lookup, each record and each publication of purges is one script call.
    let scripts = async || {
        let stats: String = pair.server.ask(&["INFO", "commandstats"]).await;
        let calls = |line: &str| {
            let rest = line.strip_prefix("cmdstat_evalsha:calls=")?;
            rest.split(',').next()?.parse::<usize>().ok()
        };
        stats.lines().find_map(calls).unwrap()
    };
    scene
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    pair.record().await;
    let before = scripts().await;
    scene.shared.cache.purge(&purge("other"), scene.now());
    let cx = scene.cx(s(5));
    let all =
        join_all(segments.map(|s| scene.read_by(&cx, s, FRESH_FOR_A_MINUTE, default_policy())));
    assert!(all.await.iter().all(Result::is_ok));
    scene.wait_for_tasks().await;
    // Each read made a lookup and stored a record. The other calls were about the purge.
    let result = scripts().await - before - 2 * languages.len();
    assert!(result < languages.len() / 2, "{result} for one purge");
}

#[tokio::test]
async fn an_uncacheable_response_is_waited_for_once() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let uncacheable = BackendScript::responds(&[("cache-control", "no-store")]);
    pair.one
        .read(uncacheable.clone(), default_policy())
        .await
        .unwrap();
    assert_eq!(pair.record().await, SharedRecord::Uncacheable.encode());
    let both = [&pair.one, &pair.two];
    for calls in [3, 5] {
        // Two calls at once: no replica waits for the response to the other.
        let reads = both.map(|scene| {
            let cx = scene.cx(s(3600));
            scene.read_by(&cx, Public, HANGS, default_policy())
        });
        poll_until(join_all(reads), || pair.calls() == calls).await;
    }
    let reads = join_all(both.map(|scene| scene.read(uncacheable.clone(), default_policy())));
    assert!(reads.await.into_iter().all(|read| read.is_ok()));
    assert_eq!(pair.calls(), 7);
}

fn purge(tag: &str) -> Purge {
    serde_json::from_value(serde_json::json!({ "tags": [tag] })).unwrap()
}

fn purge_alpha() -> Purge {
    serde_json::from_str(r#"{"upstreams": ["alpha"]}"#).unwrap()
}

/// Waits until a replica detects that its entry is invalid, and fetches a new one.
async fn wait_until_purged(scene: &Scene, calls: u32, policy: &CachePolicy) {
    let purged = timeout(LIMIT, async {
        while scene.calls() == calls {
            let read = scene.read(FRESH_FOR_A_MINUTE, policy.clone());
            read.await.unwrap();
            sleep(ms(5)).await;
        }
    });
    // Without the purge the entry would be fresh for a minute.
    purged.await.expect("the purge must reach the replica");
}

#[tokio::test]
async fn a_purge_reaches_every_replica_with_and_without_a_channel() {
    // Purges are valid everywhere within a second, also without a channel.
    assert!(crate::purge_replication::POLL + crate::purge_replication::BATCH_DELAY < ms(500));
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    let tagged = || {
        let mut policy = default_policy();
        policy.tag("own");
        policy
    };
    for broken in [false, true] {
        for scene in [&pair.one, &pair.two] {
            scene.read(FRESH_FOR_A_MINUTE, tagged()).await.unwrap();
        }
        if broken {
            // No replica can subscribe any more, not even again.
            let _: String = pair
                .server
                .ask(&["ACL", "SETUSER", "default", "-subscribe"])
                .await;
            let _: i64 = pair.server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
        sleep(ms(20)).await;
        let calls = pair.two.calls();
        pair.one.shared.cache.purge(&purge("own"), pair.one.now());
        let result = pair.one.shared.cache.sync().await;
        assert_eq!(result, Ok(true));
        wait_until_purged(&pair.two, calls, &tagged()).await;
        pair.two.wait_for_tasks().await;
        // An entry fetched after the purge is shared again, and stays valid.
        let again = pair.one.read(FRESH_FOR_A_MINUTE, tagged()).await.unwrap();
        assert_eq!(*again.value, pair.two.calls());
        sleep(ms(500)).await;
        let again = pair.one.read(FRESH_FOR_A_MINUTE, tagged()).await.unwrap();
        assert_eq!(
            (again.provenance.state, *again.value),
            (Freshness::Cached, pair.two.calls())
        );
    }
}

#[tokio::test]
async fn a_new_replica_knows_earlier_purges_and_a_lost_list_invalidates_everything() {
    let Some(pair) = pair(s(10)).await else {
        return;
    };
    pair.one
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    let record = pair.record().await;
    let env = Env::real();
    pair.one.shared.cache.purge(&purge_alpha(), pair.one.now());
    pair.one.shared.cache.sync().await.unwrap();
    let started_late = replica(
        &Config::default(),
        &env,
        "test",
        &store_at(pair.server.url()),
    );
    started_late.sync().await.unwrap();
    let started_late = Scene::with(env.clone(), started_late);
    started_late
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(
        started_late.calls(),
        1,
        "the purged record must not be served"
    );
    // The list is lost, and a record that it invalidated comes back.
    while pair.record().await == record {
        sleep(ms(5)).await;
    }
    let keys: Vec<String> = pair.server.ask(&["KEYS", "*purges*"]).await;
    let _: i64 = pair.server.ask(&["DEL", &keys[0]]).await;
    let record = StoreRecord {
        key: pair.key("cache"),
        value: record,
        ttl: s(60),
    };
    pair.store.put_many(vec![record]).await.unwrap();
    sleep(ms(500)).await;
    let started_later = replica(
        &Config::default(),
        &env,
        "test",
        &store_at(pair.server.url()),
    );
    started_later.sync().await.unwrap();
    let started_later = Scene::with(env, started_later);
    started_later
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    assert_eq!(started_later.calls(), 1);
}

#[tokio::test]
async fn a_dead_redis_fails_no_read_and_is_used_again_after_its_recovery() {
    let Some(mut pair) = pair(s(10)).await else {
        return;
    };
    pair.one
        .read(FRESH_FOR_A_MINUTE, default_policy())
        .await
        .unwrap();
    pair.record().await;
    pair.server.kill();
    let mut waited = 0;
    for n in 0..20 {
        pair.two.shared.cache.purge(&purge_alpha(), pair.two.now());
        sleep(ms(2)).await;
        let started = Instant::now();
        let read = pair
            .two
            .read(FRESH_FOR_A_MINUTE, default_policy())
            .await
            .unwrap();
        assert_eq!(*read.value, n + 1);
        waited += u32::from(started.elapsed() >= STORE_TIMEOUT);
    }
    assert!(waited < 10, "{waited} of 20 reads waited for Redis");
    // The purges from the outage are published after the recovery.
    let calls = pair.one.calls();
    pair.server.restart();
    wait_until_available(&pair.store).await;
    wait_until_purged(&pair.one, calls, &default_policy()).await;
    pair.record().await;
}

#[tokio::test]
async fn a_hanging_redis_is_waited_for_once() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    wait_until_available(&store_at(server.url())).await;
    let env = Env::real();
    let store = store_with_timeouts(server.url(), STORE_TIMEOUT, s(3600));
    let scene = Scene::with(
        env.clone(),
        replica(&Config::default(), &env, "test", &store),
    );
    let uncacheable = BackendScript::responds(&[("cache-control", "max-age=0")]);
    wait_until_available(&store).await;
    let _: String = server.ask(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let read = async || {
        let started = Instant::now();
        scene
            .read(uncacheable.clone(), default_policy())
            .await
            .unwrap();
        started.elapsed()
    };
    let first = read().await;
    assert!(first >= STORE_TIMEOUT, "{first:?}");
    // The store does not try again for an hour.
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(read().await);
    }
    assert!(all.iter().min().unwrap() < &STORE_TIMEOUT, "{all:?}");
}
