//! Every read, in order: a fresh copy, a stale one while it is renewed, a flight, and a stale copy when that fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::entry::{Entry, Standing};
use super::flight::{Boarded, Landed, Leaving, Waiting};
use super::fly::{Fetch, Flying, Got};
use super::keep::Keep;
use super::key::Key;
use super::status::Lookup;
use super::tier::Recall;
use crate::context::Cx;
use crate::net;
use crate::outbound::{Failure, Fetched, Provenance, State, Until};
use crate::scope::{Scope, Sharing};

/// A read: what it is, and how its answer may be kept.
pub(crate) struct Ask {
    pub(crate) read: Read,
    pub(crate) keep: Keep,
    /// How long it may take when nobody waits for it.
    pub(crate) renew_within: Duration,
    /// How what other replicas kept becomes a value, where it can.
    pub(crate) recall: Option<Recall>,
}

/// What a read is known by until it is answered.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) key: Key,
    pub(crate) route: &'static str,
    /// Who may share the answer outside.
    pub(crate) sharing: Sharing,
}

/// What came of a read at once.
enum Begun<T, S> {
    Answered(Result<Fetched<T, S>, Failure>),
    /// A flight is to be waited for; the copy may be renewed by a 304, or stand in for a failure.
    Waits(Lookup, Waiting, Option<Arc<Entry>>),
}

/// Answers a read, by `fetch` if by nothing kept and no call in flight. It begins at once, so that what is asked with
/// is no part of the future; whoever calls this does so when polled.
pub(crate) fn answer<T, S, F, Fut>(
    cx: &Cx,
    ask: Ask,
    fetch: F,
) -> impl Future<Output = Result<Fetched<T, S>, Failure>> + Send
where
    T: Send + Sync + 'static,
    S: Scope,
    F: FnOnce(Fetch) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Got<T>, Failure>> + Send + 'static,
{
    let (read, never) = (ask.read.clone(), ask.keep.never);
    let begun = ask.begin(cx, &read, fetch);
    async move {
        match begun {
            Begun::Answered(answer) => answer,
            Begun::Waits(lookup, flight, copy) => match flight.await {
                // Another replica's copy: nobody was called.
                Ok(entry) if entry.found => read.served(cx, &entry, Lookup::Hit),
                Ok(entry) => read.served(cx, &entry, lookup),
                Err(failure) => {
                    // It may have been found only on the way.
                    let found = || cx.shared().cache.kept(&read.key).filter(|_| !never);
                    read.failed(cx, failure, lookup, copy.or_else(found))
                }
            },
        }
    }
}

/// A fresh copy, if there is one: nobody is called, and nothing is waited for.
pub(crate) fn peek<T, S>(cx: &Cx, read: &Read) -> Option<Fetched<T, S>>
where
    T: Send + Sync + 'static,
{
    let entry = cx.shared().cache.kept(&read.key)?;
    let fresh = matches!(entry.standing(net::now()), Standing::Fresh(_));
    let served = fresh.then(|| read.served(cx, &entry, Lookup::Hit));
    served.and_then(Result::ok)
}

impl Ask {
    fn begin<T, S, F, Fut>(self, cx: &Cx, read: &Read, fetch: F) -> Begun<T, S>
    where
        T: Send + Sync + 'static,
        F: FnOnce(Fetch) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Got<T>, Failure>> + Send + 'static,
    {
        let (cache, never) = (&cx.shared().cache, self.keep.never);
        let copy = (!never).then(|| cache.kept(&read.key)).flatten();
        if let Some(entry) = &copy {
            match entry.standing(net::now()) {
                Standing::Fresh(_) => return Begun::Answered(read.served(cx, entry, Lookup::Hit)),
                Standing::Stale => {
                    self.renew(cx, read, entry, fetch);
                    return Begun::Answered(read.served(cx, entry, Lookup::Stale));
                }
                Standing::Spent => {}
            }
        }
        let until = cx.calls_deadline();
        let (lookup, flight) = match self.board(cx, read, until, copy.clone(), fetch) {
            Boarded::Landed(entry) => {
                return Begun::Answered(read.served(cx, &entry, Lookup::Hit));
            }
            Boarded::Joined(flight) => (Lookup::Shared, flight),
            Boarded::Began(flight) => (lookup(cx, never), flight),
        };
        Begun::Waits(lookup, flight.wait(until), copy)
    }

    /// Joins the flight for this read, or begins one on behalf of `cx`: its ids go upstream, and its share of extra
    /// attempts pays, for whoever joins might not have called at all.
    fn board<T, F, Fut>(
        self,
        cx: &Cx,
        read: &Read,
        until: Instant,
        copy: Option<Arc<Entry>>,
        fetch: F,
    ) -> Boarded
    where
        T: Send + Sync + 'static,
        F: FnOnce(Fetch) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Got<T>, Failure>> + Send + 'static,
    {
        let (cache, key, never) = (&cx.shared().cache, &read.key, self.keep.never);
        let asked = cx.world().unix_millis();
        let flying = Flying {
            cx: cx.clone(),
            key: self.read.key,
            keep: self.keep,
            copy,
            asked,
            // Its own branch, for most calls have nothing to share.
            recall: self.recall.filter(|_| !never),
        };
        let course = |until: Arc<Until>, leaving: Leaving| {
            let course = async move {
                let landed: Landed = flying.fly(until, fetch).await;
                // What landed is put away: only now may somebody else begin.
                drop(leaving);
                landed
            };
            Box::pin(course) as _
        };
        let landed = || {
            let entry = cache.kept(key).filter(|_| !never)?;
            matches!(entry.standing(net::now()), Standing::Fresh(_)).then_some(entry)
        };
        let is_current = |asked| cache.0.config.share_calls && cache.is_current(key, asked);
        let times = (asked, until);
        (cache.0.flights).board(key, times, is_current, landed, course)
    }

    /// Asks for the answer anew in the background, unless that is under way, enough others are, or we drain.
    fn renew<T, F, Fut>(self, cx: &Cx, read: &Read, copy: &Arc<Entry>, fetch: F)
    where
        T: Send + Sync + 'static,
        F: FnOnce(Fetch) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Got<T>, Failure>> + Send + 'static,
    {
        let shared = cx.shared();
        let Some(place) = shared.cache.renewal().filter(|_| !shared.tasks.is_closed()) else {
            return;
        };
        let cx = Cx::background(shared, self.renew_within);
        let until = cx.calls_deadline();
        if let Boarded::Began(flight) = self.board(&cx, read, until, Some(copy.clone()), fetch) {
            shared.tasks.spawn(async move {
                // The only call without a waiter; how it ended is known to its metrics and to the copy.
                let _ = timeout_at(cx.deadline(), flight.wait(until)).await;
                drop(place);
            });
        }
    }
}

/// What a call of its own means for somebody who asks whether the cache was of use.
fn lookup(cx: &Cx, never: bool) -> Lookup {
    if never || cx.shared().cache.0.memory.is_none() {
        Lookup::Bypass
    } else {
        Lookup::Miss
    }
}

impl Read {
    fn count(&self, cx: &Cx, lookup: Lookup) {
        let (metrics, upstream) = (&cx.shared().metrics, self.key.upstream());
        metrics.cache_lookup(upstream, self.route, lookup);
    }

    /// A copy, or what a flight brought, as this call's answer.
    fn served<T, S>(&self, cx: &Cx, entry: &Entry, lookup: Lookup) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cx, lookup);
        let value = entry.value()?;
        let lasts = entry.terms.fresh_for;
        let fresh = Provenance::fresh(self.key.upstream(), lasts, self.sharing);
        let from = match lookup {
            Lookup::Hit => {
                let now = net::now();
                let here = now.saturating_duration_since(entry.arrived);
                Provenance {
                    state: State::Cached,
                    age: Some(entry.age(now)),
                    fresh_for: lasts.saturating_sub(here),
                    ..fresh
                }
            }
            Lookup::Stale => {
                let failing = *entry.failing.lock();
                Provenance {
                    state: State::Stale,
                    age: Some(entry.age(net::now())),
                    reason: failing.map(|(reason, _)| reason),
                    retry_after: failing.and_then(|(_, after)| after),
                    fresh_for: Duration::ZERO,
                    ..fresh
                }
            }
            _ => fresh,
        };
        Ok(Fetched::new(value, Provenance { lookup, ..from }))
    }

    /// A failure, or the copy that stands in for it.
    fn failed<T, S>(
        &self,
        cx: &Cx,
        failure: Failure,
        lookup: Lookup,
        copy: Option<Arc<Entry>>,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        let failure = failure.of(self.key.upstream());
        let (cache, now) = (&cx.shared().cache, net::now());
        let stand_in =
            copy.filter(|copy| copy.stands_in(&failure, now) && cache.is_alive(&self.key, copy));
        if let Some(copy) = stand_in {
            return self.stale(cx, &copy, &failure);
        }
        self.count(cx, lookup);
        Err(failure)
    }

    /// A copy in place of an answer that failed.
    fn stale<T, S>(
        &self,
        cx: &Cx,
        entry: &Entry,
        failure: &Failure,
    ) -> Result<Fetched<T, S>, Failure>
    where
        T: Send + Sync + 'static,
    {
        self.count(cx, Lookup::StandIn);
        let fresh = Provenance::fresh(self.key.upstream(), Duration::ZERO, self.sharing);
        let from = Provenance {
            state: State::Stale,
            age: Some(entry.age(net::now())),
            reason: Some(failure.reason()),
            retry_after: failure.retry_hint(),
            lookup: Lookup::StandIn,
            ..fresh
        };
        Ok(Fetched::new(entry.value()?, from))
    }
}
