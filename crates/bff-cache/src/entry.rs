//! One cache entry: the decoded value, the stored header fields, and how long they may be used.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::hash::Tag;
use super::rfc9111::StorageDecision;
use bff_context::context::{Failure, Reason};

/// Decodes a stored body into the type of the key.
pub type DecodeFn = fn(&[u8]) -> Option<DecodedBody>;

/// The value of a stored body.
pub struct DecodedBody {
    /// A value of the type of the key.
    pub value: Arc<dyn Any + Send + Sync>,
    /// The number of elements that its lists omit, because they do not decode.
    pub omitted: u32,
}

impl DecodedBody {
    /// A value whose lists omit this number of elements.
    pub fn new(value: impl Any + Send + Sync, omitted: u32) -> Self {
        Self {
            value: Arc::new(value),
            omitted,
        }
    }
}

/// Bytes of an entry beside its body and its key: the struct, the header fields, and the slot in the table.
const OVERHEAD: usize = 768;

/// The result of a call, as it is cached.
#[derive(Clone)]
pub(super) enum CachedResult {
    /// A value, shared by all its readers and never decoded again.
    Value(Arc<dyn Any + Send + Sync>),
    /// A 404 that the backend allows to cache.
    Negative(Failure),
}

/// A cache entry, or the uncached result of a flight.
pub(super) struct Entry {
    pub(super) result: CachedResult,
    /// The number of elements that the value's lists omit. Every reader of the entry reports them.
    pub(super) omitted: u32,
    pub(super) decision: StorageDecision,
    /// The stored header fields.
    pub(super) head: HeaderMap,
    /// The size of the body as received.
    pub(super) bytes: usize,
    pub(super) received_at: Instant,
    /// The time at which the call started, in milliseconds since 1970. Purges are compared with it.
    pub(super) requested_at: u64,
    /// The tags to purge by.
    pub(super) tags: Box<[Tag]>,
    /// Another replica stored it, and no backend was called here.
    pub(super) from_shared_tier: bool,
    /// The reason of the last failed revalidation, and the delay before a retry.
    pub(super) last_refresh_error: Mutex<Option<(Reason, Option<Duration>)>>,
}

/// Whether an entry may be used at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryState {
    /// Fresh for this long.
    Fresh(Duration),
    /// Stale, but usable during a background revalidation.
    StaleWhileRevalidate,
    /// Not usable before it is revalidated.
    Expired,
}

impl Entry {
    /// The value; for a negative entry, its failure.
    pub(super) fn value<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Failure> {
        match &self.result {
            CachedResult::Value(value) => {
                let value = value.clone().downcast::<T>();
                // The type is part of the key.
                value
                    .map_err(|_| Failure::internal("a cache entry is of another type than its key"))
            }
            CachedResult::Negative(failure) => Err(failure.clone()),
        }
    }

    /// The age of the response (RFC 9111 §4.2.3).
    pub(super) fn age(&self, now: Instant) -> Duration {
        let resident_time = now.saturating_duration_since(self.received_at);
        self.decision.age.saturating_add(resident_time)
    }

    /// The state at `now`.
    pub(super) fn state(&self, now: Instant) -> EntryState {
        let resident_time = now.saturating_duration_since(self.received_at);
        let StorageDecision {
            fresh_for,
            stale_while_revalidate,
            ..
        } = self.decision;
        if resident_time < fresh_for {
            EntryState::Fresh(fresh_for.saturating_sub(resident_time))
        } else if resident_time < fresh_for.saturating_add(stale_while_revalidate) {
            EntryState::StaleWhileRevalidate
        } else {
            EntryState::Expired
        }
    }

    /// Whether this entry may be served instead of the failure (RFC 5861 §4): the backend is down, late or overloaded.
    /// A definitive refusal by the backend applies to the entry too.
    pub(super) fn usable_on_error(&self, failure: &Failure, now: Instant) -> bool {
        let resident_time = now.saturating_duration_since(self.received_at);
        let bound = self.decision.stale_if_error;
        let rejected = failure
            .upstream_status()
            .is_some_and(|status| status.is_client_error());
        let rejected = rejected && failure.reason() != Reason::Overloaded;
        let internal = failure.public_error().is_some() || failure.reason() == Reason::SwitchedOff;
        matches!(self.result, CachedResult::Value(_))
            && !bound.is_zero()
            && resident_time <= self.decision.fresh_for.saturating_add(bound)
            && !rejected
            && !internal
            && !failure.reason().is_definitive()
    }

    /// Whether the entry can be used later, possibly after revalidation.
    pub(super) fn is_storable(&self) -> bool {
        let StorageDecision {
            may_store,
            fresh_for,
            stale_while_revalidate,
            stale_if_error,
            ..
        } = self.decision;
        let usable_for = fresh_for.max(stale_while_revalidate).max(stale_if_error);
        may_store && (!usable_for.is_zero() || self.has_validator())
    }

    /// Whether the entry can be revalidated (RFC 9111 §4.3.1).
    pub(super) fn has_validator(&self) -> bool {
        let value = matches!(self.result, CachedResult::Value(_));
        value
            && VALIDATORS
                .iter()
                .any(|(name, _)| self.head.contains_key(name))
    }

    /// Makes a request conditional (RFC 9111 §4.3.1).
    pub(super) fn add_validators(&self, headers: &mut HeaderMap) {
        if matches!(self.result, CachedResult::Value(_)) {
            for (name, condition) in VALIDATORS {
                if let Some(value) = self.head.get(name) {
                    headers.insert(condition, HeaderValue::clone(value));
                }
            }
        }
    }

    /// Bytes in memory without the key. The value takes about as much as its body.
    pub(super) fn weight(&self) -> usize {
        self.bytes + size_of_val(&*self.tags) + OVERHEAD
    }
}

/// The validators, each with the request field that checks it.
const VALIDATORS: [(HeaderName, HeaderName); 2] = [
    (header::ETAG, header::IF_NONE_MATCH),
    (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
];
