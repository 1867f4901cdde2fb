//! One message to a gRPC backend, and what it says about keeping the answer.

use std::time::Duration;

use http::HeaderMap;
use prost::Message;
use tonic::metadata::MetadataMap;

use crate::cache::CachePolicy;
use crate::context::RequestContext;
use crate::context::request_id::X_REQUEST_ID;
use crate::context::urgency::PRIORITY;
use crate::outbound::{RetryTraits, retry};
use crate::scope::{Audience, Scope, Shareable, X_CLIENT};

/// One message to a gRPC backend, the whole call or what a conversation opens with: owned, so that it can outlive the
/// request that wanted it.
#[derive(Clone, Debug)]
pub struct Call<S, M> {
    pub(super) scope: S,
    pub(super) route: &'static str,
    pub(super) message: M,
    pub(super) write: bool,
    harmless: bool,
    pub(super) keep: CachePolicy,
}

impl<S: Scope, M> Call<S, M> {
    /// A read by the method `route`, such as `/package.Service/Method`.
    pub fn read(scope: S, route: &'static str, message: M) -> Self {
        Self {
            scope,
            route,
            message,
            write: false,
            harmless: true,
            keep: CachePolicy::default_for(S::PERSONAL),
        }
    }

    /// A write.
    pub fn write(scope: S, route: &'static str, message: M) -> Self {
        Self {
            write: true,
            harmless: false,
            ..Self::read(scope, route, message)
        }
    }

    /// Says that doing it twice is doing it once: it may be tried again although the first may have arrived.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.harmless = true;
        self
    }

    pub(super) fn repeat(&self) -> RetryTraits {
        RetryTraits {
            idempotent: self.harmless,
            hedged: false,
            attempt_timeout: None,
            streaming: false,
            is_retryable: retry::is_retryable_grpc,
        }
    }

    /// Who asks, how urgently, under which ids: what HTTP backends get as headers.
    pub(super) fn metadata(&self, cx: &RequestContext) -> MetadataMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(X_REQUEST_ID, cx.request_id().header());
        headers.insert(PRIORITY, cx.urgency().header());
        headers.insert(X_CLIENT, cx.shared().client.clone());
        cx.trace().propagate(&mut headers, cx.world());
        self.scope.identify(&mut headers);
        MetadataMap::from_headers(headers)
    }
}

/// What a read says about keeping its answer, as a call over HTTP does.
impl<S: Shareable, M> Call<S, M> {
    /// How long the answer is fresh, whatever positive lifetime the backend gives or does not give.
    #[must_use]
    pub fn keep(mut self, ttl: Duration) -> Self {
        self.keep.ttl(ttl);
        self
    }

    /// For how long after its freshness the answer may be served when the backend fails (RFC 5861 §4).
    #[must_use]
    pub fn stale_if_error(mut self, bound: Duration) -> Self {
        self.keep.stale_if_error(bound);
        self
    }
}

impl<S: Scope, M: Message> Call<S, M> {
    /// Method and message: what a read is kept and shared under, beside its scope.
    pub(super) fn target(&self) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.route.len() + 1 + self.message.encoded_len());
        target.extend_from_slice(self.route.as_bytes());
        target.push(0);
        target.extend(self.message.encode_to_vec());
        target
    }

    /// What it outdates when it was, or may have been, done.
    pub(super) fn outdates(&self) -> CacheInvalidation {
        CacheInvalidation {
            target: self.target(),
            audience: self.scope.audience(),
            keep: self.keep.clone(),
        }
    }
}

/// What a write outdates of what was read before.
#[derive(Debug)]
pub(super) struct CacheInvalidation {
    target: Vec<u8>,
    audience: Audience,
    keep: CachePolicy,
}

impl CacheInvalidation {
    /// It was, or may have been, done now.
    pub(super) fn tell(&self, cx: &RequestContext, upstream: &'static str) {
        let now = cx.world().unix_millis();
        let at = (upstream, &self.target[..]);
        (cx.shared().cache).invalidate_after_write(at, &self.audience, &self.keep, now);
    }
}
