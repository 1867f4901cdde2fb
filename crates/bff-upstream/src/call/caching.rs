//! The cache policy of a call. Configuration can override it, and a backend's `no-store` always applies.

use std::fmt::Display;
use std::time::Duration;

use super::Call;
use bff_cache::{Cache, CachePolicy, Key};
use bff_context::scope::{Audience, Caller, Scope, Shareable};

impl<S: Scope> Call<S> {
    /// Adds a cache tag, in addition to the backend's own tags. A purge by tag removes the response, and so does a
    /// write with the same tag.
    #[must_use]
    pub fn cache_tag(mut self, tag: impl Display) -> Self {
        self.cache_policy.tag(&tag.to_string());
        self
    }

    /// Bypasses the cache: the call always goes to the backend, and the response is not stored. For polling.
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.cache_policy = CachePolicy::no_store(S::PERSONAL);
        self
    }

    /// The rules for storing the response.
    pub fn cache_policy(&self) -> &CachePolicy {
        &self.cache_policy
    }

    /// Moves the cache policy out of the call, which needs it no longer.
    pub fn take_cache_policy(&mut self) -> CachePolicy {
        std::mem::take(&mut self.cache_policy)
    }

    /// The cache key of a response of type `T`.
    pub fn key<T: 'static>(&self, cache: &Cache, upstream: &'static str) -> Key {
        let method = self.method.clone();
        cache.key::<T>(upstream, method, self.path(), &self.scope)
    }

    /// The callers that share the response.
    pub fn audience(&self) -> Audience {
        bff_context::trusted::audience(&self.scope)
    }
}

impl<S: Shareable> Call<S> {
    /// Sets the freshness lifetime. It replaces a positive lifetime from the backend, or a missing one.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.cache_policy.ttl(ttl);
        self
    }

    /// Sets how long after its freshness lifetime the response may be served during a revalidation (RFC 5861 §3).
    #[must_use]
    pub fn stale_while_revalidate(mut self, duration: Duration) -> Self {
        self.cache_policy.stale_while_revalidate(duration);
        self
    }

    /// Sets how long after its freshness lifetime the response may be served if the backend fails (RFC 5861 §4).
    #[must_use]
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.cache_policy.stale_if_error(duration);
        self
    }
}

impl Call<Caller> {
    /// Stores the response for this caller only, for at most one minute. Without it, responses for a caller are not
    /// stored.
    #[must_use]
    pub fn private_ttl(mut self, ttl: Duration) -> Self {
        self.cache_policy.private_ttl(ttl);
        self
    }
}
