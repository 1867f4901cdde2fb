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

use super::admit::AuthorizedRequest;
use super::{Entry, Route, headers, response};
use crate::cache::{self, CachePolicy, CacheResult, Key, ReadKey, ReadThrough, status};
use crate::error::Error;
use crate::outbound::{self, Fetched, ForwardRequest, Provenance, RequestBody};
use crate::scope::{CacheVisibility, Public};
use conditions::Conditions;
use stored_response::{Content, StoredResponse};

mod conditions;
mod fetch;
mod stored_response;

/// What these reads are called in metrics, as the calls are.
const ROUTE: &str = "pass-through";

/// Whether a request is answered through the cache.
pub(super) fn is_cacheable_request(admitted: &AuthorizedRequest, passage: &ForwardRequest) -> bool {
    let asks_for_more = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ];
    let empty = matches!(&passage.body, RequestBody::Buffered(bytes) if bytes.is_empty());
    matches!(passage.method, Method::GET | Method::HEAD)
        && empty
        && !admitted.is_old()
        && !passage.upgrade
        && !headers::contains_token(&passage.headers, header::CACHE_CONTROL, "no-store")
        && !asks_for_more
            .iter()
            .any(|name| passage.headers.contains_key(name))
}

/// A request on its way through the cache.
struct CachedRequest<'a> {
    entry: &'a Arc<Entry>,
    admitted: &'a AuthorizedRequest,
    passage: Arc<ForwardRequest>,
    conditions: Conditions,
    read: ReadKey,
    keep: CachePolicy,
}

/// Answers a request that suits.
pub(super) async fn answer(
    entry: &Arc<Entry>,
    admitted: &AuthorizedRequest,
    mut passage: ForwardRequest,
) -> Result<Response, Error> {
    let route = &*entry.route;
    let cache = &route.around.shared.cache;
    let upstream = route.upstream.name();
    let note = key::<stored_response::VaryFields>(cache, upstream, passage.target.clone());
    let names = cache.annotation::<stored_response::VaryFields>(&note);
    let target = stored_response::variant(&passage, names.as_deref());
    let key = key::<StoredResponse>(cache, upstream, target);
    let known = fetch::is_authenticated(&admitted.cx, &passage.headers);
    if !known && cache.is_hit_for_miss(&key) {
        return bypass(route, admitted, &passage, CacheResult::Bypass).await;
    }
    let conditions = Conditions::extract(&mut passage.headers);
    let mut keep = CachePolicy::default_for(false);
    keep.tag_target(upstream, &passage.target);
    if let Some(ttl) = route.config.cache_ttl {
        keep.ttl(ttl);
    }
    let asking = CachedRequest {
        entry,
        admitted,
        passage: Arc::new(passage),
        conditions,
        read: ReadKey {
            key,
            route: ROUTE,
            visibility: CacheVisibility::default(),
        },
        keep,
    };
    if known || asking.passage.method == Method::HEAD {
        asking.fetch_uncoalesced(known, &note).await
    } else {
        asking.fetch_coalesced(note).await
    }
}

fn key<T: 'static>(cache: &cache::Cache, upstream: &'static str, target: String) -> Key {
    cache.key::<T>(upstream, Method::GET, target, &Public)
}

impl CachedRequest<'_> {
    /// For whoever shares no call with others: a copy that is for them, or a call of their own.
    async fn fetch_uncoalesced(&self, known: bool, note: &Key) -> Result<Response, Error> {
        let cx = &self.admitted.cx;
        let shared = &self.entry.route.around.shared;
        let copy = shared.cache.get_fresh::<StoredResponse, Public>(&self.read);
        if let Some(copy) =
            copy.filter(|copy| self.matches_vary(&copy.value) && (copy.value.for_all || !known))
        {
            return Ok(self.reply(&copy));
        }
        if self.passage.method == Method::HEAD {
            let passed = bypass(
                &self.entry.route,
                self.admitted,
                &self.passage,
                CacheResult::Miss,
            );
            return Ok(self.conditions.apply(passed.await?));
        }
        let upstream = self.entry.route.upstream.name();
        (shared.metrics).cache_lookup(upstream, ROUTE, CacheResult::Miss);
        let asked = shared.env.unix_millis();
        let call = fetch::Call::new(
            cx,
            &self.entry.route,
            &self.passage,
            &self.keep,
            &self.read.key,
        );
        let whole = call.fetch(known, note, None).await?;
        let fresh = Provenance::fresh(upstream, Duration::ZERO, CacheVisibility::default());
        let value = shared
            .cache
            .store_response(cx, &self.read, &self.keep, asked, whole)?;
        self.respond(&bff_context::trusted::fetched(value, fresh))
            .await
    }

    /// For everybody else: a copy, the call under way, or one that others may join.
    async fn fetch_coalesced(self, note: Key) -> Result<Response, Error> {
        let (cx, route) = (&self.admitted.cx, self.entry.route.clone());
        let ask = ReadThrough {
            read: self.read.clone(),
            policy: self.keep.clone(),
            revalidation_timeout: Duration::ZERO,
            decode: Some(StoredResponse::decode),
        };
        let (passage, keep, key) = (
            self.passage.clone(),
            self.keep.clone(),
            self.read.key.clone(),
        );
        let fetch = move |fetch: cache::FetchContext| async move {
            let call = fetch::Call::new(&fetch.cx, &route, &passage, &keep, &key);
            let whole = call.fetch(false, &note, Some(&fetch)).await?;
            Ok(cache::FetchResult::Full(whole))
        };
        let cache = &self.entry.route.around.shared.cache;
        let fetched = cache.get_or_fetch::<StoredResponse, Public, _, _>(cx, ask, fetch);
        let fetched = Box::pin(fetched).await?;
        self.respond(&fetched).await
    }

    /// What was fetched, if it is for this request and there is something of it left; else another call.
    async fn respond(&self, fetched: &Fetched<StoredResponse, Public>) -> Result<Response, Error> {
        let passed = &*fetched.value;
        if !self.matches_vary(passed) {
            let own = bypass(
                &self.entry.route,
                self.admitted,
                &self.passage,
                CacheResult::Miss,
            );
            return Ok(self.conditions.apply(own.await?));
        }
        let Content::Once(rest) = &passed.content else {
            return Ok(self.reply(fetched));
        };
        let rest = rest.lock().take();
        let response = if let Some(rest) = rest {
            let route = &self.entry.route;
            let body =
                response::stream(route, &passed.head, rest.body, rest.stay).after(rest.first);
            let mut response = passed.response(Body::new(body));
            set_cache_status(&mut response, CacheResult::Miss);
            response
        } else {
            // Somebody else has it.
            let route = &self.entry.route;
            bypass(route, self.admitted, &self.passage, CacheResult::Bypass).await?
        };
        Ok(self.conditions.apply(response))
    }

    fn matches_vary(&self, passed: &StoredResponse) -> bool {
        passed.fits(&self.passage.headers)
    }

    /// A whole answer as the client gets it.
    fn reply(&self, fetched: &Fetched<StoredResponse, Public>) -> Response {
        let passed = &*fetched.value;
        let body = match &passed.content {
            Content::Whole(bytes) if self.passage.method != Method::HEAD => {
                Body::from(bytes.clone())
            }
            _ => Body::empty(),
        };
        let mut response = passed.response(body);
        if let Some(age) = fetched.provenance.age {
            let age = HeaderValue::from(age.as_secs());
            response.headers_mut().insert(header::AGE, age);
        }
        status::write_headers(std::iter::once(&fetched.provenance), response.headers_mut());
        self.conditions.apply(response)
    }
}

/// Passed on as without a cache, which says so.
async fn bypass(
    route: &Route,
    admitted: &AuthorizedRequest,
    passage: &ForwardRequest,
    how: CacheResult,
) -> Result<Response, Error> {
    let cx = &admitted.cx;
    (route.around.shared.metrics).cache_lookup(route.upstream.name(), ROUTE, how);
    let answer = outbound::forward(cx, &route.upstream, passage).await?;
    let mut response = response::respond(route, admitted, &passage.method, answer).await?;
    set_cache_status(&mut response, how);
    Ok(response)
}

/// Says how the cache was used where no copy was.
pub(super) fn set_cache_status(response: &mut Response, how: CacheResult) {
    let from = Provenance {
        cache_result: how,
        ..Provenance::fresh("", Duration::ZERO, CacheVisibility::default())
    };
    status::write_headers(std::iter::once(&from), response.headers_mut());
}
