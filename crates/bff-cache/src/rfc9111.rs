//! Decides whether a response is stored and how long it is fresh: RFC 9111, by the crate `http-cache-semantics`.
//!
//! This module adds the rules that it lacks: RFC 5861; every form of a field (`canonical.rs`); an unreadable
//! `Cache-Control` counts as `no-store`; the age from `Date` and the response delay (RFC 9111 §4.2.3); fields that only the 304 has (§3.2).
//! Like the crate, it is stricter than the RFC: a shared entry with `proxy-revalidate` is never fresh. Neither is
//! one with `Set-Cookie` but without `public`. Heuristic freshness is off: only explicit lifetimes count.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_cache_semantics::{
    BeforeRequest, CacheOptions, CachePolicy as Rfc9111Policy, RequestLike, ResponseLike,
};

use super::directives::Directives;
use super::policy::CachePolicy;
use bff_context::context::deadline::REQUEST_TIMEOUT;
use bff_context::context::request_id::X_REQUEST_ID;
use bff_context::context::trace::{TRACEPARENT, TRACESTATE};
use bff_context::context::urgency::PRIORITY;

mod canonical;

/// The header fields stored with an entry: enough to evaluate it again after a 304.
const STORED_FIELDS: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
    header::DATE,
    header::AGE,
    header::VARY,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// The fields of a body that a 304 does not update (RFC 9111 §3.2).
const BODY_FIELDS: [HeaderName; 4] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
];

/// Request fields that differ in every request and are in no key. A response that varies by one serves one request.
const PER_REQUEST_FIELDS: [HeaderName; 5] = [
    X_REQUEST_ID,
    REQUEST_TIMEOUT,
    PRIORITY,
    TRACEPARENT,
    TRACESTATE,
];

/// `Date` has whole seconds, so a new response may look older than it is by up to this.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// The parts of a request that decide whether its response may be stored.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

/// The parts of a response that decide whether it may be stored.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The time at which the response arrived.
    pub received_at: SystemTime,
    /// The `response_delay` of RFC 9111 §4.2.3: from sending the request to receiving the head.
    pub response_delay: Duration,
}

/// Whether a response is stored and how long it may be used. Times count from its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageDecision {
    /// The response may be stored.
    pub may_store: bool,
    /// Its age on arrival.
    pub age: Duration,
    /// How long it is fresh.
    pub fresh_for: Duration,
    /// How long after that it may be served during a background revalidation (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long after its freshness it may be served if the backend fails (RFC 5861 §4).
    pub stale_if_error: Duration,
}

impl RequestLike for RequestView<'_> {
    /// Always the same: the key holds the address.
    fn uri(&self) -> Uri {
        Uri::default()
    }

    fn is_same_uri(&self, _: &Uri) -> bool {
        true
    }

    fn method(&self) -> &Method {
        self.method
    }

    fn headers(&self) -> &HeaderMap {
        self.headers
    }
}

impl ResponseLike for ResponseView<'_> {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn headers(&self) -> &HeaderMap {
        self.headers
    }
}

/// Evaluates a response. The TTL of `cache_policy` replaces the backend's lifetime, unless the backend forbids storing
/// or gives a lifetime of zero. Its stale bounds are maxima; the backend may lower them.
pub fn evaluate(
    request: &RequestView<'_>,
    response: ResponseView<'_>,
    cache_policy: &CachePolicy,
) -> StorageDecision {
    let shared = !cache_policy.personal;
    let directives = Directives::of(response.headers, shared);
    if directives.no_store {
        return StorageDecision::default();
    }
    let canonical = canonical::canonical(response.headers);
    let response = ResponseView {
        headers: &canonical,
        ..response
    };
    let options = CacheOptions {
        shared,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let policy = Rfc9111Policy::new_options(request, &response, response.received_at, options);
    if !policy.is_storable() || varies_per_request(&policy, request, &response) {
        return StorageDecision::default();
    }
    let header_age = policy.age(response.received_at);
    let age = header_age
        .saturating_add(response.response_delay)
        .max(apparent_age(&response));
    let remaining = policy.time_to_live(response.received_at);
    let explicit =
        directives.lifetime || directives.strict || response.headers.contains_key(header::EXPIRES);
    let success = response.status.is_success();
    let lifetime = match cache_policy.ttl {
        Some(ttl) if success && (!remaining.is_zero() || !explicit) => ttl,
        _ if remaining.is_zero() => Duration::ZERO,
        _ => remaining.saturating_add(header_age),
    };
    let stale = |bound: Duration, backend: Option<Duration>| {
        let bound = bound.min(backend.unwrap_or(bound));
        if success && !directives.strict {
            bound
        } else {
            Duration::ZERO
        }
    };
    StorageDecision {
        may_store: !cache_policy.no_store,
        age,
        // Ages and lifetimes are whole seconds (§1.2.2): an exchange of some milliseconds costs no freshness.
        fresh_for: lifetime.saturating_sub(Duration::from_secs(age.as_secs())),
        stale_while_revalidate: stale(
            cache_policy.stale_while_revalidate,
            directives.stale_while_revalidate,
        ),
        stale_if_error: stale(cache_policy.stale_if_error, directives.stale_if_error),
    }
}

/// Copies the fields into one buffer of their own. Values that were read are slices of a much larger receive buffer,
/// which would otherwise stay in memory.
pub fn compact_headers(headers: &HeaderMap) -> HeaderMap {
    let mut text = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        text.extend_from_slice(value.as_bytes());
    }
    let mut text = text.freeze();
    let mut compacted = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let copy = HeaderValue::from_maybe_shared(text.split_to(value.len()));
        // The bytes were a valid value before.
        compacted.append(name, copy.unwrap_or_else(|_| value.clone()));
    }
    compacted
}

/// The fields to store, in a buffer of their own.
pub(super) fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    let mut stored = HeaderMap::new();
    replace_fields(&mut stored, headers, &STORED_FIELDS);
    // It would become a condition of another meaning: `*` matches every version.
    if stored
        .get(header::ETAG)
        .is_some_and(|tag| opaque_tag(tag).is_none())
    {
        stored.remove(header::ETAG);
    }
    compact_headers(&stored)
}

/// The opaque part of an entity tag (RFC 9110 §8.8.3), which weak comparison compares. `None`: it is no entity tag.
fn opaque_tag(tag: &HeaderValue) -> Option<Box<[u8]>> {
    let tag = tag.as_bytes();
    let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
    let content = opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    // A space is not allowed, but some backends have it.
    let is_valid = content.iter().all(|b| !matches!(b, b'"' | b'\t'));
    is_valid.then(|| content.into())
}

/// Updates stored fields from a 304 (RFC 9111 §3.2); `None` if the 304 is about another version.
pub fn merge_304_headers(stored: &HeaderMap, update: &HeaderMap) -> Option<HeaderMap> {
    let etag = |headers: &HeaderMap| headers.get(header::ETAG).and_then(opaque_tag);
    if etag(update).is_some_and(|new| etag(stored).is_none_or(|old| old != new)) {
        return None;
    }
    let mut head = stored.clone();
    // `Age` belongs to the earlier response.
    head.remove(header::AGE);
    let updated = update.keys().filter(|name| !BODY_FIELDS.contains(name));
    replace_fields(&mut head, update, updated);
    Some(compact_headers(&head))
}

fn replace_fields<'a>(
    head: &mut HeaderMap,
    from: &HeaderMap,
    names: impl IntoIterator<Item = &'a HeaderName>,
) {
    for name in names {
        let mut values = from.get_all(name).iter();
        if let Some(first) = values.next() {
            head.insert(name.clone(), first.clone());
            for value in values {
                head.append(name.clone(), value.clone());
            }
        }
    }
}

/// Whether the response varies by a field that differs in every request (RFC 9111 §4.1).
fn varies_per_request(
    policy: &Rfc9111Policy,
    request: &RequestView<'_>,
    response: &ResponseView<'_>,
) -> bool {
    if !response.headers.contains_key(header::VARY) {
        return false;
    }
    let mut headers = request.headers.clone();
    for name in PER_REQUEST_FIELDS {
        headers.insert(name, HeaderValue::from_static("another request's"));
    }
    let other = RequestView {
        headers: &headers,
        ..*request
    };
    matches!(
        policy.before_request(&other, response.received_at),
        BeforeRequest::Stale { matches: false, .. }
    )
}

/// The `apparent_age` of RFC 9111 §4.2.3.
fn apparent_age(response: &ResponseView<'_>) -> Duration {
    let date = response.headers.get(header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let since = date.and_then(|date| response.received_at.duration_since(date).ok());
    since.unwrap_or_default().saturating_sub(DATE_RESOLUTION)
}

#[cfg(test)]
mod tests;
