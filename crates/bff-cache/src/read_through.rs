//! One read, in this order: a fresh entry, a stale one during revalidation, a flight, a stale one if the flight fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Cache;
use super::entry::{DecodeFn, Entry, EntryState};
use super::fetch::{CacheFill, fetch_and_store};
use super::fetch_context::{FetchContext, FetchResult, FullResponse};
use super::key::Key;
use super::policy::CachePolicy;
use super::read_key::ReadKey;
use super::single_flight::{FlightFuture, Joined};
use bff_context::context::CacheResult;
use bff_context::context::RequestContext;
use bff_context::context::{Failure, Fetched};
use bff_context::scope::Scope;

/// A read, and how its response may be stored.
pub struct ReadThrough {
    /// The key of the read, with its labels.
    pub read: ReadKey,
    /// The rules for storing the response.
    pub policy: CachePolicy,
    /// The time limit of a background revalidation.
    pub revalidation_timeout: Duration,
    /// Decodes a body that another replica stored; `None` if the response is not shared.
    pub decode: Option<DecodeFn>,
}

/// The state of a read after its synchronous part.
enum ReadState {
    Ready(Arc<Entry>, CacheResult),
    /// The flight to wait for. A 304 may refresh the entry, and the entry may be served if the flight fails.
    Pending(CacheResult, FlightFuture, Option<Arc<Entry>>),
}

impl Cache {
    /// Reads through the cache; calls `fetch` if there is neither a fresh entry nor a flight to join. The synchronous
    /// part runs at the call, not at the first poll, so that its arguments are not in the future.
    pub fn get_or_fetch<T, S, F, Fut>(
        &self,
        cx: &RequestContext,
        options: ReadThrough,
        fetch: F,
    ) -> impl Future<Output = Result<Fetched<T, S>, Failure>> + Send
    where
        T: Send + Sync + 'static,
        S: Scope,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let (read, no_store) = (options.read.clone(), options.policy.no_store);
        let state = self.start(cx, options, fetch);
        async move {
            match state {
                ReadState::Ready(entry, result) => read.respond_from_entry(self, &entry, result),
                ReadState::Pending(result, flight, stale_entry) => match flight.await {
                    // Another replica stored it: no backend was called.
                    Ok(entry) if entry.from_shared_tier => {
                        read.respond_from_entry(self, &entry, CacheResult::Hit)
                    }
                    Ok(entry) => read.respond_from_entry(self, &entry, result),
                    Err(failure) => {
                        // The flight may have found the entry in the shared tier.
                        let cached_meanwhile = || self.0.local.get(&read.key).filter(|_| !no_store);
                        let usable = stale_entry.or_else(cached_meanwhile);
                        read.respond_or_stale(self, failure, result, usable)
                    }
                },
            }
        }
    }

    /// A fresh entry, if the cache holds one. Calls no backend and waits for nothing.
    pub fn get_fresh<T, S>(&self, read: &ReadKey) -> Option<Fetched<T, S>>
    where
        T: Send + Sync + 'static,
    {
        let entry = self.fresh_entry(&read.key)?;
        read.respond_from_entry(self, &entry, CacheResult::Hit).ok()
    }

    /// Stores a response that was fetched for one reader, if others may use it. `requested_at` is in milliseconds since
    /// 1970.
    pub fn store_response<T: Send + Sync + 'static>(
        &self,
        cx: &RequestContext,
        read: &ReadKey,
        policy: &CachePolicy,
        requested_at: u64,
        response: FullResponse<T>,
    ) -> Result<Arc<T>, Failure> {
        let fill = CacheFill {
            local: self.0.local.clone(),
            shared: None,
            env: self.0.env.clone(),
            cx: cx.clone(),
            key: read.key.clone(),
            policy: policy.clone(),
            stale_entry: None,
            requested_at,
            decode: None,
        };
        fill.store_full(response, None).value()
    }

    /// The synchronous part of a read: finds the entry, or the flight to wait for.
    fn start<T, F, Fut>(&self, cx: &RequestContext, options: ReadThrough, fetch: F) -> ReadState
    where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let no_store = options.policy.no_store;
        let stale_entry = (!no_store)
            .then(|| self.0.local.get(&options.read.key))
            .flatten();
        if let Some(entry) = &stale_entry {
            match entry.state(Instant::now()) {
                EntryState::Fresh(_) => return ReadState::Ready(entry.clone(), CacheResult::Hit),
                EntryState::StaleWhileRevalidate => {
                    self.revalidate_in_background(cx, options, entry, fetch);
                    return ReadState::Ready(entry.clone(), CacheResult::Stale);
                }
                EntryState::Expired => {}
            }
        }
        let deadline = cx.upstream_deadline();
        let (cache_result, flight) =
            match self.join_or_start(cx, options, deadline, stale_entry.clone(), fetch) {
                Joined::AlreadyCached(entry) => return ReadState::Ready(entry, CacheResult::Hit),
                Joined::Existing(flight) => (CacheResult::Coalesced, flight),
                Joined::Leader(flight) => (self.miss_or_bypass(no_store), flight),
            };
        ReadState::Pending(cache_result, flight.wait(deadline), stale_entry)
    }

    /// Joins the flight for this read, or starts one on behalf of `cx`: with its ids, and at the expense of its retry
    /// allowance. Requests that join pay nothing, because they might not have made a call at all.
    fn join_or_start<T, F, Fut>(
        &self,
        cx: &RequestContext,
        options: ReadThrough,
        deadline: Instant,
        stale_entry: Option<Arc<Entry>>,
        fetch: F,
    ) -> Joined
    where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let (key, no_store) = (options.read.key.clone(), options.policy.no_store);
        let requested_at = self.0.env.unix_millis();
        let fill = CacheFill {
            local: self.0.local.clone(),
            shared: self.0.shared.clone(),
            env: self.0.env.clone(),
            cx: cx.clone(),
            key: options.read.key,
            policy: options.policy,
            stale_entry,
            requested_at,
            decode: options.decode.filter(|_| !no_store),
        };
        let start = |deadline, guard| Box::pin(fetch_and_store(fill, deadline, guard, fetch)) as _;
        let cached = || self.fresh_entry(&key).filter(|_| !no_store);
        let is_current = |requested_at| {
            self.0.config.coalesce_requests && self.0.local.is_current(&key, requested_at)
        };
        let times = (requested_at, deadline);
        (self.0.flights).join_or_start(&key, times, is_current, cached, start)
    }

    fn fresh_entry(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.0.local.get(key)?;
        matches!(entry.state(Instant::now()), EntryState::Fresh(_)).then_some(entry)
    }

    /// Revalidates in the background, unless that is in progress, the limit is reached, or the gateway drains.
    fn revalidate_in_background<T, F, Fut>(
        &self,
        cx: &RequestContext,
        options: ReadThrough,
        stale_entry: &Arc<Entry>,
        fetch: F,
    ) where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let permit = self.try_start_revalidation();
        let Some(permit) = permit.filter(|_| !self.0.tasks.is_closed()) else {
            return;
        };
        let cx = RequestContext::background(cx.client(), &self.0.env, options.revalidation_timeout);
        let deadline = cx.upstream_deadline();
        if let Joined::Leader(flight) =
            self.join_or_start(&cx, options, deadline, Some(stale_entry.clone()), fetch)
        {
            self.0.tasks.spawn(async move {
                // No request waits for this call. Its metrics and the entry record how it ended.
                let _ = timeout_at(cx.deadline(), flight.wait(deadline)).await;
                drop(permit);
            });
        }
    }

    /// The cache result of a read that makes a call of its own.
    fn miss_or_bypass(&self, no_store: bool) -> CacheResult {
        if no_store || self.0.local.memory.is_none() {
            CacheResult::Bypass
        } else {
            CacheResult::Miss
        }
    }
}
