//! The cache of a route with `cache = true`: shared, transparent, and as RFC 9111 has it.
//!
//! GET is kept, and HEAD answered by what GET kept. What asks for a part (`Range`), on a condition about a change
//! (`If-Match`, `If-Unmodified-Since`), with a body, in the old format or with `no-store` is passed on as without a
//! cache. So are bodies longer than the bound, which stream. What a client says of freshness changes nothing (RFC 9111
//! §5.2.1 lets a cache choose): nobody can make a gateway ask anew.
//!
//! Whoever is known to the backend, by `X-User-Id` or a credential that passes, shares only what the backend says is
//! for all: `public`, `s-maxage` or `must-revalidate` (§3.5). Everything else they get is fetched for them and not kept.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, header};

use super::admit::Admitted;
use super::{Entry, Route, headers, reply};
use crate::cache::{self, Ask, Keep, Key, Lookup, Read, status};
use crate::error::Error;
use crate::outbound::{self, Fetched, Load, Passage, Provenance};
use crate::scope::{Public, Sharing};
use conditions::Conditions;
use passed::{Content, Passed};

mod conditions;
mod fetch;
mod passed;

/// What these reads are called in metrics, as the calls are.
const ROUTE: &str = "pass-through";

/// Whether a request is answered through the cache.
pub(super) fn suits(admitted: &Admitted, passage: &Passage) -> bool {
    let asks_for_more = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ];
    let empty = matches!(&passage.load, Load::Kept(bytes) if bytes.is_empty());
    matches!(passage.method, Method::GET | Method::HEAD)
        && empty
        && !admitted.is_old()
        && !passage.upgrade
        && !headers::lists(&passage.headers, header::CACHE_CONTROL, "no-store")
        && !asks_for_more
            .iter()
            .any(|name| passage.headers.contains_key(name))
}

/// A request on its way through the cache.
struct Asking<'a> {
    entry: &'a Arc<Entry>,
    admitted: &'a Admitted,
    passage: Arc<Passage>,
    conditions: Conditions,
    read: Read,
    keep: Keep,
}

/// Answers a request that suits.
pub(super) async fn answer(
    entry: &Arc<Entry>,
    admitted: &Admitted,
    mut passage: Passage,
) -> Result<Response, Error> {
    let route = &*entry.route;
    let cache = &admitted.cx.shared().cache;
    let upstream = route.upstream.name();
    let note = key::<passed::Varies>(cache, upstream, passage.target.clone());
    let names = cache.noted::<passed::Varies>(&note);
    let target = passed::variant(&passage, names.as_deref());
    let key = key::<Passed>(cache, upstream, target);
    let known = fetch::is_known(&admitted.cx, &passage.headers);
    if !known && cache.is_unkept(&key) {
        return passed_by(route, admitted, &passage, Lookup::Bypass).await;
    }
    let conditions = Conditions::take(&mut passage.headers);
    let mut keep = Keep::unsaid(false);
    keep.names(upstream, &passage.target);
    if let Some(ttl) = route.config.cache_ttl {
        keep.ttl(ttl);
    }
    let asking = Asking {
        entry,
        admitted,
        passage: Arc::new(passage),
        conditions,
        read: Read {
            key,
            route: ROUTE,
            sharing: Sharing::default(),
        },
        keep,
    };
    if known || asking.passage.method == Method::HEAD {
        asking.alone(known, &note).await
    } else {
        asking.together(note).await
    }
}

fn key<T: 'static>(cache: &cache::Cache, upstream: &'static str, target: String) -> Key {
    cache.key::<T>(upstream, Method::GET, target, &Public)
}

impl Asking<'_> {
    /// For whoever shares no call with others: a copy that is for them, or a call of their own.
    async fn alone(&self, known: bool, note: &Key) -> Result<Response, Error> {
        let cx = &self.admitted.cx;
        let copy = cache::peek::<Passed, Public>(cx, &self.read);
        if let Some(copy) =
            copy.filter(|copy| self.fits(&copy.value) && (copy.value.for_all || !known))
        {
            return Ok(self.reply(&copy));
        }
        if self.passage.method == Method::HEAD {
            let passed = passed_by(
                &self.entry.route,
                self.admitted,
                &self.passage,
                Lookup::Miss,
            );
            return Ok(self.conditions.apply(passed.await?));
        }
        let upstream = self.entry.route.upstream.name();
        (cx.shared().metrics).cache_lookup(upstream, ROUTE, Lookup::Miss);
        let asked = cx.world().unix_millis();
        let call = fetch::Call::new(
            cx,
            &self.entry.route,
            &self.passage,
            &self.keep,
            &self.read.key,
        );
        let whole = call.fetch(known, note, None).await?;
        let fresh = Provenance::fresh(upstream, Duration::ZERO, Sharing::default());
        let value = cache::keep(cx, &self.read, &self.keep, asked, whole)?;
        self.settled(&Fetched::new(value, fresh)).await
    }

    /// For everybody else: a copy, the call under way, or one that others may join.
    async fn together(self, note: Key) -> Result<Response, Error> {
        let (cx, route) = (&self.admitted.cx, self.entry.route.clone());
        let ask = Ask {
            read: self.read.clone(),
            keep: self.keep.clone(),
            renew_within: Duration::ZERO,
            recall: Some(Passed::recall),
        };
        let (passage, keep, key) = (
            self.passage.clone(),
            self.keep.clone(),
            self.read.key.clone(),
        );
        let fetched = cache::answer::<Passed, Public, _, _>(cx, ask, move |fetch| async move {
            let call = fetch::Call::new(&fetch.cx, &route, &passage, &keep, &key);
            let whole = call.fetch(false, &note, Some(&fetch)).await?;
            Ok(cache::Got::Whole(whole))
        });
        let fetched = Box::pin(fetched).await?;
        self.settled(&fetched).await
    }

    /// What was fetched, if it is for this request and there is something of it left; else another call.
    async fn settled(&self, fetched: &Fetched<Passed, Public>) -> Result<Response, Error> {
        let passed = &*fetched.value;
        if !self.fits(passed) {
            let own = passed_by(
                &self.entry.route,
                self.admitted,
                &self.passage,
                Lookup::Miss,
            );
            return Ok(self.conditions.apply(own.await?));
        }
        let Content::Once(rest) = &passed.content else {
            return Ok(self.reply(fetched));
        };
        let rest = rest.lock().take();
        let response = if let Some(rest) = rest {
            let route = &self.entry.route;
            let body = reply::stream(route, &passed.head, rest.body, rest.stay).after(rest.first);
            let mut response = passed.response(Body::new(body));
            told(&mut response, Lookup::Miss);
            response
        } else {
            // Somebody else has it.
            let route = &self.entry.route;
            passed_by(route, self.admitted, &self.passage, Lookup::Bypass).await?
        };
        Ok(self.conditions.apply(response))
    }

    fn fits(&self, passed: &Passed) -> bool {
        passed.fits(&self.passage.headers)
    }

    /// A whole answer as the client gets it.
    fn reply(&self, fetched: &Fetched<Passed, Public>) -> Response {
        let passed = &*fetched.value;
        let body = match &passed.content {
            Content::Whole(bytes) if self.passage.method != Method::HEAD => {
                Body::from(bytes.clone())
            }
            _ => Body::empty(),
        };
        let mut response = passed.response(body);
        if let Some(age) = fetched.from.age {
            let age = HeaderValue::from(age.as_secs());
            response.headers_mut().insert(header::AGE, age);
        }
        status::tell(std::iter::once(&fetched.from), response.headers_mut());
        self.conditions.apply(response)
    }
}

/// Passed on as without a cache, which says so.
async fn passed_by(
    route: &Route,
    admitted: &Admitted,
    passage: &Passage,
    how: Lookup,
) -> Result<Response, Error> {
    let cx = &admitted.cx;
    (cx.shared().metrics).cache_lookup(route.upstream.name(), ROUTE, how);
    let answer = outbound::pass(cx, &route.upstream, passage).await?;
    let mut response = reply::respond(route, admitted, &passage.method, answer).await?;
    told(&mut response, how);
    Ok(response)
}

/// Says how the cache was used where no copy was.
pub(super) fn told(response: &mut Response, how: Lookup) {
    let from = Provenance {
        lookup: how,
        ..Provenance::fresh("", Duration::ZERO, Sharing::default())
    };
    status::tell(std::iter::once(&from), response.headers_mut());
}
