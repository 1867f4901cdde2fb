//! What this process knows of a request beside its answer: a word that is kept as copies are, and that nothing but
//! speed depends on.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::Cache;
use super::entry::{Entry, What};
use super::key::Key;
use super::rules::Terms;

impl Cache {
    /// What was noted under a key.
    pub(crate) fn noted<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.0.memory.as_ref()?.get(key)?.value().ok()
    }

    /// Notes something, in the place of what was noted before.
    pub(crate) fn note<T: Send + Sync + 'static>(&self, key: &Key, note: T) {
        let note = Entry {
            what: What::Value(Arc::new(note)),
            terms: Terms::default(),
            head: HeaderMap::new(),
            bytes: 0,
            arrived: Instant::now(),
            asked: 0,
            tags: Box::default(),
            failing: None.into(),
            found: false,
        };
        self.put(key, &Arc::new(note));
    }

    /// Whether the answer to a request could not be kept a moment ago.
    pub(crate) fn is_unkept(&self, key: &Key) -> bool {
        self.0.unkept.has(key)
    }

    /// The answer to it cannot be kept.
    pub(crate) fn unkept(&self, key: &Key) {
        self.0.unkept.add(key);
    }
}
