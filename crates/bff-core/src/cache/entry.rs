//! One kept answer: the value as it was decoded, what its head said, and for how long it is good.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::hash::Tag;
use super::rfc9111::StorageDecision;
use crate::outbound::{Failure, Reason};

/// What a copy costs beside its body and its key: this, its head, and its place in the table.
const OVERHEAD: usize = 768;

/// What a backend answered.
#[derive(Clone)]
pub(super) enum CachedResult {
    /// A value, shared by all its readers and never parsed again.
    Value(Arc<dyn Any + Send + Sync>),
    /// That there is nothing, and that this may be kept.
    Negative(Failure),
}

/// A kept answer, or one on its way to its readers.
pub(super) struct Entry {
    pub(super) what: CachedResult,
    pub(super) terms: StorageDecision,
    /// What of its head is kept.
    pub(super) head: HeaderMap,
    /// Bytes of its body as received.
    pub(super) bytes: usize,
    pub(super) arrived: Instant,
    /// When it was asked for, in milliseconds since 1970: what purges compare with.
    pub(super) requested_at: u64,
    /// What it can be purged by.
    pub(super) tags: Box<[Tag]>,
    /// Whether another replica kept it, and no backend was called here.
    pub(super) from_shared_tier: bool,
    /// Why the last attempt to renew it failed.
    pub(super) last_refresh_error: Mutex<Option<(Reason, Option<Duration>)>>,
}

/// How good a copy is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryState {
    /// Fresh, for so much longer.
    Fresh(Duration),
    /// Past its freshness, and good while it is asked for anew.
    StaleWhileRevalidate,
    /// To be asked for first.
    Expired,
}

impl Entry {
    /// The value; of an answer that says that there is nothing, that.
    pub(super) fn value<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Failure> {
        match &self.what {
            CachedResult::Value(value) => {
                let value = value.clone().downcast::<T>();
                // The type is part of the key.
                value.map_err(|_| Failure::internal("a copy is of another type than its key"))
            }
            CachedResult::Negative(failure) => Err(failure.clone()),
        }
    }

    /// How old the answer is (RFC 9111 §4.2.3).
    pub(super) fn age(&self, now: Instant) -> Duration {
        let here = now.saturating_duration_since(self.arrived);
        self.terms.age.saturating_add(here)
    }

    /// How good it is.
    pub(super) fn state(&self, now: Instant) -> EntryState {
        let here = now.saturating_duration_since(self.arrived);
        let StorageDecision {
            fresh_for,
            stale_while_revalidate,
            ..
        } = self.terms;
        if here < fresh_for {
            EntryState::Fresh(fresh_for.saturating_sub(here))
        } else if here < fresh_for.saturating_add(stale_while_revalidate) {
            EntryState::StaleWhileRevalidate
        } else {
            EntryState::Expired
        }
    }

    /// Whether it may stand in for an answer that failed so (RFC 5861 §4): the backend is down, late or busy. What
    /// the backend refuses for a reason of its own, it refuses of the copy too.
    pub(super) fn usable_on_error(&self, failure: &Failure, now: Instant) -> bool {
        let here = now.saturating_duration_since(self.arrived);
        let bound = self.terms.stale_if_error;
        let refused = failure
            .upstream_status()
            .is_some_and(|status| status.is_client_error());
        let refused = refused && failure.reason() != Reason::Overloaded;
        let ours = failure.public_error().is_some() || failure.reason() == Reason::SwitchedOff;
        matches!(self.what, CachedResult::Value(_))
            && !bound.is_zero()
            && here <= self.terms.fresh_for.saturating_add(bound)
            && !refused
            && !ours
            && !failure.reason().is_definitive()
    }

    /// Whether a copy is of any use.
    pub(super) fn is_storable(&self) -> bool {
        let StorageDecision {
            may_keep,
            fresh_for,
            stale_while_revalidate,
            stale_if_error,
            ..
        } = self.terms;
        let good = fresh_for.max(stale_while_revalidate).max(stale_if_error);
        may_keep && (!good.is_zero() || self.has_validator())
    }

    /// Whether the backend can be asked if it is still the same (RFC 9111 §4.3.1).
    pub(super) fn has_validator(&self) -> bool {
        let value = matches!(self.what, CachedResult::Value(_));
        value
            && VALIDATORS
                .iter()
                .any(|(name, _)| self.head.contains_key(name))
    }

    /// Asks for the answer only if it is no longer this one.
    pub(super) fn add_validators(&self, headers: &mut HeaderMap) {
        if matches!(self.what, CachedResult::Value(_)) {
            for (name, condition) in VALIDATORS {
                if let Some(value) = self.head.get(name) {
                    headers.insert(condition, HeaderValue::clone(value));
                }
            }
        }
    }

    /// What it weighs without its key: the value takes about what its text did.
    pub(super) fn weight(&self) -> usize {
        self.bytes + size_of_val(&*self.tags) + OVERHEAD
    }
}

/// What an answer can be recognised by, and how one asks whether it still is.
const VALIDATORS: [(HeaderName, HeaderName); 2] = [
    (header::ETAG, header::IF_NONE_MATCH),
    (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
];
