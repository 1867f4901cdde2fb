//! The identity of a read, and the answer to it with its provenance.

use std::sync::Arc;
use std::time::Duration;

use bff_context::context::{CacheResult, Failure, Fetched, Freshness, Provenance};
use bff_context::scope::CacheVisibility;
use tokio::time::Instant;

use super::Cache;
use super::entry::Entry;
use super::key::Key;

/// The identity of a read.
#[derive(Clone)]
pub struct ReadKey {
    /// The cache key.
    pub key: Key,
    /// The route label in metrics.
    pub route: &'static str,
    /// Who may store the response outside the gateway.
    pub visibility: CacheVisibility,
}

impl ReadKey {
    fn count(&self, cache: &Cache, cache_result: CacheResult) {
        let (metrics, upstream) = (&cache.0.metrics, self.key.upstream());
        metrics.cache_lookup(upstream, self.route, cache_result);
    }

    /// Answers from an entry, or from the result of a flight.
    pub(super) fn respond_from_entry<T, S>(
        &self,
        cache: &Cache,
        entry: &Entry,
        cache_result: CacheResult,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cache, cache_result);
        let value = entry.value()?;
        let fresh_for = entry.decision.fresh_for;
        let fresh = Provenance {
            omitted: entry.omitted,
            ..Provenance::fresh(self.key.upstream(), fresh_for, self.visibility)
        };
        let provenance = match cache_result {
            CacheResult::Hit => {
                let now = Instant::now();
                let resident_time = now.saturating_duration_since(entry.received_at);
                Provenance {
                    state: Freshness::Cached,
                    age: Some(entry.age(now)),
                    fresh_for: fresh_for.saturating_sub(resident_time),
                    ..fresh
                }
            }
            CacheResult::Stale => {
                let refresh_error = *entry.last_refresh_error.lock();
                Provenance {
                    state: Freshness::Stale,
                    age: Some(entry.age(Instant::now())),
                    reason: refresh_error.map(|(reason, _)| reason),
                    retry_after: refresh_error.and_then(|(_, after)| after),
                    fresh_for: Duration::ZERO,
                    ..fresh
                }
            }
            _ => fresh,
        };
        Ok(bff_context::trusted::fetched(
            value,
            Provenance {
                cache_result,
                ..provenance
            },
        ))
    }

    /// Answers with the failure, or with a stale entry if that is allowed.
    pub(super) fn respond_or_stale<T, S>(
        &self,
        cache: &Cache,
        failure: Failure,
        cache_result: CacheResult,
        stale_entry: Option<Arc<Entry>>,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        let failure = failure.with_upstream(self.key.upstream());
        let now = Instant::now();
        let usable = stale_entry.filter(|entry| {
            entry.usable_on_error(&failure, now) && cache.0.local.is_valid(&self.key, entry)
        });
        if let Some(entry) = usable {
            return self.respond_stale_if_error(cache, &entry, &failure);
        }
        self.count(cache, cache_result);
        Err(failure)
    }

    /// Answers with a stale entry instead of the failure (RFC 5861 §4).
    fn respond_stale_if_error<T, S>(
        &self,
        cache: &Cache,
        entry: &Entry,
        failure: &Failure,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cache, CacheResult::StaleIfError);
        let fresh = Provenance::fresh(self.key.upstream(), Duration::ZERO, self.visibility);
        let provenance = Provenance {
            state: Freshness::Stale,
            age: Some(entry.age(Instant::now())),
            reason: Some(failure.reason()),
            retry_after: failure.retry_after(),
            cache_result: CacheResult::StaleIfError,
            omitted: entry.omitted,
            ..fresh
        };
        Ok(bff_context::trusted::fetched(entry.value()?, provenance))
    }
}
