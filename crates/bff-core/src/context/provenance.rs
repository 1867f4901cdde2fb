//! Where a value is from, how old, and why it is not fresher.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{CacheResult, Reason};
use crate::error::Error;
use crate::scope::{CacheVisibility, Caller, Scope};

/// How good a section's data is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Fetched for this request, or shared with a call that was in flight.
    Fresh,
    /// A copy within its freshness lifetime.
    Cached,
    /// A copy past it.
    Stale,
    /// A declared substitute.
    Fallback,
    /// Nothing.
    Missing,
}

impl Freshness {
    /// The state as the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Cached => "cached",
            Self::Stale => "stale",
            Self::Fallback => "fallback",
            Self::Missing => "missing",
        }
    }
}

/// Where a value is from.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// How good it is.
    pub state: Freshness,
    /// The backend, or a comma list of several.
    pub source: Cow<'static, str>,
    /// How old, for a copy.
    pub age: Option<Duration>,
    /// Why it is not fresher.
    pub reason: Option<Reason>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// How long the backend lets it be kept from now on; zero when it may not be.
    pub fresh_for: Duration,
    /// Who may share it.
    pub sharing: CacheVisibility,
    /// How the cache was used.
    pub cache_result: CacheResult,
    /// What is told of a failure that has a code of its own; `reason` stays a closed set.
    pub public_error: Option<Error>,
}

impl Provenance {
    /// An answer that just came from `source`.
    pub(crate) fn fresh(
        source: &'static str,
        fresh_for: Duration,
        sharing: CacheVisibility,
    ) -> Self {
        Self {
            state: Freshness::Fresh,
            source: Cow::Borrowed(source),
            age: None,
            reason: None,
            retry_after: None,
            fresh_for,
            sharing,
            cache_result: CacheResult::Miss,
            public_error: None,
        }
    }

    /// What holds for a value made of both: the worst state, the least freshness, every source once.
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        let worse = if other.state > self.state {
            other
        } else {
            &self
        };
        let source = if self.source.split(", ").any(|s| s == other.source) {
            self.source.clone()
        } else {
            Cow::Owned(format!("{}, {}", self.source, other.source))
        };
        Self {
            state: worse.state,
            reason: worse.reason,
            public_error: worse.public_error.clone(),
            cache_result: worse.cache_result,
            source,
            age: self.age.max(other.age),
            retry_after: self.retry_after.max(other.retry_after),
            fresh_for: self.fresh_for.min(other.fresh_for),
            sharing: self.sharing.and(other.sharing),
        }
    }
}

/// A value and where it is from, typed by who may share it. The value is shared by all its readers.
pub struct Fetched<T, S> {
    /// The value.
    pub value: Arc<T>,
    /// Where it is from.
    pub provenance: Provenance,
    scope: PhantomData<fn() -> S>,
}

impl<T, S> Fetched<T, S> {
    pub(crate) fn new(value: Arc<T>, from: Provenance) -> Self {
        Self {
            value,
            provenance: from,
            scope: PhantomData,
        }
    }
}

impl<T> Fetched<T, Caller> {
    /// With what a call that depended on it brought, if there was one to make. What is made with something of a
    /// caller's stays the caller's.
    pub fn with<U, S: Scope>(
        self,
        other: Option<Fetched<U, S>>,
    ) -> Fetched<(Arc<T>, Option<Arc<U>>), Caller> {
        let (from, other) = match other {
            Some(other) => (self.provenance.merge(&other.provenance), Some(other.value)),
            None => (self.provenance, None),
        };
        Fetched::new(Arc::new((self.value, other)), from)
    }
}

impl<T: fmt::Debug, S> fmt::Debug for Fetched<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("value", &self.value)
            .field("from", &self.provenance)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(source: &'static str, state: Freshness, fresh_for: u64) -> Provenance {
        let fresh_for = Duration::from_secs(fresh_for);
        Provenance {
            state,
            ..Provenance::fresh(source, fresh_for, CacheVisibility::default())
        }
    }

    #[test]
    fn several_sources_take_the_worst_state() {
        let both = from("a", Freshness::Fresh, 60).merge(&from("b", Freshness::Stale, 0));
        assert_eq!(both.state, Freshness::Stale);
        assert_eq!(both.source, "a, b");
        assert_eq!(both.fresh_for, Duration::ZERO);
        assert_eq!(both.merge(&from("b", Freshness::Fresh, 9)).source, "a, b");
    }
}
