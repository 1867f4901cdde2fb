//! A real cluster of three nodes: records are spread over it, and it may fail and recover.

use std::ops::Range;

use redis::Cmd;

use super::*;
use crate::rate_limit::tests as limits;
use crate::store::Config;
use crate::store::idempotency::{BeginResult, Idempotency, IdempotentWrite};
use crate::store::session::{self, Sessions};
use crate::store::{RecordCipher, idempotency};

/// The number of slots in a cluster.
const SLOTS: u16 = 16384;

/// Three servers of one test, each with a third of the slots.
pub(crate) struct Cluster {
    program: PathBuf,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    bus: u16,
    folder: PathBuf,
    child: Child,
}

impl Cluster {
    pub(crate) async fn start() -> Option<Self> {
        let program = program()?;
        let nodes = (0..3).map(|_| Node::start(&program)).collect();
        let cluster = Self { program, nodes };
        for (n, node) in (0..).zip(&cluster.nodes) {
            let (from, to) = (SLOTS * n / 3, SLOTS * (n + 1) / 3 - 1);
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])
                .await;
            let (from, to) = (from.to_string(), to.to_string());
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await;
        }
        for other in &cluster.nodes[1..] {
            let (port, bus) = (other.port.to_string(), other.bus.to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            cluster.nodes[0].ask(&meet).await;
        }
        cluster.wait_until_whole().await;
        Some(cluster)
    }

    /// A store whose URL names two of the nodes.
    pub(crate) fn store(&self) -> Store {
        store_at(self.url())
    }

    pub(crate) fn store_with_timeouts(&self, timeout: Duration, retry_interval: Duration) -> Store {
        store_with_timeouts(self.url(), timeout, retry_interval)
    }

    fn url(&self) -> String {
        let [one, two, _] = &self.nodes[..] else {
            unreachable!()
        };
        format!(
            "redis+cluster://127.0.0.1:{},127.0.0.1:{}",
            one.port, two.port
        )
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    pub(crate) async fn wait_until_whole(&self) {
        for node in &self.nodes {
            loop {
                let info = node.ask(&["CLUSTER", "INFO"]).await;
                let has = |text: &str| info.contains(text);
                if has("cluster_state:ok") && has("cluster_known_nodes:3") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Kills these nodes.
    pub(crate) fn kill(&mut self, range: Range<usize>) {
        for node in &mut self.nodes[range] {
            node.child.kill().unwrap();
            node.child.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self, range: Range<usize>) {
        for node in &mut self.nodes[range] {
            node.child = Node::run(&self.program, node.port, node.bus, &node.folder);
        }
    }
}

impl Node {
    fn start(program: &PathBuf) -> Self {
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("bff-cluster-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let child = Self::run(program, port, bus, &folder);
        Self {
            port,
            bus,
            folder,
            child,
        }
    }

    fn run(program: &PathBuf, port: u16, bus: u16, folder: &std::path::Path) -> Child {
        let (bus, folder) = (bus.to_string(), folder.display().to_string());
        let args = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--dir",
            &folder,
        ];
        run(program, port, &args.map(str::to_owned))
    }

    /// Waits until the node answers, and returns its reply.
    async fn ask(&self, args: &[&str]) -> String {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut command = Cmd::new();
        command.arg(args);
        for _ in 0..500 {
            let connection = client.get_multiplexed_async_connection().await;
            if let Ok(mut connection) = connection {
                return command.query_async(&mut connection).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the node never answered");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[tokio::test]
async fn a_cluster_behaves_like_one_server_and_recovers() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let store = cluster.store();
    wait_until_available(&store).await;
    records(&store).await;
    for node in &cluster.nodes {
        assert_ne!(node.ask(&["RANDOMKEY"]).await, "", "every node has records");
    }
    writes(&store).await;
    sessions(&store).await;
    limits::hold(&[cluster.store(), cluster.store()], 1000).await;
    messages(&store).await;
    cluster.kill(0..3);
    assert_eq!(store.get_many(&[key("0")]).await, Err(StoreUnavailable));
    assert_eq!(store.as_str(), "unavailable");
    // A gateway may start while the cluster is down.
    let started_late = cluster.store();
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
    let handles = gateway_handles();
    let cipher = RecordCipher::open(&Config::default(), &handles.env).unwrap();
    let idempotency = Idempotency::new(store.clone(), cipher, &handles);
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
    let handles = gateway_handles();
    let mut subscription = store.subscribe("purge", &handles);
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
