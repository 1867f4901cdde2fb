//! A real cluster of three nodes: records are spread over it, and it may fail and recover.

use super::*;
use crate::idempotency::{BeginResult, Idempotency, IdempotentWrite};
use crate::session::{self, Sessions};
use crate::testing::{store_at, wait_until_available};
use crate::{RecordCipher, idempotency};
use test_servers::{RedisCluster, ask};

#[tokio::test]
async fn a_cluster_behaves_like_one_server_and_recovers() {
    let Some(mut cluster) = RedisCluster::start().await else {
        return;
    };
    let store = store_at(cluster.url());
    wait_until_available(&store).await;
    records(&store).await;
    for port in cluster.ports() {
        let key: String = ask(port, &["RANDOMKEY"]).await;
        assert_ne!(key, "", "every node has records");
    }
    writes(&store).await;
    sessions(&store).await;
    messages(&store).await;
    cluster.kill(0..3);
    assert_eq!(store.get_many(&[key("0")]).await, Err(StoreUnavailable));
    assert_eq!(store.as_str(), "unavailable");
    // A gateway may start while the cluster is down.
    let started_late = store_at(cluster.url());
    assert_eq!(
        started_late.get_many(&[key("0")]).await,
        Err(StoreUnavailable)
    );
    cluster.restart(0..3);
    cluster.wait_until_whole().await;
    wait_until_available(&started_late).await;
    wait_until_available(&store).await;
    records(&store).await;
}

/// Many records at once, spread over all nodes.
async fn records(store: &Store) {
    let name = |n: usize| format!("record {n}");
    let keys: Vec<Key> = (0..100).map(|n| key(&name(n))).collect();
    let record = |(n, key): (usize, &Key)| Record {
        key: key.clone(),
        value: Bytes::from(name(n)),
        ttl: LONG,
    };
    let all = keys.iter().enumerate().map(record).collect();
    store.put_many(all).await.unwrap();
    let value = store.get_many(&keys).await.unwrap();
    for (n, value) in value.into_iter().enumerate() {
        assert_eq!(value.unwrap(), name(n));
    }
    store.delete_many(&keys[..50]).await.unwrap();
    let remaining = store.get_many(&keys).await.unwrap();
    assert_eq!(remaining.iter().flatten().count(), 50);
    let Store::Redis(redis) = store else {
        unreachable!()
    };
    let [one, two] = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    for key in &keys[..10] {
        assert_eq!(redis.acquire_lease(key, &one, LONG).await, Ok(true));
        assert_eq!(redis.acquire_lease(key, &two, LONG).await, Ok(false));
        redis.release_lease(key, &one).await.unwrap();
    }
}

async fn writes(store: &Store) {
    let tasks = TaskTracker::new();
    let cipher = RecordCipher::open(&Config::default(), &Env::real()).unwrap();
    let idempotency = Idempotency::new(store.clone(), cipher, &tasks);
    for n in 0..20u8 {
        let begin = async || {
            let write = IdempotentWrite {
                owner: &[n],
                key_parts: &[b"act", b"k"],
                body_hash: [n; 32],
                max_duration: idempotency::RETENTION,
            };
            idempotency.begin(write).await
        };
        let Ok(BeginResult::New(claim)) = begin().await else {
            panic!("the key is new");
        };
        assert!(matches!(begin().await, Ok(BeginResult::InProgress)));
        assert!(claim.complete(b"done").await.unwrap());
        assert!(matches!(begin().await, Ok(BeginResult::Completed(_))));
    }
}

async fn sessions(store: &Store) {
    let env = Env::real();
    let cipher = RecordCipher::open(&Config::default(), &env).unwrap();
    let sessions = Sessions::new(store.clone(), cipher, &env, session::Config::default());
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(sessions.create("ada", n).await.unwrap());
    }
    assert_eq!(sessions.list::<u32>("ada").await.unwrap().len(), 10);
    sessions.remove_all("ada").await.unwrap();
    for id in &ids {
        assert_eq!(sessions.read::<u32>(id).await.unwrap(), None);
    }
}

/// Published at any node, received from another.
async fn messages(store: &Store) {
    let tasks = TaskTracker::new();
    let mut subscription = store.subscribe("purge", &tasks);
    assert_eq!(
        subscription.next().await,
        None,
        "the gap before the subscription"
    );
    for _ in 0..6 {
        store
            .publish("purge", Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(subscription.next().await, Some("x".into()));
    }
}
