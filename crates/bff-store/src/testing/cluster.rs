//! A cluster of three servers.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use redis::Cmd;

use super::{free_port, program, run, store_at, store_with_timeouts};
use crate::Store;

/// The number of slots in a cluster.
const SLOTS: u16 = 16384;

/// Three servers of one test, each with a third of the slots.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    bus: u16,
    folder: PathBuf,
    child: Child,
}

impl Cluster {
    /// Starts it; `None` if redis-server is not installed and `REQUIRE_SERVICES` is not 1.
    pub async fn start() -> Option<Self> {
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
    pub fn store(&self) -> Store {
        store_at(self.url())
    }

    /// A store like [`Self::store`] with its own timeouts.
    pub fn store_with_timeouts(&self, timeout: Duration, retry_interval: Duration) -> Store {
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

    /// The ports of the nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Waits until every node has found the others.
    pub async fn wait_until_whole(&self) {
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
    pub fn kill(&mut self, range: Range<usize>) {
        for node in &mut self.nodes[range] {
            node.child.kill().expect("the test server must run");
            node.child.wait().expect("the test server must run");
        }
    }

    /// Starts these nodes again.
    pub fn restart(&mut self, range: Range<usize>) {
        for node in &mut self.nodes[range] {
            node.child = Node::run(&self.program, node.port, node.bus, &node.folder);
        }
    }
}

impl Node {
    fn start(program: &Path) -> Self {
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("bff-cluster-{port}"));
        std::fs::create_dir_all(&folder).expect("the test server must run");
        let child = Self::run(program, port, bus, &folder);
        Self {
            port,
            bus,
            folder,
            child,
        }
    }

    fn run(program: &Path, port: u16, bus: u16, folder: &Path) -> Child {
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
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))
            .expect("the test server must run");
        let mut command = Cmd::new();
        command.arg(args);
        for _ in 0..500 {
            let connection = client.get_multiplexed_async_connection().await;
            if let Ok(mut connection) = connection {
                return command
                    .query_async(&mut connection)
                    .await
                    .expect("the test server must run");
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
