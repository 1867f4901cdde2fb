//! A real cluster of three: what lies anywhere in it is found, and it may go and come back.

use std::ops::Range;

use redis::Cmd;

use super::*;
use crate::rate_limit::tests as limits;
use crate::store::Config;
use crate::store::idempotency::{BeginResult, Idempotency, IdempotentWrite};
use crate::store::session::{self, Sessions};
use crate::store::{RecordCipher, idempotency};

/// The slots of a cluster.
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
            node.until_told(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])
                .await;
            let (from, to) = (from.to_string(), to.to_string());
            node.until_told(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])
                .await;
        }
        for other in &cluster.nodes[1..] {
            let (port, bus) = (other.port.to_string(), other.bus.to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            cluster.nodes[0].until_told(&meet).await;
        }
        cluster.until_whole().await;
        Some(cluster)
    }

    /// Some of its nodes; the third one is found.
    pub(crate) fn store(&self) -> Store {
        at(self.url())
    }

    pub(crate) fn store_that_waits(&self, timeout: Duration, pause: Duration) -> Store {
        waits(self.url(), timeout, pause)
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

    pub(crate) async fn until_whole(&self) {
        for node in &self.nodes {
            loop {
                let info = node.until_told(&["CLUSTER", "INFO"]).await;
                let whole = |text: &str| info.contains(text);
                if whole("cluster_state:ok") && whole("cluster_known_nodes:3") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The nodes at these places end at once.
    pub(crate) fn kill(&mut self, which: Range<usize>) {
        for node in &mut self.nodes[which] {
            node.child.kill().unwrap();
            node.child.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self, which: Range<usize>) {
        for node in &mut self.nodes[which] {
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
        let more = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--dir",
            &folder,
        ];
        run(program, port, &more.map(str::to_owned))
    }

    /// Its answer, once it is there to give one.
    async fn until_told(&self, words: &[&str]) -> String {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let mut command = Cmd::new();
        command.arg(words);
        for _ in 0..500 {
            let connection = client.get_multiplexed_async_connection().await;
            if let Ok(mut connection) = connection {
                return command.query_async(&mut connection).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never came");
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
async fn a_cluster_answers_as_one_server_does_and_comes_back_as_one() {
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let store = cluster.store();
    until_there(&store).await;
    records(&store).await;
    for node in &cluster.nodes {
        assert_ne!(node.until_told(&["RANDOMKEY"]).await, "", "each has some");
    }
    writes(&store).await;
    sessions(&store).await;
    limits::hold(&[cluster.store(), cluster.store()], 1000).await;
    messages(&store).await;
    cluster.kill(0..3);
    assert_eq!(store.get_many(&[key("0")]).await, Err(StoreUnavailable));
    assert_eq!(store.as_str(), "unavailable");
    // A gateway may start without it.
    let late = cluster.store();
    assert_eq!(late.get_many(&[key("0")]).await, Err(StoreUnavailable));
    cluster.restart(0..3);
    cluster.until_whole().await;
    until_there(&late).await;
    until_there(&store).await;
    records(&store).await;
}

/// Many at once, which lie everywhere.
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
    let got = store.get_many(&keys).await.unwrap();
    for (n, got) in got.into_iter().enumerate() {
        assert_eq!(got.unwrap(), name(n));
    }
    store.delete_many(&keys[..50]).await.unwrap();
    let left = store.get_many(&keys).await.unwrap();
    assert_eq!(left.iter().flatten().count(), 50);
    let Store::Redis(redis) = store else {
        unreachable!()
    };
    let [one, two] = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    for key in &keys[..10] {
        assert_eq!(redis.lease(key, &one, LONG).await, Ok(true));
        assert_eq!(redis.lease(key, &two, LONG).await, Ok(false));
        redis.release(key, &one).await.unwrap();
    }
}

async fn writes(store: &Store) {
    let shared = shared();
    let seal = RecordCipher::open(&Config::default(), &shared.env).unwrap();
    let memory = Idempotency::new(store.clone(), seal, &shared);
    for n in 0..20u8 {
        let begin = async || {
            let wanted = IdempotentWrite {
                whose: &[n],
                name: &[b"act", b"k"],
                body_hash: [n; 32],
                longest: idempotency::RETENTION,
            };
            memory.begin(wanted).await
        };
        let Ok(BeginResult::New(claim)) = begin().await else {
            panic!("it is the first");
        };
        assert!(matches!(begin().await, Ok(BeginResult::InProgress)));
        assert!(claim.done(b"done").await.unwrap());
        assert!(matches!(begin().await, Ok(BeginResult::Completed(_))));
    }
}

async fn sessions(store: &Store) {
    let world = Env::real();
    let seal = RecordCipher::open(&Config::default(), &world).unwrap();
    let sessions = Sessions::new(store.clone(), seal, &world, session::Config::default());
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

/// Published at any node, heard at another.
async fn messages(store: &Store) {
    let shared = shared();
    let mut heard = store.subscribe("purge", &shared);
    assert_eq!(
        heard.next().await,
        None,
        "the gap before the connection stood"
    );
    for _ in 0..6 {
        store
            .publish("purge", Bytes::from_static(b"x"))
            .await
            .unwrap();
        assert_eq!(heard.next().await, Some("x".into()));
    }
}
