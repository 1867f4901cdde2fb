//! What was fetched before and may be used again, and one call for all who want the same at once.
//!
//! It stands in front of every read: `answer` says in which order. What may be kept is decided in `rules` (RFC 9111)
//! from what the backend and the call say; who may share it by the call's scope, which is part of every key. Copies
//! are kept in this process, decoded, and behind it, where there is a Redis, as they came, for all replicas (`tier`).
//! What is purged or outdated by a write is so in all of them (`spread`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::context::Env;
use crate::scope::Scope;
use crate::store::Store;

pub use crate::context::CacheResult;
pub use hash::Tag;
pub use key::Key;
pub use policy::{CacheOverrides, CachePolicy, RouteCacheOverrides};
pub use purge::Purge;
pub use shared_tier::Config as SharedConfig;

pub(crate) use fetch::{FetchContext, FetchResult, FullResponse, store_response};
pub(crate) use read_through::{ReadKey, ReadThrough, get_fresh, get_or_fetch};

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
mod hash;
mod hit_for_miss;
mod key;
pub(crate) mod length_prefixed;
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

/// How many tags' purges are told apart.
const PURGES: usize = 1 << 16;
/// How many callers' writes are.
const WRITERS: usize = 1 << 14;

/// What a gateway keeps of what its backends answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most bytes of answers kept, as they were received, keys and heads included. Default 67108864 (64 MiB):
    /// about ten thousand answers of 6 kB, in a quarter of a small container. 0: nothing is kept.
    pub max_bytes: u64,
    /// The most answers asked for anew in the background at once, while stale ones are served. Default 64: a quarter
    /// of what one backend takes from a gateway; more wait for the next reader.
    pub max_background_revalidations: usize,
    /// Whether equal calls at the same time become one. Default true; off shows each call by itself.
    pub coalesce_requests: bool,
    /// What replicas share.
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

/// A gateway's copies and flights. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    config: Config,
    seed: u64,
    memory: Option<Memory>,
    tier: Option<SharedTier>,
    flights: SingleFlight,
    purged: PurgeTimestamps,
    written: PurgeTimestamps,
    unkept: HitForMiss,
    renewing: AtomicUsize,
}

impl Cache {
    /// An empty cache of this process alone. Its keys are placed by a seed of the world's.
    pub fn new(config: &Config, world: &Env) -> Self {
        Self::with(config, world, None)
    }

    /// A cache that shares what it keeps with the other replicas of `gateway`, if they have a store in common.
    pub fn with_shared_tier(config: &Config, world: &Env, gateway: &str, store: &Store) -> Self {
        let tier = SharedTier::new(&config.shared, gateway, store);
        Self::with(config, world, tier.filter(|_| config.max_bytes > 0))
    }

    fn with(config: &Config, world: &Env, tier: Option<SharedTier>) -> Self {
        Self(Arc::new(Inner {
            // Of its own draws, so that it moves nobody else's.
            seed: world.fork("cache").random(),
            memory: Memory::new(config.max_bytes),
            tier,
            flights: SingleFlight::new(),
            purged: PurgeTimestamps::new(PURGES),
            written: PurgeTimestamps::new(WRITERS),
            unkept: HitForMiss::new(),
            renewing: AtomicUsize::new(0),
            config: config.clone(),
        }))
    }

    /// The key of an answer of type `T`.
    pub(crate) fn key<T: 'static>(
        &self,
        upstream: &'static str,
        method: Method,
        target: impl Into<Bytes>,
        scope: &impl Scope,
    ) -> Key {
        Key::new::<T>(self.0.seed, upstream, method, target.into(), scope)
    }

    /// The copy under `key` that no purge has killed.
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.0.memory.as_ref()?.get(key)?;
        self.is_valid(key, &entry).then_some(entry)
    }

    fn is_valid(&self, key: &Key, entry: &Entry) -> bool {
        self.0.purged.is_newer(&entry.tags, entry.requested_at)
            && self.is_newer_than_callers_writes(key, entry.requested_at)
    }

    /// Whether nothing that was asked for at `asked` is outdated by now, as far as its key tells.
    fn is_current(&self, key: &Key, asked: u64) -> bool {
        self.0.purged.is_newer(&key.tags(), asked) && self.is_newer_than_callers_writes(key, asked)
    }

    fn is_newer_than_callers_writes(&self, key: &Key, asked: u64) -> bool {
        key.caller_tag()
            .is_none_or(|own| self.0.written.is_newer(&[own], asked))
    }

    fn tier(&self) -> Option<&SharedTier> {
        self.0.tier.as_ref()
    }

    fn spread(&self) -> Option<&PurgeReplication> {
        self.tier().map(|tier| &tier.spread)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
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

    /// A place for one renewal in the background, for as long as the guard lives.
    fn try_start_revalidation(&self) -> Option<RevalidationPermit> {
        let room = |busy| (busy < self.0.config.max_background_revalidations).then(|| busy + 1);
        let taken = self.0.renewing.fetch_update(Relaxed, Relaxed, room);
        taken.ok().map(|_| RevalidationPermit(self.clone()))
    }
}

struct RevalidationPermit(Cache);

impl Drop for RevalidationPermit {
    fn drop(&mut self) {
        self.0.0.renewing.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.0.memory.as_ref();
        f.debug_struct("Cache")
            .field("copies", &memory.map(Memory::len))
            .field("bytes", &memory.map(Memory::bytes))
            .finish_non_exhaustive()
    }
}
