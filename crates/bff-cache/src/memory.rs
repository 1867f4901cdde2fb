//! The first tier: entries in this process, limited by their size in bytes.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::entry::Entry;
use super::hash::PrehashedBuildHasher;
use super::key::Key;

/// The average size of an entry. It sizes the tables; no limit depends on it.
const AVERAGE_ENTRY_BYTES: u64 = 4 << 10;
/// Fixed, so that evictions do not depend on the number of cores.
const SHARDS: usize = 16;

/// Entries by key. If there is no room, the least used is evicted. Expiry is checked in the entries, so there is no
/// clock here.
pub(super) struct Memory(Cache<Key, Arc<Entry>, ByBytes, PrehashedBuildHasher>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        (key.bytes() + entry.weight()) as u64
    }
}

impl Memory {
    /// A cache of `max_bytes`; `None` if that is 0.
    pub(super) fn new(max_bytes: u64) -> Option<Self> {
        let items = usize::try_from(max_bytes / AVERAGE_ENTRY_BYTES).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(items.max(1))
            .weight_capacity(max_bytes)
            .build()
            .ok()
            .filter(|_| max_bytes > 0)?;
        let lifecycle = DefaultLifecycle::default();
        let cache =
            Cache::with_options(options, ByBytes, PrehashedBuildHasher::default(), lifecycle);
        Some(Self(cache))
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    pub(super) fn put(&self, key: Key, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    pub(super) fn remove(&self, key: &Key) {
        self.0.remove(key);
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
