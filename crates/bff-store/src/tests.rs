//! One test suite for both stores, and tests that need one of them.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::testing::{store_at, wait_until_available};
use crate::{Config, Key, Namespace, Record, Store, StoreUnavailable};
use bff_config::Secret;
use bff_runtime::net::Env;
use test_servers::RedisServer;

mod cluster;

const EVICTABLE: Namespace = Namespace {
    name: "test",
    evictable: true,
};
const NOT_EVICTABLE: Namespace = Namespace {
    name: "not-evictable",
    evictable: false,
};

/// Both stores.
pub(super) async fn both_stores() -> Vec<(Store, Option<RedisServer>)> {
    let mut stores = vec![(Store::memory(1 << 20, &Env::real()), None)];
    if let Some(server) = RedisServer::start() {
        let store = store_at(server.url());
        wait_until_available(&store).await;
        stores.push((store, Some(server)));
    }
    stores
}

fn key(name: &str) -> Key {
    Key::of(EVICTABLE, name.as_bytes(), &[])
}

fn record(name: &str, value: &'static str, ttl: Duration) -> Record {
    Record {
        key: key(name),
        value: Bytes::from_static(value.as_bytes()),
        ttl,
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(40);

#[tokio::test]
async fn a_record_is_returned_until_it_expires_or_is_deleted() {
    for (store, _server) in both_stores().await {
        let records = vec![
            record("a", "1", LONG),
            record("b", "2", LONG),
            record("c", "3", SHORT),
        ];
        store.put_many(records).await.unwrap();
        store.put_many(vec![record("a", "4", LONG)]).await.unwrap();
        let keys = [key("b"), key("none"), key("a")];
        let values = store.get_many(&keys).await.unwrap();
        assert_eq!(values, [Some("2".into()), None, Some("4".into())]);
        // Empty lists are allowed.
        assert_eq!(store.get_many(&[]).await.unwrap(), [] as [Option<Bytes>; 0]);
        store.put_many(Vec::new()).await.unwrap();
        store.delete_many(&[]).await.unwrap();
        tokio::time::sleep(SHORT + SHORT).await;
        assert_eq!(store.get_many(&[key("c")]).await.unwrap(), [None]);
        store.delete_many(&[key("a"), key("none")]).await.unwrap();
        assert_eq!(
            store.get_many(&keys).await.unwrap(),
            [Some("2".into()), None, None]
        );
    }
}

#[tokio::test]
async fn a_lease_has_one_holder_and_only_the_holder_releases_it() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = store_at(server.url());
    wait_until_available(&store).await;
    let Store::Redis(redis) = &store else {
        unreachable!()
    };
    let key = Key::of(NOT_EVICTABLE, b"lease", &[]);
    let [one, two] = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    assert_eq!(redis.acquire_lease(&key, &one, SHORT).await, Ok(true));
    assert_eq!(redis.acquire_lease(&key, &two, LONG).await, Ok(false));
    tokio::time::sleep(SHORT + SHORT).await;
    assert_eq!(redis.acquire_lease(&key, &two, LONG).await, Ok(true));
    // Too late: the lease expired and has another holder.
    redis.release_lease(&key, &one).await.unwrap();
    assert_eq!(redis.acquire_lease(&key, &one, LONG).await, Ok(false));
    redis.release_lease(&key, &two).await.unwrap();
    assert_eq!(redis.acquire_lease(&key, &one, LONG).await, Ok(true));
}

#[tokio::test]
async fn a_message_reaches_every_subscriber() {
    let tasks = TaskTracker::new();
    for (store, _server) in both_stores().await {
        let mut one = store.subscribe("purge", &tasks);
        let mut two = store.subscribe("purge", &tasks);
        if matches!(store, Store::Redis(_)) {
            // The gap before the subscription.
            assert_eq!((one.next().await, two.next().await), (None, None));
        }
        store
            .publish("purge", Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(one.next().await, Some("x".into()));
        assert_eq!(two.next().await, Some("x".into()));
    }
}

#[tokio::test]
async fn insert_if_absent_and_compare_and_swap_are_conditional() {
    for (store, _server) in both_stores().await {
        let put = async |value| {
            store
                .insert_if_absent(&record("new", value, LONG))
                .await
                .unwrap()
        };
        assert_eq!(put("1").await, None);
        let existing = put("2").await.unwrap();
        assert_eq!(existing.value, "1");
        assert!(existing.ttl_left <= LONG && existing.ttl_left + Duration::from_secs(10) > LONG);
        let swap = async |expected: &'static str, replacement: Option<(&'static str, Duration)>| {
            let replacement = replacement.map(|(value, ttl)| (Bytes::from(value), ttl));
            let expected = Bytes::from(expected);
            store
                .compare_and_swap(&key("new"), &expected, replacement)
                .await
                .unwrap()
        };
        assert!(!swap("2", Some(("3", LONG))).await);
        assert!(swap("1", Some(("3", SHORT))).await);
        assert_eq!(put("4").await.unwrap().value, "3");
        tokio::time::sleep(SHORT + SHORT).await;
        assert!(!swap("3", None).await, "the record has expired");
        assert_eq!(put("5").await, None);
        assert!(swap("5", None).await);
        assert_eq!(store.get_many(&[key("new")]).await.unwrap(), [None]);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_limited_and_evicts_only_evictable_records() {
    let max_bytes = 64 << 10;
    // Seeded: with a random seed, one shard may have too little room.
    let store = Store::memory(max_bytes, &Env::seeded(1, bff_runtime::net::Net::Tcp));
    let Store::Memory(memory) = &store else {
        unreachable!()
    };
    let put = |space, i: u32| Record {
        key: Key::of(space, &i.to_le_bytes(), &[]),
        value: Bytes::from_static(&[0; 100]),
        ttl: LONG,
    };
    let mut stored = Vec::new();
    for i in 0..10_000 {
        if store.put_many(vec![put(NOT_EVICTABLE, i)]).await.is_ok() {
            stored.push(put(NOT_EVICTABLE, i).key);
        }
        store.put_many(vec![put(EVICTABLE, i)]).await.unwrap();
    }
    assert!(memory.usage().1 <= 2 * max_bytes);
    assert!(stored.len() > 100 && stored.len() < 1000);
    let values = store.get_many(&stored).await.unwrap();
    assert!(values.iter().all(Option::is_some));
    assert_eq!(
        store.put_many(vec![put(NOT_EVICTABLE, 10_000)]).await,
        Err(StoreUnavailable)
    );
    // Writes remove expired records.
    tokio::time::advance(LONG).await;
    let before = memory.usage().0;
    for i in 0..64 {
        store
            .put_many(vec![put(NOT_EVICTABLE, i), put(EVICTABLE, i)])
            .await
            .unwrap();
    }
    assert!(memory.usage().0 < before / 2 && memory.usage().0 >= 128);
}

#[tokio::test]
async fn a_redis_restart_is_survived() {
    let Some(mut server) = RedisServer::start() else {
        return;
    };
    let store = store_at(server.url());
    wait_until_available(&store).await;
    store.put_many(vec![record("a", "1", LONG)]).await.unwrap();
    server.kill();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert_eq!(store.as_str(), "unavailable");
    server.restart();
    wait_until_available(&store).await;
    assert_eq!(store.as_str(), "redis");
    assert_eq!(store.get_many(&[key("a")]).await.unwrap(), [None]);
}

/// On a paused clock, so that both times are exact.
#[tokio::test(start_paused = true)]
async fn a_silent_redis_is_unavailable_after_the_timeout() {
    // A listener that never accepts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        url: Some(Secret::new(format!(
            "redis://{}",
            silent.local_addr().unwrap()
        ))),
        ..Config::default()
    };
    let store = Store::open(&config, &Env::real()).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert!(start.elapsed() >= config.timeout);
    // Now Redis is not called again for a while.
    let start = tokio::time::Instant::now();
    assert_eq!(store.get_many(&[key("a")]).await, Err(StoreUnavailable));
    assert!(start.elapsed() < config.timeout);
}

#[test]
fn keys_have_a_hash_tag_and_hide_their_parts() {
    let one = Key::of(EVICTABLE, b"alice", &[b"a", b"bc"]);
    let two = Key::of(EVICTABLE, b"alice", &[b"ab", b"c"]);
    assert_ne!(one, two);
    let tag = |key: &Key| key.as_str().split(['{', '}']).nth(1).unwrap().to_owned();
    assert_eq!(tag(&one), tag(&two));
    assert!(one.as_str().starts_with("bff2:test:{") && !one.as_str().contains("alice"));
    assert_ne!(tag(&one), tag(&Key::of(EVICTABLE, b"bob", &[])));
}
