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
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use bff_context::scope::Scope;
use bff_runtime::net::Env;
use bff_store::Store;
use bff_telemetry::Metrics;

pub use bff_context::context::CacheResult;
pub use hash::Tag;
pub use key::Key;
pub use policy::{CacheOverrides, CachePolicy, RouteCacheOverrides};
pub use purge::Purge;
pub use shared_tier::{Config as SharedConfig, DecodeFn};

pub use fetch_context::{FetchContext, FetchResult, FullResponse};
pub use read_through::{ReadKey, ReadThrough};

use entry::Entry;
use hit_for_miss::HitForMiss;
use memory::Memory;
use purge_replication::PurgeReplication;
use purge_timestamps::PurgeTimestamps;
use shared_tier::SharedTier;
use single_flight::SingleFlight;

mod annotations;
mod directives;
mod entry;
mod fetch;
mod fetch_context;
mod hash;
mod hit_for_miss;
mod key;
pub mod length_prefixed;
mod memory;
mod policy;
mod purge;
mod purge_replication;
mod purge_timestamps;
mod read_through;
pub mod rfc9111;
mod shared_tier;
mod single_flight;
pub mod status;
#[cfg(test)]
mod tests;

/// The slots of the table of purged tags.
const PURGE_SLOTS: usize = 1 << 16;
/// The slots of the table of callers that wrote.
const CALLER_WRITE_SLOTS: usize = 1 << 14;

/// The response cache of a gateway.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Size of the cache in this process, in bytes as received, with keys and heads. Default 67108864 (64 MiB): about
    /// ten thousand responses of 6 kB, a quarter of a small container. 0 turns caching off, in Redis too.
    pub max_bytes: u64,
    /// Background revalidations (RFC 5861 §3) at once. Default 64: a quarter of what one backend accepts from a
    /// gateway. Beyond it, the next reader revalidates.
    pub max_background_revalidations: usize,
    /// Whether equal calls at the same time become one. Default true. If false, each call is sent separately.
    pub coalesce_requests: bool,
    /// The tier that replicas share.
    pub shared: SharedConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_background_revalidations: 64,
            coalesce_requests: true,
            shared: SharedConfig::default(),
        }
    }
}

/// The cache and the flights of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    config: Config,
    seed: u64,
    memory: Option<Memory>,
    tier: Option<SharedTier>,
    flights: SingleFlight,
    purges: PurgeTimestamps,
    caller_writes: PurgeTimestamps,
    uncacheable: HitForMiss,
    revalidating: AtomicUsize,
    env: Env,
    tasks: TaskTracker,
    metrics: Metrics,
}

impl Cache {
    /// An empty cache of this process alone. The seed of its hashes comes from `env`.
    pub fn new(config: &Config, env: &Env, tasks: &TaskTracker, metrics: &Metrics) -> Self {
        Self::build(config, (env, tasks, metrics), None)
    }

    /// A cache that shares its entries with the other replicas of `gateway`, if `store` is Redis.
    pub fn with_shared_tier(
        config: &Config,
        env: &Env,
        tasks: &TaskTracker,
        metrics: &Metrics,
        (gateway, store): (&str, &Store),
    ) -> Self {
        let tier = SharedTier::new(&config.shared, gateway, store);
        Self::build(
            config,
            (env, tasks, metrics),
            tier.filter(|_| config.max_bytes > 0),
        )
    }

    fn build(
        config: &Config,
        (env, tasks, metrics): (&Env, &TaskTracker, &Metrics),
        tier: Option<SharedTier>,
    ) -> Self {
        Self(Arc::new(Inner {
            // A fork, so that this draw does not change the sequence of `env`.
            seed: env.fork("cache").random(),
            memory: Memory::new(config.max_bytes),
            tier,
            flights: SingleFlight::new(),
            purges: PurgeTimestamps::new(PURGE_SLOTS),
            caller_writes: PurgeTimestamps::new(CALLER_WRITE_SLOTS),
            uncacheable: HitForMiss::new(),
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

    /// The entry under `key`, unless it was invalidated.
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.0.memory.as_ref()?.get(key)?;
        self.is_valid(key, &entry).then_some(entry)
    }

    fn is_valid(&self, key: &Key, entry: &Entry) -> bool {
        self.0.purges.is_newer(&entry.tags, entry.requested_at)
            && self.is_newer_than_callers_writes(key, entry.requested_at)
    }

    /// Whether no purge and no write of the caller invalidated a flight that started at `requested_at`.
    fn is_current(&self, key: &Key, requested_at: u64) -> bool {
        self.0.purges.is_newer(&key.tags(), requested_at)
            && self.is_newer_than_callers_writes(key, requested_at)
    }

    fn is_newer_than_callers_writes(&self, key: &Key, requested_at: u64) -> bool {
        key.caller_tag()
            .is_none_or(|tag| self.0.caller_writes.is_newer(&[tag], requested_at))
    }

    fn tier(&self) -> Option<&SharedTier> {
        self.0.tier.as_ref()
    }

    fn purge_replication(&self) -> Option<&PurgeReplication> {
        self.tier().map(|tier| &tier.purge_replication)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.0.memory.as_ref().map_or(0, Memory::bytes)
    }

    fn put(&self, key: &Key, entry: &Arc<Entry>) {
        if let Some(memory) = &self.0.memory {
            memory.put(key.clone(), entry.clone());
        }
    }

    fn remove(&self, key: &Key) {
        if let Some(memory) = &self.0.memory {
            memory.remove(key);
        }
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
        let memory = self.0.memory.as_ref();
        f.debug_struct("Cache")
            .field("entries", &memory.map(Memory::len))
            .field("bytes", &memory.map(Memory::bytes))
            .finish_non_exhaustive()
    }
}
