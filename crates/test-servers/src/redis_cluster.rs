//! A cluster of three Redis servers.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::free_port;
use super::process::Process;
use super::redis::{ask, program, run};

/// The number of slots in a cluster.
const SLOTS: u16 = 16384;

/// Three servers of one test, each with a third of the slots.
#[derive(Debug)]
pub struct RedisCluster {
    program: PathBuf,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    bus: u16,
    folder: PathBuf,
    running: Option<Process>,
}

impl RedisCluster {
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

    /// A URL that names two of the nodes.
    pub fn url(&self) -> String {
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
            node.running = None;
        }
    }

    /// Starts these nodes again.
    pub fn restart(&mut self, range: Range<usize>) {
        for node in &mut self.nodes[range] {
            node.running = Some(Node::run(&self.program, node.port, node.bus, &node.folder));
        }
    }
}

impl Node {
    fn start(program: &Path) -> Self {
        let (port, bus) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("bff-cluster-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            port,
            bus,
            running: Some(Self::run(program, port, bus, &folder)),
            folder,
        }
    }

    fn run(program: &Path, port: u16, bus: u16, folder: &Path) -> Process {
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

    async fn ask(&self, args: &[&str]) -> String {
        ask(self.port, args).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running = None;
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
