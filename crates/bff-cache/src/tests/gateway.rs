//! The cache of a gateway in one process, or in two replicas on one Redis or on a cluster.

use std::sync::atomic::AtomicUsize;

use super::*;
use bff_store::Store;
use bff_store::testing::{store_at, wait_until_available};
use test_servers::{RedisCluster, RedisServer, ask};

/// The place of the shared entries.
pub(super) enum Setup {
    Process,
    Server(RedisServer),
    Cluster(RedisCluster),
}

impl Setup {
    pub(super) fn store(&self) -> Option<Store> {
        match self {
            Self::Process => None,
            Self::Server(server) => Some(store_at(server.url())),
            Self::Cluster(cluster) => Some(store_at(cluster.url())),
        }
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        match self {
            Self::Process => Vec::new(),
            Self::Server(server) => vec![server.port()],
            Self::Cluster(cluster) => cluster.ports(),
        }
    }

    /// A new gateway: one process, or two replicas.
    pub(super) async fn gateway(&self) -> Gateway {
        // Longer than any deadline: a read that waits for a lease that was not released fails.
        self.over([self.store(), self.store()], s(3600)).await
    }

    /// A new gateway on these stores.
    pub(super) async fn over(&self, stores: [Option<Store>; 2], lease_wait: Duration) -> Gateway {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{}", STARTED.fetch_add(1, Relaxed));
        let mut replicas = Vec::new();
        let (calls, ended) = (Arc::default(), Arc::default());
        for store in stores {
            let env = Env::real();
            let shared = SharedConfig {
                lease_wait,
                ..SharedConfig::default()
            };
            let config = Config {
                shared,
                ..Config::default()
            };
            let cache = match &store {
                Some(store) => replica(&config, &env, &name, store),
                None => in_process(&config, &env),
            };
            let mut scene = Scene::with(env, cache);
            (scene.calls, scene.ended_calls) = (Arc::clone(&calls), Arc::clone(&ended));
            let Some(store) = store else {
                replicas.push((scene, None));
                break;
            };
            wait_until_available(&store).await;
            scene.shared.cache.follow(&store);
            replicas.push((scene, Some(store)));
        }
        Gateway {
            replicas,
            ports: self.ports(),
        }
    }
}

/// A gateway. It counts the calls of all its replicas together.
pub(super) struct Gateway {
    replicas: Vec<(Scene, Option<Store>)>,
    ports: Vec<u16>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for scene in self.all() {
            scene.shared.tasks.close();
        }
    }
}

impl Gateway {
    /// The first replica.
    pub(super) fn one(&self) -> &Scene {
        &self.replicas[0].0
    }

    /// The second replica; in one process, the same one.
    pub(super) fn other(&self) -> &Scene {
        &self.replicas[self.replicas.len() - 1].0
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Scene> + Clone {
        self.replicas.iter().map(|(scene, _)| scene)
    }

    pub(super) fn calls(&self) -> u32 {
        self.one().calls()
    }

    /// The number of calls if each replica makes at most one.
    pub(super) fn one_call_per_replica(&self) -> std::ops::RangeInclusive<u32> {
        1..=u32::try_from(self.replicas.len()).unwrap()
    }

    /// Waits until all background tasks have ended.
    pub(super) async fn wait_for_tasks(&self) {
        for scene in self.all() {
            scene.wait_for_tasks().await;
        }
    }

    /// Advances the clocks of the process and the TTLs in Redis.
    pub(super) async fn advance_time(&self, time: Duration) {
        self.wait_for_tasks().await;
        for port in &self.ports {
            let keys: Vec<String> = ask(*port, &["KEYS", "*"]).await;
            for key in keys {
                let left: i64 = ask(*port, &["PTTL", &key]).await;
                let left = left - i64::try_from(time.as_millis()).unwrap();
                let _: i64 = ask(*port, &["PEXPIRE", &key, &left.to_string()]).await;
            }
        }
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        // A command in flight timed out.
        for (_, store) in &self.replicas {
            if let Some(store) = store {
                wait_until_available(store).await;
            }
        }
    }

    /// Runs an invalidation at the first replica and waits until all replicas know it.
    pub(super) async fn invalidate_everywhere(&self, invalidation: impl FnOnce(&Scene)) {
        // An entry requested in the same millisecond is invalidated too.
        sleep(ms(2)).await;
        invalidation(self.one());
        let result = self.one().shared.cache.sync().await;
        assert_eq!(result, Ok(self.replicas.len() > 1));
        let seen = |scene: &Scene| {
            scene
                .shared
                .cache
                .purge_replication()
                .map_or(0, crate::purge_replication::PurgeReplication::seen)
        };
        wait_until(|| seen(self.other()) >= seen(self.one())).await;
        sleep(ms(2)).await;
    }
}
