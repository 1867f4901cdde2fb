//! The copies kept in this process, bounded by their bytes.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::entry::Entry;
use super::hash::PrehashedBuildHasher;
use super::key::Key;

/// What a copy weighs on average: by this the tables are sized, and no bound depends on it.
const USUAL_BYTES: u64 = 4 << 10;
/// Fixed, so that what is thrown out does not depend on the machine.
const SHARDS: usize = 16;

/// Copies by key; what is used least goes first when there is no room. Entries know themselves how long they are
/// good, so nothing here has a clock.
pub(super) struct Memory(Cache<Key, Arc<Entry>, ByBytes, PrehashedBuildHasher>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        (key.bytes() + entry.weight()) as u64
    }
}

impl Memory {
    /// Room for `max_bytes`; `None` when that is nothing.
    pub(super) fn new(max_bytes: u64) -> Option<Self> {
        let items = usize::try_from(max_bytes / USUAL_BYTES).unwrap_or(usize::MAX);
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

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// Copies held.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
