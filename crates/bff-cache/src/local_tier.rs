//! The tier in this process: decoded values, with the purges and writes that invalidate them.

use std::sync::Arc;

use super::entry::Entry;
use super::hit_for_miss::HitForMiss;
use super::key::Key;
use super::memory::Memory;
use super::purge_timestamps::{CALLER_WRITE_SLOTS, PURGE_SLOTS, PurgeTimestamps};

/// The first tier.
pub(super) struct LocalTier {
    /// `None` if caching is off.
    pub(super) memory: Option<Memory>,
    /// When each tag was purged.
    pub(super) purges: PurgeTimestamps,
    /// When each caller wrote to a backend.
    pub(super) caller_writes: PurgeTimestamps,
    uncacheable: HitForMiss,
}

impl LocalTier {
    /// An empty tier of at most `max_bytes` bytes.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            memory: Memory::new(max_bytes),
            purges: PurgeTimestamps::new(PURGE_SLOTS),
            caller_writes: PurgeTimestamps::new(CALLER_WRITE_SLOTS),
            uncacheable: HitForMiss::new(),
        }
    }

    /// The entry under `key`, unless it was invalidated.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.memory.as_ref()?.get(key)?;
        self.is_valid(key, &entry).then_some(entry)
    }

    /// Whether no purge and no write of the caller invalidated the entry.
    pub(super) fn is_valid(&self, key: &Key, entry: &Entry) -> bool {
        self.purges.is_newer(&entry.tags, entry.requested_at)
            && self.is_newer_than_callers_writes(key, entry.requested_at)
    }

    /// Whether no purge and no write of the caller invalidated a flight that started at `requested_at`.
    pub(super) fn is_current(&self, key: &Key, requested_at: u64) -> bool {
        self.purges.is_newer(&key.tags(), requested_at)
            && self.is_newer_than_callers_writes(key, requested_at)
    }

    fn is_newer_than_callers_writes(&self, key: &Key, requested_at: u64) -> bool {
        key.caller_tag()
            .is_none_or(|tag| self.caller_writes.is_newer(&[tag], requested_at))
    }

    /// Stores an entry. It replaces an earlier one.
    pub(super) fn put(&self, key: &Key, entry: &Arc<Entry>) {
        if let Some(memory) = &self.memory {
            memory.put(key.clone(), entry.clone());
        }
    }

    /// Removes the entry under `key`.
    pub(super) fn remove(&self, key: &Key) {
        if let Some(memory) = &self.memory {
            memory.remove(key);
        }
    }

    /// Whether the response to a request was uncacheable within the hit-for-miss TTL.
    pub(super) fn is_hit_for_miss(&self, key: &Key) -> bool {
        self.uncacheable.contains(key)
    }

    /// Marks the response to a request as uncacheable.
    pub(super) fn mark_hit_for_miss(&self, key: &Key) {
        self.uncacheable.add(key);
    }
}
