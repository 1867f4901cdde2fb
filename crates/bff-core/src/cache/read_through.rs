//! Every read, in order: a fresh copy, a stale one while it is renewed, a flight, and a stale copy when that fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::entry::{Entry, EntryState};
use super::fetch::{CacheFill, FetchContext, FetchResult};
use super::key::Key;
use super::policy::CachePolicy;
use super::shared_tier::DecodeFn;
use super::single_flight::{FlightFuture, FlightGuard, FlightResult, Joined};
use crate::context::CacheResult;
use crate::context::RequestContext;
use crate::net;
use crate::outbound::{Failure, Fetched, Freshness, Provenance, SharedDeadline};
use crate::scope::{CacheVisibility, Scope};

/// A read: what it is, and how its answer may be kept.
pub(crate) struct ReadThrough {
    pub(crate) read: ReadKey,
    pub(crate) keep: CachePolicy,
    /// How long it may take when nobody waits for it.
    pub(crate) renew_within: Duration,
    /// How what other replicas kept becomes a value, where it can.
    pub(crate) recall: Option<DecodeFn>,
}

/// What a read is known by until it is answered.
#[derive(Clone)]
pub(crate) struct ReadKey {
    pub(crate) key: Key,
    pub(crate) route: &'static str,
    /// Who may share the answer outside.
    pub(crate) sharing: CacheVisibility,
}

/// What came of a read at once.
enum ReadState<T, S> {
    Ready(Result<Fetched<T, S>, Failure>),
    /// A flight is to be waited for; the copy may be renewed by a 304, or stand in for a failure.
    Pending(CacheResult, FlightFuture, Option<Arc<Entry>>),
}

/// Answers a read, by `fetch` if by nothing kept and no call in flight. It begins at once, so that what is asked with
/// is no part of the future; whoever calls this does so when polled.
pub(crate) fn get_or_fetch<T, S, F, Fut>(
    cx: &RequestContext,
    ask: ReadThrough,
    fetch: F,
) -> impl Future<Output = Result<Fetched<T, S>, Failure>> + Send
where
    T: Send + Sync + 'static,
    S: Scope,
    F: FnOnce(FetchContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
{
    let (read, never) = (ask.read.clone(), ask.keep.no_store);
    let begun = ask.start(cx, &read, fetch);
    async move {
        match begun {
            ReadState::Ready(answer) => answer,
            ReadState::Pending(lookup, flight, copy) => match flight.await {
                // Another replica's copy: nobody was called.
                Ok(entry) if entry.from_shared_tier => {
                    read.respond_from_entry(cx, &entry, CacheResult::Hit)
                }
                Ok(entry) => read.respond_from_entry(cx, &entry, lookup),
                Err(failure) => {
                    // It may have been found only on the way.
                    let found = || cx.shared().cache.get(&read.key).filter(|_| !never);
                    read.respond_or_stale(cx, failure, lookup, copy.or_else(found))
                }
            },
        }
    }
}

/// A fresh copy, if there is one: nobody is called, and nothing is waited for.
pub(crate) fn get_fresh<T, S>(cx: &RequestContext, read: &ReadKey) -> Option<Fetched<T, S>>
where
    T: Send + Sync + 'static,
{
    let entry = cx.shared().cache.get(&read.key)?;
    let fresh = matches!(entry.state(net::now()), EntryState::Fresh(_));
    let served = fresh.then(|| read.respond_from_entry(cx, &entry, CacheResult::Hit));
    served.and_then(Result::ok)
}

impl ReadThrough {
    fn start<T, S, F, Fut>(self, cx: &RequestContext, read: &ReadKey, fetch: F) -> ReadState<T, S>
    where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let (cache, never) = (&cx.shared().cache, self.keep.no_store);
        let copy = (!never).then(|| cache.get(&read.key)).flatten();
        if let Some(entry) = &copy {
            match entry.state(net::now()) {
                EntryState::Fresh(_) => {
                    return ReadState::Ready(read.respond_from_entry(cx, entry, CacheResult::Hit));
                }
                EntryState::StaleWhileRevalidate => {
                    self.revalidate_in_background(cx, read, entry, fetch);
                    return ReadState::Ready(read.respond_from_entry(
                        cx,
                        entry,
                        CacheResult::Stale,
                    ));
                }
                EntryState::Expired => {}
            }
        }
        let until = cx.upstream_deadline();
        let (lookup, flight) = match self.join_or_start(cx, read, until, copy.clone(), fetch) {
            Joined::AlreadyCached(entry) => {
                return ReadState::Ready(read.respond_from_entry(cx, &entry, CacheResult::Hit));
            }
            Joined::Existing(flight) => (CacheResult::Coalesced, flight),
            Joined::Leader(flight) => (lookup(cx, never), flight),
        };
        ReadState::Pending(lookup, flight.wait(until), copy)
    }

    /// Joins the flight for this read, or begins one on behalf of `cx`: its ids go upstream, and its share of extra
    /// attempts pays, for whoever joins might not have called at all.
    fn join_or_start<T, F, Fut>(
        self,
        cx: &RequestContext,
        read: &ReadKey,
        until: Instant,
        copy: Option<Arc<Entry>>,
        fetch: F,
    ) -> Joined
    where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let (cache, key, never) = (&cx.shared().cache, &read.key, self.keep.no_store);
        let asked = cx.world().unix_millis();
        let flying = CacheFill {
            cx: cx.clone(),
            key: self.read.key,
            keep: self.keep,
            copy,
            asked,
            // Its own branch, for most calls have nothing to share.
            recall: self.recall.filter(|_| !never),
        };
        let course = |until: Arc<SharedDeadline>, leaving: FlightGuard| {
            let course = async move {
                let landed: FlightResult = flying.run(until, fetch).await;
                // What landed is put away: only now may somebody else begin.
                drop(leaving);
                landed
            };
            Box::pin(course) as _
        };
        let landed = || {
            let entry = cache.get(key).filter(|_| !never)?;
            matches!(entry.state(net::now()), EntryState::Fresh(_)).then_some(entry)
        };
        let is_current = |asked| cache.0.config.coalesce_requests && cache.is_current(key, asked);
        let times = (asked, until);
        (cache.0.flights).join_or_start(key, times, is_current, landed, course)
    }

    /// Asks for the answer anew in the background, unless that is under way, enough others are, or we drain.
    fn revalidate_in_background<T, F, Fut>(
        self,
        cx: &RequestContext,
        read: &ReadKey,
        copy: &Arc<Entry>,
        fetch: F,
    ) where
        T: Send + Sync + 'static,
        F: FnOnce(FetchContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchResult<T>, Failure>> + Send + 'static,
    {
        let shared = cx.shared();
        let Some(place) = shared
            .cache
            .try_start_revalidation()
            .filter(|_| !shared.tasks.is_closed())
        else {
            return;
        };
        let cx = RequestContext::background(shared, self.renew_within);
        let until = cx.upstream_deadline();
        if let Joined::Leader(flight) =
            self.join_or_start(&cx, read, until, Some(copy.clone()), fetch)
        {
            shared.tasks.spawn(async move {
                // The only call without a waiter; how it ended is known to its metrics and to the copy.
                let _ = timeout_at(cx.deadline(), flight.wait(until)).await;
                drop(place);
            });
        }
    }
}

/// What a call of its own means for somebody who asks whether the cache was of use.
fn lookup(cx: &RequestContext, never: bool) -> CacheResult {
    if never || cx.shared().cache.0.memory.is_none() {
        CacheResult::Bypass
    } else {
        CacheResult::Miss
    }
}

impl ReadKey {
    fn count(&self, cx: &RequestContext, lookup: CacheResult) {
        let (metrics, upstream) = (&cx.shared().metrics, self.key.upstream());
        metrics.cache_lookup(upstream, self.route, lookup);
    }

    /// A copy, or what a flight brought, as this call's answer.
    fn respond_from_entry<T, S>(
        &self,
        cx: &RequestContext,
        entry: &Entry,
        lookup: CacheResult,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cx, lookup);
        let value = entry.value()?;
        let lasts = entry.terms.fresh_for;
        let fresh = Provenance::fresh(self.key.upstream(), lasts, self.sharing);
        let from = match lookup {
            CacheResult::Hit => {
                let now = net::now();
                let here = now.saturating_duration_since(entry.arrived);
                Provenance {
                    state: Freshness::Cached,
                    age: Some(entry.age(now)),
                    fresh_for: lasts.saturating_sub(here),
                    ..fresh
                }
            }
            CacheResult::Stale => {
                let failing = *entry.last_refresh_error.lock();
                Provenance {
                    state: Freshness::Stale,
                    age: Some(entry.age(net::now())),
                    reason: failing.map(|(reason, _)| reason),
                    retry_after: failing.and_then(|(_, after)| after),
                    fresh_for: Duration::ZERO,
                    ..fresh
                }
            }
            _ => fresh,
        };
        Ok(Fetched::new(
            value,
            Provenance {
                cache_result: lookup,
                ..from
            },
        ))
    }

    /// A failure, or the copy that stands in for it.
    fn respond_or_stale<T, S>(
        &self,
        cx: &RequestContext,
        failure: Failure,
        lookup: CacheResult,
        copy: Option<Arc<Entry>>,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        let failure = failure.with_upstream(self.key.upstream());
        let (cache, now) = (&cx.shared().cache, net::now());
        let stand_in = copy
            .filter(|copy| copy.usable_on_error(&failure, now) && cache.is_valid(&self.key, copy));
        if let Some(copy) = stand_in {
            return self.respond_stale_if_error(cx, &copy, &failure);
        }
        self.count(cx, lookup);
        Err(failure)
    }

    /// A copy in place of an answer that failed.
    fn respond_stale_if_error<T, S>(
        &self,
        cx: &RequestContext,
        entry: &Entry,
        failure: &Failure,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cx, CacheResult::StaleIfError);
        let fresh = Provenance::fresh(self.key.upstream(), Duration::ZERO, self.sharing);
        let from = Provenance {
            state: Freshness::Stale,
            age: Some(entry.age(net::now())),
            reason: Some(failure.reason()),
            retry_after: failure.retry_after(),
            cache_result: CacheResult::StaleIfError,
            ..fresh
        };
        Ok(Fetched::new(entry.value()?, from))
    }
}
