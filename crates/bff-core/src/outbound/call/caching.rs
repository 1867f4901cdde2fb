//! What a call says about keeping its answer. Configuration may say otherwise, and a backend's refusal always stands.

use std::fmt::Display;
use std::time::Duration;

use super::Call;
use crate::cache::{Cache, CachePolicy, Key};
use crate::scope::{Audience, Caller, Scope, Shareable};

impl<S: Scope> Call<S> {
    /// Gives the answer a word that it can be purged by, beside those the backend gives. A write purges what has it.
    #[must_use]
    pub fn cache_tag(mut self, word: impl Display) -> Self {
        self.keep.tag(&word.to_string());
        self
    }

    /// Asks the backend itself, whatever is kept, and keeps nothing of the answer: for what is polled for changes.
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.keep = CachePolicy::no_store(S::PERSONAL);
        self
    }

    pub(crate) fn cache_policy(&self) -> &CachePolicy {
        &self.keep
    }

    /// The same, for the one who keeps; the call itself is only sent from now on.
    pub(crate) fn take_cache_policy(&mut self) -> CachePolicy {
        std::mem::take(&mut self.keep)
    }

    /// What an answer of type `T` is kept and shared under.
    pub(crate) fn key<T: 'static>(&self, cache: &Cache, upstream: &'static str) -> Key {
        let method = self.method.clone();
        cache.key::<T>(upstream, method, self.path(), &self.scope)
    }

    pub(crate) fn audience(&self) -> Audience {
        self.scope.audience()
    }
}

impl<S: Shareable> Call<S> {
    /// How long the answer is fresh, whatever positive lifetime the backend gives or does not give.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.keep.ttl(ttl);
        self
    }

    /// For how long after its freshness the answer may be served while it is asked for anew (RFC 5861 §3).
    #[must_use]
    pub fn stale_while_revalidate(mut self, bound: Duration) -> Self {
        self.keep.stale_while_revalidate(bound);
        self
    }

    /// For how long after its freshness the answer may be served when the backend fails (RFC 5861 §4).
    #[must_use]
    pub fn stale_if_error(mut self, bound: Duration) -> Self {
        self.keep.stale_if_error(bound);
        self
    }
}

impl Call<Caller> {
    /// Keeps the answer for this caller alone, for at most a minute. Without it nothing of a caller is kept.
    #[must_use]
    pub fn private_ttl(mut self, ttl: Duration) -> Self {
        self.keep.private_ttl(ttl);
        self
    }
}
