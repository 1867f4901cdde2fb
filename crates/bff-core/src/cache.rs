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

use crate::context::World;
use crate::scope::Scope;
use crate::store::Store;

pub use hash::Tag;
pub use keep::{Keep, Rule, Rules};
pub use key::Key;
pub use purge::Purge;
pub use status::Lookup;
pub use tier::Config as SharedConfig;

pub(crate) use answer::{Ask, Read, answer, peek};
pub(crate) use fly::{Fetch, Got, Whole, keep};

use entry::Entry;
use flight::Flights;
use memory::Memory;
use spread::Spread;
use stamps::Stamps;
use tier::Tier;
use unkept::Unkept;

mod answer;
mod directives;
mod entry;
mod flight;
mod fly;
mod hash;
mod keep;
mod key;
mod memory;
mod note;
mod purge;
pub mod rules;
mod spread;
mod stamps;
pub mod status;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod tier;
mod unkept;

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
    pub max_renewals: usize,
    /// Whether equal calls at the same time become one. Default true; off shows each call by itself.
    pub share_calls: bool,
    /// What replicas share.
    pub shared: SharedConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_renewals: 64,
            share_calls: true,
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
    tier: Option<Tier>,
    flights: Flights,
    purged: Stamps,
    written: Stamps,
    unkept: Unkept,
    renewing: AtomicUsize,
}

impl Cache {
    /// An empty cache of this process alone. Its keys are placed by a seed of the world's.
    pub fn new(config: &Config, world: &World) -> Self {
        Self::with(config, world, None)
    }

    /// A cache that shares what it keeps with the other replicas of `gateway`, if they have a store in common.
    pub fn over(config: &Config, world: &World, gateway: &str, store: &Store) -> Self {
        let tier = Tier::new(&config.shared, gateway, store);
        Self::with(config, world, tier.filter(|_| config.max_bytes > 0))
    }

    fn with(config: &Config, world: &World, tier: Option<Tier>) -> Self {
        Self(Arc::new(Inner {
            // Of its own draws, so that it moves nobody else's.
            seed: world.named("cache").random(),
            memory: Memory::new(config.max_bytes),
            tier,
            flights: Flights::new(),
            purged: Stamps::new(PURGES),
            written: Stamps::new(WRITERS),
            unkept: Unkept::new(),
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
    fn kept(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.0.memory.as_ref()?.get(key)?;
        self.is_alive(key, &entry).then_some(entry)
    }

    fn is_alive(&self, key: &Key, entry: &Entry) -> bool {
        self.0.purged.allow(&entry.tags, entry.asked) && self.is_not_outwritten(key, entry.asked)
    }

    /// Whether nothing that was asked for at `asked` is outdated by now, as far as its key tells.
    fn is_current(&self, key: &Key, asked: u64) -> bool {
        self.0.purged.allow(&key.tags(), asked) && self.is_not_outwritten(key, asked)
    }

    fn is_not_outwritten(&self, key: &Key, asked: u64) -> bool {
        key.own()
            .is_none_or(|own| self.0.written.allow(&[own], asked))
    }

    fn tier(&self) -> Option<&Tier> {
        self.0.tier.as_ref()
    }

    fn spread(&self) -> Option<&Spread> {
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
    fn renewal(&self) -> Option<Renewal> {
        let room = |busy| (busy < self.0.config.max_renewals).then(|| busy + 1);
        let taken = self.0.renewing.fetch_update(Relaxed, Relaxed, room);
        taken.ok().map(|_| Renewal(self.clone()))
    }
}

struct Renewal(Cache);

impl Drop for Renewal {
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
