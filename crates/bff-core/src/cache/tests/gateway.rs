//! A gateway's cache as one process has it, or two replicas over a Redis or a cluster.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::store::Store;
use crate::store::tests::cluster::Cluster;
use crate::store::tests::{Server, ask, until_there};

/// Where what is shared is kept.
pub(super) enum On {
    Process,
    Server(Server),
    Cluster(Cluster),
}

impl On {
    pub(super) fn store(&self) -> Option<Store> {
        match self {
            Self::Process => None,
            Self::Server(server) => Some(server.store()),
            Self::Cluster(cluster) => Some(cluster.store()),
        }
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        match self {
            Self::Process => Vec::new(),
            Self::Server(server) => vec![server.port()],
            Self::Cluster(cluster) => cluster.ports(),
        }
    }

    /// A gateway that nobody asked anything yet: one process, or two replicas.
    pub(super) async fn gateway(&self) -> Gateway {
        self.over([self.store(), self.store()]).await
    }

    /// The same, over these.
    pub(super) async fn over(&self, stores: [Option<Store>; 2]) -> Gateway {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{}", STARTED.fetch_add(1, Relaxed));
        let mut replicas = Vec::new();
        let (calls, ended) = (Arc::default(), Arc::default());
        for store in stores {
            let world = Env::real();
            let shared = SharedConfig {
                lease_wait: s(10),
                ..SharedConfig::default()
            };
            let config = Config {
                shared,
                ..Config::default()
            };
            let cache = match &store {
                Some(store) => Cache::with_shared_tier(&config, &world, &name, store),
                None => Cache::new(&config, &world),
            };
            let mut scene = Scene::with(world, cache);
            (scene.calls, scene.ended) = (Arc::clone(&calls), Arc::clone(&ended));
            let Some(store) = store else {
                replicas.push((scene, None));
                break;
            };
            until_there(&store).await;
            scene.shared.cache.follow(&store, &scene.shared);
            replicas.push((scene, Some(store)));
        }
        Gateway {
            replicas,
            ports: self.ports(),
        }
    }
}

/// A gateway, which counts the calls of all its replicas together.
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
    /// Who is asked first.
    pub(super) fn one(&self) -> &Scene {
        &self.replicas[0].0
    }

    /// Who is asked then: another replica, where there is one.
    pub(super) fn other(&self) -> &Scene {
        &self.replicas[self.replicas.len() - 1].0
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Scene> + Clone {
        self.replicas.iter().map(|(scene, _)| scene)
    }

    pub(super) fn calls(&self) -> u32 {
        self.one().calls()
    }

    /// At most one for each replica.
    pub(super) fn few(&self) -> std::ops::RangeInclusive<u32> {
        1..=u32::try_from(self.replicas.len()).unwrap()
    }

    /// Until all that is done beside the answers is done.
    pub(super) async fn settled(&self) {
        for scene in self.all() {
            while !scene.shared.tasks.is_empty() {
                sleep(ms(1)).await;
            }
        }
    }

    /// Time passes: for all clocks of the process, and for all that Redis keeps.
    pub(super) async fn pass(&self, time: Duration) {
        self.settled().await;
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
        // A question that was under way took that long.
        for (_, store) in &self.replicas {
            if let Some(store) = store {
                until_there(store).await;
            }
        }
    }

    /// What happens at `one` is known to all within a second.
    pub(super) async fn tell(&self, happens: impl FnOnce(&Scene)) {
        // What was asked for in the very millisecond is outdated too.
        sleep(ms(2)).await;
        happens(self.one());
        let told = self.one().shared.cache.sync(&Env::real()).await;
        assert_eq!(told, Ok(self.replicas.len() > 1));
        let seen = |scene: &Scene| {
            scene
                .shared
                .cache
                .spread()
                .map_or(0, crate::cache::purge_replication::PurgeReplication::seen)
        };
        let began = Instant::now();
        while seen(self.other()) < seen(self.one()) {
            sleep(ms(2)).await;
            assert!(began.elapsed() < s(1), "it was told too late");
        }
        sleep(ms(2)).await;
    }
}
