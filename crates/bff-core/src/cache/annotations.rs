//! What this process knows of a request beside its answer: a word that is kept as copies are, and that nothing but
//! speed depends on.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::Cache;
use super::entry::{CachedResult, Entry};
use super::key::Key;
use super::rfc9111::StorageDecision;

impl Cache {
    /// What was noted under a key.
    pub(crate) fn annotation<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.0.memory.as_ref()?.get(key)?.value().ok()
    }

    /// Notes something, in the place of what was noted before.
    pub(crate) fn set_annotation<T: Send + Sync + 'static>(&self, key: &Key, note: T) {
        let note = Entry {
            what: CachedResult::Value(Arc::new(note)),
            terms: StorageDecision::default(),
            head: HeaderMap::new(),
            bytes: 0,
            arrived: Instant::now(),
            requested_at: 0,
            tags: Box::default(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        };
        self.put(key, &Arc::new(note));
    }

    /// Whether the answer to a request could not be kept a moment ago.
    pub(crate) fn is_hit_for_miss(&self, key: &Key) -> bool {
        self.0.unkept.has(key)
    }

    /// The answer to it cannot be kept.
    pub(crate) fn mark_hit_for_miss(&self, key: &Key) {
        self.0.unkept.add(key);
    }
}
