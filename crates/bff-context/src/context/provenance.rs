//! The provenance of a value: its source, its age, and why it is not fresher.

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

/// The freshness of a section's data, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Fetched for this request, or coalesced with a call in flight.
    Fresh,
    /// A cached value within its freshness lifetime.
    Cached,
    /// A cached value past its freshness lifetime.
    Stale,
    /// A substitute that the section declares.
    Fallback,
    /// No data.
    Missing,
}

impl Freshness {
    /// The name on the wire.
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

/// The source, age and freshness of a value.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The freshness.
    pub state: Freshness,
    /// The backend, or a comma-separated list of several.
    pub source: Cow<'static, str>,
    /// The age of a cached value.
    pub age: Option<Duration>,
    /// The reason why the value is not fresher.
    pub reason: Option<Reason>,
    /// The delay after which a retry makes sense.
    pub retry_after: Option<Duration>,
    /// The remaining freshness lifetime; zero if the value must not be cached.
    pub fresh_for: Duration,
    /// The callers that may share the value.
    pub visibility: CacheVisibility,
    /// The result of the cache lookup.
    pub cache_result: CacheResult,
    /// The error that clients receive, if the failure has its own code. `reason` remains a closed set.
    pub public_error: Option<Error>,
    /// The number of elements that the value's lists omit, because they do not decode.
    pub omitted: u32,
}

impl Provenance {
    /// The provenance of a response that `source` just sent.
    pub fn fresh(source: &'static str, fresh_for: Duration, visibility: CacheVisibility) -> Self {
        Self {
            state: Freshness::Fresh,
            source: Cow::Borrowed(source),
            age: None,
            reason: None,
            retry_after: None,
            fresh_for,
            visibility,
            cache_result: CacheResult::Miss,
            public_error: None,
            omitted: 0,
        }
    }

    /// The provenance of a value made from two: the worse state, the shorter freshness lifetime, each source once, all
    /// omitted elements.
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        let worse = if other.state > self.state {
            other
        } else {
            &self
        };
        let mut source = self.source.clone();
        for name in other.source.split(", ").filter(|name| !name.is_empty()) {
            if source.is_empty() {
                source = Cow::Owned(name.to_owned());
            } else if source.split(", ").all(|known| known != name) {
                source = Cow::Owned(format!("{source}, {name}"));
            }
        }
        Self {
            state: worse.state,
            reason: worse.reason,
            public_error: worse.public_error.clone(),
            cache_result: worse.cache_result,
            source,
            age: self.age.max(other.age),
            retry_after: self.retry_after.max(other.retry_after),
            fresh_for: self.fresh_for.min(other.fresh_for),
            visibility: self.visibility.and(other.visibility),
            omitted: self.omitted.saturating_add(other.omitted),
        }
    }
}

/// A value with its provenance. The type parameter `S` is the scope of callers that may share the value.
pub struct Fetched<T, S> {
    /// The value, shared by all its readers.
    pub value: Arc<T>,
    /// The value's provenance.
    pub provenance: Provenance,
    scope: PhantomData<fn() -> S>,
}

impl<T, S> Fetched<T, S> {
    pub(crate) fn new(value: Arc<T>, provenance: Provenance) -> Self {
        Self {
            value,
            provenance,
            scope: PhantomData,
        }
    }
}

impl<T> Fetched<T, Caller> {
    /// Combines the value with the result of a dependent call, if one was made.
    ///
    /// The result has the scope `Caller`, because one of its parts belongs to the caller.
    pub fn with<U, S: Scope>(
        self,
        other: Option<Fetched<U, S>>,
    ) -> Fetched<(Arc<T>, Option<Arc<U>>), Caller> {
        let (provenance, other) = match other {
            Some(other) => (self.provenance.merge(&other.provenance), Some(other.value)),
            None => (self.provenance, None),
        };
        Fetched::new(Arc::new((self.value, other)), provenance)
    }
}

impl<T: fmt::Debug, S> fmt::Debug for Fetched<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("value", &self.value)
            .field("provenance", &self.provenance)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(source: &'static str, state: Freshness, fresh_for: u64) -> Provenance {
        let fresh_for = Duration::from_secs(fresh_for);
        Provenance {
            state,
            ..Provenance::fresh(source, fresh_for, CacheVisibility::default())
        }
    }

    #[test]
    fn merging_takes_the_worse_state() {
        let both =
            provenance("a", Freshness::Fresh, 60).merge(&provenance("b", Freshness::Stale, 0));
        assert_eq!(both.state, Freshness::Stale);
        assert_eq!(both.source, "a, b");
        assert_eq!(both.fresh_for, Duration::ZERO);
        assert_eq!(
            both.merge(&provenance("b", Freshness::Fresh, 9)).source,
            "a, b"
        );
        for (first, second, merged) in [("a", "a, b", "a, b"), ("", "a", "a"), ("a", "", "a")] {
            let first = provenance(first, Freshness::Fresh, 9);
            let both = first.merge(&provenance(second, Freshness::Fresh, 9));
            assert_eq!(both.source, merged);
        }
    }
}
