//! One kept answer: the value as it was decoded, what its head said, and for how long it is good.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::hash::Tag;
use super::rules::Terms;
use crate::outbound::{Failure, Reason};

/// What a copy costs beside its body and its key: this, its head, and its place in the table.
const OVERHEAD: usize = 768;

/// What a backend answered.
#[derive(Clone)]
pub(super) enum What {
    /// A value, shared by all its readers and never parsed again.
    Value(Arc<dyn Any + Send + Sync>),
    /// That there is nothing, and that this may be kept.
    Nothing(Failure),
}

/// A kept answer, or one on its way to its readers.
pub(super) struct Entry {
    pub(super) what: What,
    pub(super) terms: Terms,
    /// What of its head is kept.
    pub(super) head: HeaderMap,
    /// Bytes of its body as received.
    pub(super) bytes: usize,
    pub(super) arrived: Instant,
    /// When it was asked for, in milliseconds since 1970: what purges compare with.
    pub(super) asked: u64,
    /// What it can be purged by.
    pub(super) tags: Box<[Tag]>,
    /// Whether another replica kept it, and no backend was called here.
    pub(super) found: bool,
    /// Why the last attempt to renew it failed.
    pub(super) failing: Mutex<Option<(Reason, Option<Duration>)>>,
}

/// How good a copy is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Fresh, for so much longer.
    Fresh(Duration),
    /// Past its freshness, and good while it is asked for anew.
    Stale,
    /// To be asked for first.
    Spent,
}

impl Entry {
    /// The value; of an answer that says that there is nothing, that.
    pub(super) fn value<T: Send + Sync + 'static>(&self) -> Result<Arc<T>, Failure> {
        match &self.what {
            What::Value(value) => {
                let value = value.clone().downcast::<T>();
                // The type is part of the key.
                value.map_err(|_| Failure::internal("a copy is of another type than its key"))
            }
            What::Nothing(failure) => Err(failure.clone()),
        }
    }

    /// How old the answer is (RFC 9111 §4.2.3).
    pub(super) fn age(&self, now: Instant) -> Duration {
        let here = now.saturating_duration_since(self.arrived);
        self.terms.age.saturating_add(here)
    }

    /// How good it is.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let here = now.saturating_duration_since(self.arrived);
        let Terms {
            fresh_for,
            stale_while_revalidate,
            ..
        } = self.terms;
        if here < fresh_for {
            Standing::Fresh(fresh_for.saturating_sub(here))
        } else if here < fresh_for.saturating_add(stale_while_revalidate) {
            Standing::Stale
        } else {
            Standing::Spent
        }
    }

    /// Whether it may stand in for an answer that failed so (RFC 5861 §4): the backend is down, late or busy. What
    /// the backend refuses for a reason of its own, it refuses of the copy too.
    pub(super) fn stands_in(&self, failure: &Failure, now: Instant) -> bool {
        let here = now.saturating_duration_since(self.arrived);
        let bound = self.terms.stale_if_error;
        let refused = failure
            .answered()
            .is_some_and(|status| status.is_client_error());
        let refused = refused && failure.reason() != Reason::Overloaded;
        let ours = failure.told().is_some() || failure.reason() == Reason::SwitchedOff;
        matches!(self.what, What::Value(_))
            && !bound.is_zero()
            && here <= self.terms.fresh_for.saturating_add(bound)
            && !refused
            && !ours
            && !failure.reason().is_answer()
    }

    /// Whether a copy is of any use.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let Terms {
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
        let value = matches!(self.what, What::Value(_));
        value
            && VALIDATORS
                .iter()
                .any(|(name, _)| self.head.contains_key(name))
    }

    /// Asks for the answer only if it is no longer this one.
    pub(super) fn condition(&self, headers: &mut HeaderMap) {
        if matches!(self.what, What::Value(_)) {
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
