//! The part of a read that happens once for all waiters: the call, and storing its response.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use tokio::time::Instant;

use super::entry::{CachedResult, DecodeFn, Entry};
use super::fetch_context::{FetchContext, FetchResult, FullResponse};
use super::hash::Tag;
use super::key::Key;
use super::local_tier::LocalTier;
use super::policy::CachePolicy;
use super::rfc9111::{self, RequestView, ResponseView, StorageDecision};
use super::shared_tier::lease::FetchLease;
use super::shared_tier::{SharedLookup, SharedRead, SharedTier};
use super::single_flight::{FlightGuard, FlightResult};
use bff_context::context::{Failure, Reason, RequestContext, SharedDeadline};
use bff_runtime::net::Env;

/// The response field with the backend's tags, a comma-separated list.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// A response with more tags is not stored, because a purge might not find it.
const MAX_TAGS: usize = 64;

/// A call in progress whose response will be stored.
pub(super) struct CacheFill {
    pub(super) local: Arc<LocalTier>,
    pub(super) shared: Option<Arc<SharedTier>>,
    pub(super) env: Env,
    pub(super) cx: RequestContext,
    pub(super) key: Key,
    pub(super) policy: CachePolicy,
    pub(super) stale_entry: Option<Arc<Entry>>,
    /// The time at which the call started, in milliseconds since 1970.
    pub(super) requested_at: u64,
    /// Decodes a body that another replica stored; `None` if the response is not shared.
    pub(super) decode: Option<DecodeFn>,
}

/// Makes the call and stores its response. The flight of `guard` ends after that: only then may another one start.
pub(super) async fn fetch_and_store<T, F, Fut>(
    mut fill: CacheFill,
    deadline: Arc<SharedDeadline>,
    guard: FlightGuard,
    fetch: F,
) -> FlightResult
where
    T: Send + Sync + 'static,
    F: FnOnce(FetchContext) -> Fut,
    Fut: Future<Output = Result<FetchResult<T>, Failure>>,
{
    let mut lease = None;
    if let (Some(decode), Some(shared)) = (fill.decode, &fill.shared) {
        let read = SharedRead {
            key: &fill.key,
            requested_at: fill.requested_at,
            decode,
        };
        match Box::pin(shared.lookup(&read, &deadline)).await {
            SharedLookup::Hit(entry) => {
                fill.local.put(&fill.key, &entry);
                return Ok(entry);
            }
            SharedLookup::Fetch(acquired, stale) => {
                lease = acquired;
                fill.use_stale_entry(stale);
            }
        }
    }
    let call = fetch(FetchContext {
        cx: fill.cx.clone(),
        deadline,
        stale_entry: fill.stale_entry.clone(),
    });
    let result = match call.await {
        Ok(FetchResult::Full(response)) => Ok(fill.store_full(response, lease)),
        Ok(FetchResult::NotModified(head, response_delay)) => {
            fill.refresh_from_304(&head, response_delay, lease)
        }
        Err(failure) => {
            fill.handle_failure(&failure, lease);
            Err(failure)
        }
    };
    drop(guard);
    result
}

impl CacheFill {
    /// Takes a stale entry of another replica: for revalidation, and to serve it if that fails.
    fn use_stale_entry(&mut self, stale: Option<Arc<Entry>>) {
        if let (None, Some(entry)) = (&self.stale_entry, stale) {
            self.local.put(&self.key, &entry);
            self.stale_entry = Some(entry);
        }
    }

    fn evaluate(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        response_delay: Duration,
    ) -> StorageDecision {
        // Every request field that a response could vary by is either in the key or differs in every request.
        let request = RequestView {
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let response = ResponseView {
            status,
            headers,
            received_at: self.env.now(),
            response_delay,
        };
        let mut decision = rfc9111::evaluate(&request, response, &self.policy);
        decision.may_store &= self.local.memory.is_some();
        decision
    }

    pub(super) fn store_full<T: Send + Sync + 'static>(
        &self,
        full: FullResponse<T>,
        lease: Option<Box<FetchLease>>,
    ) -> Arc<Entry> {
        let mut decision = self.evaluate(full.status, &full.head, full.response_delay);
        let tags = if decision.may_store {
            self.tags(&full.head)
        } else {
            Some(Box::default())
        };
        decision.may_store &= tags.is_some();
        let head = if decision.may_store {
            rfc9111::stored_headers(&full.head)
        } else {
            HeaderMap::new()
        };
        let entry = self.put(Entry {
            result: CachedResult::Value(full.value),
            omitted: full.omitted,
            decision,
            head,
            bytes: full.bytes,
            received_at: Instant::now(),
            requested_at: self.requested_at,
            tags: tags.unwrap_or_default(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        });
        if let Some(lease) = lease {
            lease.publish(&self.key, &entry, full.status, full.body);
        }
        entry
    }

    /// Refreshes the entry after a 304 (RFC 9111 §4.3.4). Nothing is decoded; readers share the same value.
    fn refresh_from_304(
        &self,
        head: &HeaderMap,
        response_delay: Duration,
        lease: Option<Box<FetchLease>>,
    ) -> FlightResult {
        let stale_entry = self.stale_entry.as_ref();
        let fresh = stale_entry
            .and_then(|entry| Some((entry, rfc9111::merge_304_headers(&entry.head, head)?)));
        let Some((entry, head)) = fresh else {
            self.evict(lease);
            let cause = "the backend answered 304 about another version";
            let failure = Failure::new(Reason::BadResponse).with_cause(cause);
            return Err(failure.with_upstream(self.key.upstream()));
        };
        let entry = self.put(Entry {
            result: entry.result.clone(),
            omitted: entry.omitted,
            decision: self.evaluate(StatusCode::OK, &head, response_delay),
            head: rfc9111::stored_headers(&head),
            bytes: entry.bytes,
            received_at: Instant::now(),
            requested_at: self.requested_at,
            tags: entry.tags.clone(),
            last_refresh_error: None.into(),
            from_shared_tier: false,
        });
        if let Some(lease) = lease {
            lease.publish_refreshed(&self.key, &entry);
        }
        Ok(entry)
    }

    /// Stores a 404 if the backend gives it a lifetime. Evicts the entry of a resource that no longer exists.
    fn handle_failure(&self, failure: &Failure, lease: Option<Box<FetchLease>>) {
        let not_found = failure.reason() == Reason::NotFound;
        if let Some(head) = failure.response_headers().filter(|_| not_found) {
            let decision = self.evaluate(StatusCode::NOT_FOUND, head, Duration::ZERO);
            let tags = self.tags(head).filter(|_| decision.may_store);
            if let (Some(tags), false) = (tags, decision.fresh_for.is_zero()) {
                self.put(Entry {
                    result: CachedResult::Negative(failure.clone().without_response()),
                    omitted: 0,
                    decision,
                    head: HeaderMap::new(),
                    bytes: 0,
                    received_at: Instant::now(),
                    requested_at: self.requested_at,
                    tags,
                    last_refresh_error: None.into(),
                    from_shared_tier: false,
                });
                if let Some(lease) = lease {
                    lease.publish_gone();
                }
                return;
            }
        }
        let Some(entry) = &self.stale_entry else {
            return;
        };
        if entry.usable_on_error(failure, Instant::now()) {
            *entry.last_refresh_error.lock() = Some((failure.reason(), failure.retry_after()));
        } else if failure.reason().is_definitive() {
            self.evict(lease);
        }
    }

    /// Removes the entry here and in the shared tier.
    fn evict(&self, lease: Option<Box<FetchLease>>) {
        self.local.remove(&self.key);
        if let Some(lease) = lease {
            lease.publish_gone();
        }
    }

    fn put(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        if !self.local.is_valid(&self.key, &entry) {
            // Invalidated during the call. A newer entry must not be replaced by this one.
            return entry;
        }
        if entry.is_storable() {
            self.local.put(&self.key, &entry);
        } else if self.stale_entry.is_some() {
            self.local.remove(&self.key);
        }
        entry
    }

    /// All tags of the response; `None` if there are too many.
    fn tags(&self, head: &HeaderMap) -> Option<Box<[Tag]>> {
        let mut tags = Vec::with_capacity(3 + self.policy.tags.len());
        tags.extend(self.key.tags());
        tags.extend(&self.policy.tags);
        for value in head.get_all(CACHE_TAG) {
            let names = value.to_str().ok()?.split(',').map(str::trim);
            tags.extend(names.filter(|w| !w.is_empty()).map(Tag::named));
        }
        (tags.len() <= MAX_TAGS).then(|| tags.into())
    }
}
