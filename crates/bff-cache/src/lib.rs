//! The cache of backend responses: RFC 9111 decisions, single-flight, purges, and a tier in Redis that replicas share.
//!
//! The cache knows a fetch function, not the backend behind it. Read `read_through.rs` first: it shows the order of a
//! read. `rfc9111.rs` decides what may be stored. The scope of a call is part of every key, so it decides which callers
//! share a response. `shared_tier.rs` shares responses between replicas, and `purge_replication.rs` shares purges.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::Method;
use tokio_util::task::TaskTracker;

use bff_context::scope::Scope;
use bff_runtime::net::Env;
use bff_store::{Store, StoreUnavailable};
use bff_telemetry::Metrics;

pub use bff_context::context::CacheResult;
pub use config::{Config, SharedConfig};
pub use entry::{DecodeFn, DecodedBody};
pub use hash::Tag;
pub use key::Key;
pub use policy::{CacheOverrides, CachePolicy, RouteCacheOverrides};
pub use purge::Purge;

pub use fetch_context::{FetchContext, FetchResult, FullResponse};
pub use read_key::ReadKey;
pub use read_through::ReadThrough;

use local_tier::LocalTier;
use memory::Memory;
use purge_replication::PurgeReplication;
use shared_tier::SharedTier;
use single_flight::SingleFlight;

mod config;
mod directives;
mod entry;
mod fetch;
mod fetch_context;
mod hash;
mod hit_for_miss;
mod key;
pub mod length_prefixed;
mod local_tier;
mod memory;
mod policy;
mod purge;
mod purge_replication;
mod purge_timestamps;
mod read_key;
mod read_through;
pub mod rfc9111;
mod shared_tier;
mod single_flight;
pub mod status;
#[cfg(test)]
mod tests;

/// The cache and the flights of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    config: Config,
    seed: u64,
    local: Arc<LocalTier>,
    shared: Option<Arc<SharedTier>>,
    flights: SingleFlight,
    revalidating: AtomicUsize,
    env: Env,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl Cache {
    /// An empty cache of this process alone. The seed of its hashes comes from `env`.
    pub fn new(config: &Config, env: &Env, tasks: &TaskTracker, metrics: &Metrics) -> Self {
        let local = Arc::new(LocalTier::new(config.max_bytes));
        Self::build(config, (env, tasks, metrics), local, None)
    }

    /// A cache that shares its entries with the other replicas of `gateway`, if `store` is Redis.
    pub fn with_shared_tier(
        config: &Config,
        env: &Env,
        tasks: &TaskTracker,
        metrics: &Metrics,
        (gateway, store): (&str, &Store),
    ) -> Self {
        let local = Arc::new(LocalTier::new(config.max_bytes));
        let handles = (env, tasks, metrics);
        let shared = SharedTier::new(&config.shared, gateway, store, &local, handles);
        let shared = shared.filter(|_| config.max_bytes > 0).map(Arc::new);
        Self::build(config, handles, local, shared)
    }

    fn build(
        config: &Config,
        (env, tasks, metrics): (&Env, &TaskTracker, &Metrics),
        local: Arc<LocalTier>,
        shared: Option<Arc<SharedTier>>,
    ) -> Self {
        Self(Arc::new(Inner {
            // A fork, so that this draw does not change the sequence of `env`.
            seed: env.fork("cache").random(),
            local,
            shared,
            flights: SingleFlight::new(),
            revalidating: AtomicUsize::new(0),
            config: config.clone(),
            env: env.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
        }))
    }

    /// The key of a response that is decoded as `T`.
    pub fn key<T: 'static>(
        &self,
        upstream: &'static str,
        method: Method,
        target: impl Into<Bytes>,
        scope: &impl Scope,
    ) -> Key {
        Key::new::<T>(self.0.seed, upstream, method, target.into(), scope)
    }

    /// The value of the entry under `key`, fresh or not.
    pub fn peek<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.0.local.get(key)?.value().ok()
    }

    /// Whether the response to a request was uncacheable within the hit-for-miss TTL.
    pub fn is_hit_for_miss(&self, key: &Key) -> bool {
        self.0.local.is_hit_for_miss(key)
    }

    /// Marks the response to a request as uncacheable.
    pub fn mark_hit_for_miss(&self, key: &Key) {
        self.0.local.mark_hit_for_miss(key);
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.0.local.memory.as_ref().map_or(0, Memory::bytes)
    }

    fn purge_replication(&self) -> Option<&PurgeReplication> {
        Some(&self.0.shared.as_ref()?.purge_replication)
    }

    /// Publishes all pending purges and reads all new ones; false if there is no shared tier.
    ///
    /// # Errors
    /// If Redis is unavailable.
    pub async fn sync(&self) -> Result<bool, StoreUnavailable> {
        let Some(replication) = self.purge_replication() else {
            return Ok(false);
        };
        replication.sync().await.map(|()| true)
    }

    /// Keeps this replica up to date until the tasks of the gateway are closed. Must be called inside a runtime.
    pub fn follow(&self, store: &Store) {
        let Some(shared) = self.0.shared.clone() else {
            return;
        };
        let tasks = self.0.tasks.clone();
        let announcements = purge_replication::subscribe(store, &tasks);
        // Not tracked, because draining would wait for it. It ends when draining ends.
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = tasks.wait() => {}
                () = shared.purge_replication.follow(announcements) => {}
            }
        });
    }

    /// A permit for one background revalidation; `None` at the limit. Dropping it frees the slot.
    fn try_start_revalidation(&self) -> Option<RevalidationPermit> {
        let increment =
            |running| (running < self.0.config.max_background_revalidations).then(|| running + 1);
        let previous = self
            .0
            .revalidating
            .fetch_update(Relaxed, Relaxed, increment);
        previous.ok().map(|_| RevalidationPermit(self.clone()))
    }
}

struct RevalidationPermit(Cache);

impl Drop for RevalidationPermit {
    fn drop(&mut self) {
        self.0.0.revalidating.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.0.local.memory.as_ref();
        f.debug_struct("Cache")
            .field("entries", &memory.map(Memory::len))
            .field("bytes", &memory.map(Memory::bytes))
            .finish_non_exhaustive()
    }
}
