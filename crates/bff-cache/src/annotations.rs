//! Notes about a request, stored in the memory tier beside the entries. They may be evicted at any time, so only
//! performance may depend on them.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::Cache;
use super::entry::{CachedResult, Entry};
use super::key::Key;
use super::rfc9111::StorageDecision;

impl Cache {
    /// The note under a key.
    pub fn annotation<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.0.memory.as_ref()?.get(key)?.value().ok()
    }

    /// Stores a note, replacing an earlier one.
    pub fn set_annotation<T: Send + Sync + 'static>(&self, key: &Key, note: T) {
        let note = Entry {
            result: CachedResult::Value(Arc::new(note)),
            decision: StorageDecision::default(),
            head: HeaderMap::new(),
            bytes: 0,
            received_at: Instant::now(),
            requested_at: 0,
            tags: Box::default(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        };
        self.put(key, &Arc::new(note));
    }

    /// Whether the response to a request was uncacheable within the hit-for-miss TTL.
    pub fn is_hit_for_miss(&self, key: &Key) -> bool {
        self.0.uncacheable.contains(key)
    }

    /// Marks the response to a request as uncacheable.
    pub fn mark_hit_for_miss(&self, key: &Key) {
        self.0.uncacheable.add(key);
    }
}
