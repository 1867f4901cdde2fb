//! A request to a gRPC backend, with its cache policy.

use std::time::Duration;

use http::HeaderMap;
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::policies::retry;
use crate::policies::retry::RetryTraits;
use bff_cache::{Cache, CachePolicy};
use bff_context::context::RequestContext;
use bff_context::context::request_id::X_REQUEST_ID;
use bff_context::context::urgency::PRIORITY;
use bff_context::scope::{Audience, Scope, Shareable, X_CLIENT};
use bff_runtime::net::Env;

/// A request to a gRPC backend: a unary call, or the first message of a stream. It owns its data, so that it can
/// outlive the client's request.
#[derive(Clone, Debug)]
pub struct Call<S, M> {
    pub(super) scope: S,
    pub(super) route: &'static str,
    pub(super) message: M,
    pub(super) write: bool,
    idempotent: bool,
    pub(super) cache_policy: CachePolicy,
}

impl<S: Scope, M> Call<S, M> {
    /// Creates a read of the method `route`, such as `/package.Service/Method`.
    pub fn read(scope: S, route: &'static str, message: M) -> Self {
        Self {
            scope,
            route,
            message,
            write: false,
            idempotent: true,
            cache_policy: CachePolicy::default_for(S::PERSONAL),
        }
    }

    /// Creates a write.
    pub fn write(scope: S, route: &'static str, message: M) -> Self {
        Self {
            write: true,
            idempotent: false,
            ..Self::read(scope, route, message)
        }
    }

    /// Declares the call idempotent: it may be retried even if the first attempt may have arrived.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    pub(super) fn retry_traits(&self) -> RetryTraits {
        RetryTraits {
            idempotent: self.idempotent,
            hedged: false,
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable_grpc,
        }
    }

    /// The metadata of the call: request id, urgency, client class, trace context and identity. HTTP backends get the
    /// same as headers.
    pub(super) fn metadata(&self, cx: &RequestContext, env: &Env) -> MetadataMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(X_REQUEST_ID, cx.request_id().header());
        headers.insert(PRIORITY, cx.urgency().header());
        headers.insert(X_CLIENT, cx.client().clone());
        cx.trace().propagate(&mut headers, env);
        bff_context::trusted::identify(&self.scope, &mut headers);
        MetadataMap::from_headers(headers)
    }
}

/// The cache policy of a read, as for a call over HTTP.
impl<S: Shareable, M> Call<S, M> {
    /// Sets the freshness lifetime. It replaces a positive lifetime from the backend, or a missing one.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.cache_policy.ttl(ttl);
        self
    }

    /// Sets how long after its freshness lifetime the response may be served if the backend fails (RFC 5861 §4).
    #[must_use]
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.cache_policy.stale_if_error(duration);
        self
    }
}

impl<S: Scope, M: Message> Call<S, M> {
    /// The target in the cache key of a read: method and message.
    pub(super) fn target(&self) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.route.len() + 1 + self.message.encoded_len());
        target.extend_from_slice(self.route.as_bytes());
        target.push(0);
        target.extend(self.message.encode_to_vec());
        target
    }

    /// The cache entries that this write invalidates.
    pub(super) fn cache_invalidation(&self) -> CacheInvalidation {
        CacheInvalidation {
            target: self.target(),
            audience: bff_context::trusted::audience(&self.scope),
            policy: self.cache_policy.clone(),
        }
    }
}

/// The cache entries that a write invalidates.
#[derive(Debug)]
pub(super) struct CacheInvalidation {
    target: Vec<u8>,
    audience: Audience,
    policy: CachePolicy,
}

impl CacheInvalidation {
    /// Invalidates the entries, as of now.
    pub(super) fn apply(&self, upstream: &'static str, env: &Env, cache: &Cache) {
        let target = (upstream, &self.target[..]);
        cache.invalidate_after_write(target, &self.audience, &self.policy, env.unix_millis());
    }
}
