//! One message to a gRPC backend, and what it says about keeping the answer.

use std::time::Duration;

use prost::Message;

use crate::cache::Keep;
use crate::scope::{Scope, Shareable};

/// One message to a gRPC backend: owned, so that it can outlive the request that wanted it.
#[derive(Clone, Debug)]
pub struct Unary<S, M> {
    pub(super) scope: S,
    pub(super) route: &'static str,
    pub(super) message: M,
    pub(super) write: bool,
    pub(super) keep: Keep,
}

impl<S: Scope, M> Unary<S, M> {
    /// A read by the method `route`, such as `/package.Service/Method`.
    pub fn read(scope: S, route: &'static str, message: M) -> Self {
        Self {
            scope,
            route,
            message,
            write: false,
            keep: Keep::unsaid(S::PERSONAL),
        }
    }

    /// A write.
    pub fn write(scope: S, route: &'static str, message: M) -> Self {
        Self {
            write: true,
            ..Self::read(scope, route, message)
        }
    }
}

/// What a read says about keeping its answer, as a call over HTTP does.
impl<S: Shareable, M> Unary<S, M> {
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

impl<S: Scope, M: Message> Unary<S, M> {
    /// Method and message: what a read is kept and shared under, beside its scope.
    pub(super) fn target(&self) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.route.len() + 1 + self.message.encoded_len());
        target.extend_from_slice(self.route.as_bytes());
        target.push(0);
        target.extend(self.message.encode_to_vec());
        target
    }
}
