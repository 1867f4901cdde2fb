//! The cache of a route with `cache = true`: a shared cache of RFC 9111.
//!
//! Responses to GET are stored, and HEAD is answered from them. These requests bypass the cache: with `Range`,
//! `If-Match` or `If-Unmodified-Since`, with a body, in the v1 format, or with `no-store`. Bodies over
//! `cache_max_bytes` are streamed and not stored. Other cache directives of clients are ignored, as RFC 9111 §5.2.1
//! allows, so no client can force a call to the backend.
//!
//! A request is authenticated if the backend can identify the caller, by `X-User-Id` or a forwarded credential. It
//! shares a stored response only if the backend marks it with `public`, `s-maxage` or `must-revalidate` (§3.5). Other
//! responses to it are not stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, header};

use super::admit::AuthorizedRequest;
use super::{Entry, Route, body, headers, response};
use crate::cache::{self, Cache, CachePolicy, CacheResult, Key, ReadKey, ReadThrough, status};
use crate::error::Error;
use crate::outbound::{self, Failure, Fetched, ForwardRequest, Provenance, RequestBody};
use crate::scope::{CacheVisibility, Public};
use conditions::Conditions;
pub(crate) use conditions::matches_etag;
use stored_response::{Content, StoredResponse};

mod conditions;
mod fetch;
mod stored_response;

/// The route label of these lookups in metrics, the same as for forwarded calls.
const ROUTE: &str = "pass-through";

/// Whether a request may be answered through the cache.
pub(super) fn is_cacheable_request(admitted: &AuthorizedRequest, request: &ForwardRequest) -> bool {
    let bypassing = [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
    ];
    let empty = matches!(&request.body, RequestBody::Buffered(bytes) if bytes.is_empty());
    matches!(request.method, Method::GET | Method::HEAD)
        && empty
        && !admitted.is_v1()
        && !request.upgrade
        && !headers::contains_token(&request.headers, &header::CACHE_CONTROL, "no-store")
        && !bypassing
            .iter()
            .any(|name| request.headers.contains_key(name))
}

/// A request that uses the cache.
struct CachedRequest<'a> {
    entry: &'a Arc<Entry>,
    admitted: &'a AuthorizedRequest,
    request: Arc<ForwardRequest>,
    conditions: Conditions,
    read: ReadKey,
    policy: CachePolicy,
}

/// Answers a cacheable request from the cache, or fetches the response.
pub(super) async fn get_or_fetch(
    entry: &Arc<Entry>,
    admitted: &AuthorizedRequest,
    mut request: ForwardRequest,
) -> Result<Response, Error> {
    let route = &*entry.route;
    let cache = &route.context.shared.cache;
    let upstream = route.upstream.name();
    let key = find_key(cache, upstream, &request);
    let authenticated = fetch::is_authenticated(&admitted.cx, &request.headers);
    if !authenticated && cache.is_hit_for_miss(&key) {
        return bypass(route, admitted, &request, CacheResult::Bypass).await;
    }
    let conditions = Conditions::extract(&mut request.headers);
    let mut policy = CachePolicy::default_for(false);
    policy.tag_target(upstream, &request.target);
    if let Some(ttl) = route.config.cache_ttl {
        policy.ttl(ttl);
    }
    let cached = CachedRequest {
        entry,
        admitted,
        request: Arc::new(request),
        conditions,
        read: ReadKey {
            key,
            route: ROUTE,
            visibility: CacheVisibility::default(),
        },
        policy,
    };
    if authenticated || cached.request.method == Method::HEAD {
        cached.fetch_uncoalesced(authenticated).await
    } else {
        cached.fetch_coalesced().await
    }
}

/// The key of a request. The first stored response of a target has the target as its key. A request that does not match
/// its `Vary` fields has a key with its own values of these fields (RFC 9111 §4.1), and so on.
fn find_key(cache: &Cache, upstream: &'static str, request: &ForwardRequest) -> Key {
    // A forwarded `Host` is part of the URI. Without one, the backend has one host.
    let mut fields = BTreeSet::from([header::HOST.to_string()]);
    loop {
        let target = stored_response::variant_key(request, &fields);
        let key = cache.key::<StoredResponse>(upstream, Method::GET, target, &Public);
        let stored = cache.peek::<StoredResponse>(&key);
        let Some(other) = stored.filter(|stored| !stored.matches_vary(&request.headers)) else {
            return key;
        };
        let known = fields.len();
        fields.extend(other.vary_fields());
        if fields.len() == known {
            return key;
        }
    }
}

impl CachedRequest<'_> {
    /// Answers an authenticated or HEAD request: with a stored response that it may share, else with its own call.
    async fn fetch_uncoalesced(&self, authenticated: bool) -> Result<Response, Error> {
        let cx = &self.admitted.cx;
        let shared = &self.entry.route.context.shared;
        let stored = shared.cache.get_fresh::<StoredResponse, Public>(&self.read);
        let may_use = |stored: &StoredResponse| {
            self.matches_vary(stored) && (stored.shareable || !authenticated)
        };
        if let Some(stored) = stored.filter(|stored| may_use(&stored.value)) {
            return Ok(self.stored_response(&stored));
        }
        if self.request.method == Method::HEAD {
            return self.bypass(CacheResult::Miss).await;
        }
        let upstream = self.entry.route.upstream.name();
        (shared.metrics).cache_lookup(upstream, ROUTE, CacheResult::Miss);
        let requested_at = shared.env.unix_millis();
        let call = fetch::Call {
            cx,
            route: &self.entry.route,
            request: &self.request,
            policy: &self.policy,
            key: &self.read.key,
        };
        let full = call.fetch(authenticated, None).await?;
        let fresh = Provenance::fresh(upstream, Duration::ZERO, CacheVisibility::default());
        let value =
            shared
                .cache
                .store_response(cx, &self.read, &self.policy, requested_at, full)?;
        self.respond(&bff_context::trusted::fetched(value, fresh))
            .await
    }

    /// Answers any other request: from the cache, or with a call that concurrent requests share.
    async fn fetch_coalesced(mut self) -> Result<Response, Error> {
        let mut fetched = self.read_through().await?;
        if !self.matches_vary(&fetched.value) {
            // A concurrent request got this response. If it is stored, this request now has a key of its own.
            let route = &self.entry.route;
            let cache = &route.context.shared.cache;
            let key = find_key(cache, route.upstream.name(), &self.request);
            if key != self.read.key {
                self.read.key = key;
                fetched = self.read_through().await?;
            }
        }
        self.respond(&fetched).await
    }

    async fn read_through(&self) -> Result<Fetched<StoredResponse, Public>, Failure> {
        let read_through = ReadThrough {
            read: self.read.clone(),
            policy: self.policy.clone(),
            revalidation_timeout: Duration::ZERO,
            decode: Some(StoredResponse::decode),
        };
        let (entry, request) = (self.entry.clone(), self.request.clone());
        let (policy, key) = (self.policy.clone(), self.read.key.clone());
        let fetch = move |fetch: cache::FetchContext| async move {
            let call = fetch::Call {
                cx: &fetch.cx,
                route: &entry.route,
                request: &request,
                policy: &policy,
                key: &key,
            };
            let full = call.fetch(false, Some(&fetch)).await?;
            Ok(cache::FetchResult::Full(full))
        };
        let cache = &self.entry.route.context.shared.cache;
        Box::pin(cache.get_or_fetch(&self.admitted.cx, read_through, fetch)).await
    }

    /// Answers with a fetched response. Makes another call if its `Vary` fields differ or another request took its
    /// stream.
    async fn respond(&self, fetched: &Fetched<StoredResponse, Public>) -> Result<Response, Error> {
        let stored = &*fetched.value;
        if !self.matches_vary(stored) {
            return self.bypass(CacheResult::Miss).await;
        }
        let Content::Stream(rest) = &stored.content else {
            return Ok(self.stored_response(fetched));
        };
        let Some(rest) = rest.lock().take() else {
            return self.bypass(CacheResult::Bypass).await;
        };
        let route = &self.entry.route;
        let body = response::stream(route, &stored.head, rest.body, rest.guard);
        let mut response = stored.response(Body::new(body.with_first(rest.first)));
        set_cache_status(&mut response, CacheResult::Miss);
        Ok(self.conditions.apply(response))
    }

    /// Makes a call of its own, which is not stored.
    async fn bypass(&self, result: CacheResult) -> Result<Response, Error> {
        let route = &self.entry.route;
        let response = bypass(route, self.admitted, &self.request, result).await?;
        Ok(self.conditions.apply(response))
    }

    fn matches_vary(&self, stored: &StoredResponse) -> bool {
        stored.matches_vary(&self.request.headers)
    }

    /// The response of a buffered body, with `Age` and the cache headers.
    fn stored_response(&self, fetched: &Fetched<StoredResponse, Public>) -> Response {
        let stored = &*fetched.value;
        let body = match &stored.content {
            // The length of a response to HEAD is that of the body that GET has (RFC 9110 §8.6).
            Content::Full(bytes) => Body::from(bytes.clone()),
            Content::Stream(_) => body::of_unknown_length(),
        };
        let mut response = stored.response(body);
        if let Some(age) = fetched.provenance.age {
            let age = HeaderValue::from(age.as_secs());
            response.headers_mut().insert(header::AGE, age);
        }
        status::write_headers(std::iter::once(&fetched.provenance), response.headers_mut());
        self.conditions.apply(response)
    }
}

/// Forwards a request without the cache, and reports that in the response's headers.
async fn bypass(
    route: &Route,
    admitted: &AuthorizedRequest,
    request: &ForwardRequest,
    result: CacheResult,
) -> Result<Response, Error> {
    let cx = &admitted.cx;
    (route.context.shared.metrics).cache_lookup(route.upstream.name(), ROUTE, result);
    let forwarded = outbound::forward(cx, &route.upstream, request).await?;
    let mut response = response::respond(route, admitted, &request.method, forwarded).await?;
    set_cache_status(&mut response, result);
    Ok(response)
}

/// Sets the cache headers of a response that does not come from the cache.
pub(super) fn set_cache_status(response: &mut Response, result: CacheResult) {
    let provenance = Provenance {
        cache_result: result,
        ..Provenance::fresh("", Duration::ZERO, CacheVisibility::default())
    };
    status::write_headers(std::iter::once(&provenance), response.headers_mut());
}
