//! The rows of `benches cache` that need Redis: a cache hit in Redis, and concurrent reads at two replicas.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bff_core::RequestContext;
use bff_core::cache::Config;
use bff_core::config::Secret;
use bff_core::context::Env;
use bff_core::net::{Connection, InMemoryNetwork, Net};
use bff_core::store::{self, Store};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::cache::shop::{Backend, Shop};

pub(crate) const L2_HIT_LABEL: &str = "an entry of another replica, in Redis";
pub(crate) const CONCURRENT_LABEL: &str = "each of 1,000 at once, 2 replicas";

/// Sequential reads per round.
const SEQUENTIAL_READS: u32 = 2000;
/// Concurrent reads per round.
const CONCURRENT_READS: u32 = 1000;

/// Nanoseconds per read for each round and row; empty without Redis.
pub(crate) async fn rounds(rounds: usize) -> Result<[Vec<u128>; 2]> {
    let Some(redis) = Redis::start().await? else {
        return Ok([Vec::new(), Vec::new()]);
    };
    let (mut l2_hits, mut concurrent) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let replicas = Replicas::open(&redis)?;
        l2_hits.push(replicas.read_from_l2(round).await?);
        concurrent.push(replicas.read_concurrently(round).await?);
    }
    Ok([l2_hits, concurrent])
}

/// Two replicas of a gateway with one backend.
struct Replicas {
    backend: Backend,
    one: Shop,
    two: Shop,
}

impl Replicas {
    fn open(redis: &Redis) -> Result<Self> {
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let backend = Backend::default();
        tokio::spawn(
            backend
                .clone()
                .serve(pipes.listen("product:80"), "max-age=3600"),
        );
        let replica = |seed| {
            let env = Env::seeded(seed, Net::InMemory(pipes.clone()));
            Shop::with(env, &Config::default(), &redis.store)
        };
        Ok(Self {
            backend,
            one: replica(1)?,
            two: replica(2)?,
        })
    }

    async fn read(shop: &Shop, id: &str) -> Result<()> {
        let cx = RequestContext::background(
            &shop.shared.client,
            &shop.shared.env,
            Duration::from_secs(30),
        );
        let read = shop.product.by_id(&cx, &id.parse()?).await;
        read.map_err(|failure| format!("{failure:?}"))?;
        Ok(())
    }

    async fn read_from_l2(&self, round: usize) -> Result<u128> {
        let ids: Vec<String> = (0..SEQUENTIAL_READS)
            .map(|n| format!("p-{round}-{n}"))
            .collect();
        for id in &ids {
            Self::read(&self.one, id).await?;
        }
        // Entries are written concurrently with the reads.
        self.one.shared.tasks.close();
        self.one.shared.tasks.wait().await;
        let calls = self.backend.calls();
        let start = Instant::now();
        for id in &ids {
            Self::read(&self.two, id).await?;
        }
        let elapsed = start.elapsed().as_nanos() / u128::from(SEQUENTIAL_READS);
        if self.backend.calls() != calls {
            return Err("an entry was not in Redis".into());
        }
        Ok(elapsed)
    }

    async fn read_concurrently(&self, round: usize) -> Result<u128> {
        let (id, calls) = (format!("concurrent-{round}"), self.backend.calls());
        let start = Instant::now();
        let reads = (0..CONCURRENT_READS)
            .map(|n| Self::read(if n % 2 == 0 { &self.one } else { &self.two }, &id));
        try_join_all(reads).await?;
        let elapsed = start.elapsed().as_nanos() / u128::from(CONCURRENT_READS);
        match self.backend.calls() - calls {
            1 => Ok(elapsed),
            other => Err(format!("the concurrent reads made {other} calls").into()),
        }
    }
}

/// A redis-server process. Dropping it stops the process.
struct Redis {
    child: Child,
    store: Store,
}

impl Redis {
    async fn start() -> Result<Option<Self>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            return Ok(None);
        };
        let config = store::Config {
            url: Some(Secret::new(format!("redis://127.0.0.1:{port}"))),
            timeout: Duration::from_secs(2),
            ..store::Config::default()
        };
        let redis = Self {
            child,
            store: Store::open(&config, &Env::real())?,
        };
        for _ in 0..500 {
            if redis.store.publish("bench", "ping".into()).await.is_ok() {
                return Ok(Some(redis));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err("redis-server does not respond".into())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // These calls fail only if the process has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
