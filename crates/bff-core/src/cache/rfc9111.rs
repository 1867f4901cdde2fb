//! Whether an answer may be kept, and for how long it is good: RFC 9111, by the crate `http-cache-semantics`.
//!
//! Added to it, for it lacks them: RFC 5861; directives in any case; a `Cache-Control` that cannot be read counts as
//! `no-store`; the age that `Date` and the time of the exchange tell (RFC 9111 §4.2.3); header fields that only the
//! 304 has (§3.2). Stricter than the RFC, as the crate is: `proxy-revalidate` leaves a shared copy no freshness, and
//! `Set-Cookie` none without `public`. Heuristic freshness is off: only what is said counts.

use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_cache_semantics::{
    BeforeRequest, CacheOptions, CachePolicy as Rfc9111Policy, RequestLike, ResponseLike,
};

use super::directives::Directives;
use super::policy::CachePolicy;
use crate::context::deadline::REQUEST_TIMEOUT;
use crate::context::request_id::X_REQUEST_ID;
use crate::context::trace::{TRACEPARENT, TRACESTATE};
use crate::context::urgency::PRIORITY;

/// What of an answer's head is kept with it: enough to judge it again after a 304.
const KEPT: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
    header::DATE,
    header::AGE,
    header::VARY,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// What differs from request to request and is in no key: an answer that varies by it is good for one request only.
const OF_ONE_REQUEST: [HeaderName; 5] = [
    X_REQUEST_ID,
    REQUEST_TIMEOUT,
    PRIORITY,
    TRACEPARENT,
    TRACESTATE,
];

/// `Date` counts whole seconds, so a new answer may look so much older than it is.
const DATE_STEP: Duration = Duration::from_secs(1);

/// What an answer was asked with, as far as keeping it depends on that.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// Its header fields.
    pub headers: &'a HeaderMap,
}

/// An answer that is judged.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// When it arrived.
    pub at: SystemTime,
    /// How long the exchange took.
    pub took: Duration,
}

/// What follows: for how long a copy is good, counted from its arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageDecision {
    /// A copy may be kept.
    pub may_keep: bool,
    /// How old it was on arrival.
    pub age: Duration,
    /// How long it is fresh.
    pub fresh_for: Duration,
    /// For how long after that it may be served while it is asked for anew.
    pub stale_while_revalidate: Duration,
    /// For how long after its freshness it may be served when the backend fails.
    pub stale_if_error: Duration,
}

impl RequestLike for RequestView<'_> {
    /// Which address it was is the key's to know.
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

/// Judges an answer. What `keep` says of freshness replaces what the backend says, unless the backend forbids
/// keeping it or says that it is never fresh; what it says of stale answers is a bound that the backend may lower.
pub fn evaluate(
    asked: &RequestView<'_>,
    answer: ResponseView<'_>,
    keep: &CachePolicy,
) -> StorageDecision {
    let shared = !keep.personal;
    let said = Directives::of(answer.headers, shared);
    if said.no_store {
        return StorageDecision::default();
    }
    let quiet = has_uppercase_directive(answer.headers).then(|| in_lower_case(answer.headers));
    let answer = ResponseView {
        headers: quiet.as_ref().unwrap_or(answer.headers),
        ..answer
    };
    let options = CacheOptions {
        shared,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    let policy = Rfc9111Policy::new_options(asked, &answer, answer.at, options);
    if !policy.is_storable() || varies_per_request(&policy, asked, &answer) {
        return StorageDecision::default();
    }
    let told = policy.age(answer.at);
    let age = told.saturating_add(answer.took).max(apparent_age(&answer));
    let left = policy.time_to_live(answer.at);
    let explicit = said.lifetime || said.strict || answer.headers.contains_key(header::EXPIRES);
    let found = answer.status.is_success();
    let lifetime = match keep.ttl {
        Some(ttl) if found && (!left.is_zero() || !explicit) => ttl,
        _ if left.is_zero() => Duration::ZERO,
        _ => left.saturating_add(told),
    };
    let stale = |bound: Duration, told: Option<Duration>| {
        let bound = bound.min(told.unwrap_or(bound));
        if found && !said.strict {
            bound
        } else {
            Duration::ZERO
        }
    };
    StorageDecision {
        may_keep: !keep.no_store,
        age,
        // Ages and lifetimes are whole seconds (§1.2.2): an exchange of some milliseconds costs none.
        fresh_for: lifetime.saturating_sub(Duration::from_secs(age.as_secs())),
        stale_while_revalidate: stale(keep.stale_while_revalidate, said.stale_while_revalidate),
        stale_if_error: stale(keep.stale_if_error, said.stale_if_error),
    }
}

/// The same head in memory of its own. What was read is a slice of a buffer that is much larger than what is kept of it,
/// and lasts as long.
pub(crate) fn compact_headers(headers: &HeaderMap) -> HeaderMap {
    let mut text = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        text.extend_from_slice(value.as_bytes());
    }
    let mut text = text.freeze();
    let mut owned = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let copy = HeaderValue::from_maybe_shared(text.split_to(value.len()));
        // It was a value before.
        owned.append(name, copy.unwrap_or_else(|_| value.clone()));
    }
    owned
}

/// What of a head is worth keeping, in memory of its own.
pub(super) fn stored_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    replace(&mut kept, headers);
    compact_headers(&kept)
}

/// A kept head after a 304 (RFC 9111 §3.2), in memory of its own; `None` when the 304 is about another version.
pub(crate) fn merge_304_headers(kept: &HeaderMap, told: &HeaderMap) -> Option<HeaderMap> {
    let plain = |headers: &HeaderMap| {
        let tag = headers.get(header::ETAG)?.to_str().ok()?;
        Some(tag.trim_start_matches("W/").to_owned())
    };
    if plain(told).is_some_and(|new| plain(kept).is_none_or(|old| old != new)) {
        return None;
    }
    let mut head = kept.clone();
    // It was the age of the earlier answer.
    head.remove(header::AGE);
    replace(&mut head, told);
    Some(compact_headers(&head))
}

fn replace(head: &mut HeaderMap, by: &HeaderMap) {
    for name in KEPT {
        let mut values = by.get_all(&name).iter();
        if let Some(first) = values.next() {
            head.insert(name.clone(), first.clone());
            for more in values {
                head.append(name.clone(), more.clone());
            }
        }
    }
}

/// Whether the answer varies by something that no two requests share (RFC 9111 §4.1).
fn varies_per_request(
    policy: &Rfc9111Policy,
    asked: &RequestView<'_>,
    answer: &ResponseView<'_>,
) -> bool {
    if !answer.headers.contains_key(header::VARY) {
        return false;
    }
    let mut headers = asked.headers.clone();
    for name in OF_ONE_REQUEST {
        headers.insert(name, HeaderValue::from_static("another request's"));
    }
    let other = RequestView {
        headers: &headers,
        ..*asked
    };
    matches!(
        policy.before_request(&other, answer.at),
        BeforeRequest::Stale { matches: false, .. }
    )
}

/// The apparent age of RFC 9111 §4.2.3.
fn apparent_age(answer: &ResponseView<'_>) -> Duration {
    let date = answer.headers.get(header::DATE);
    let date = date.and_then(|d| {
        let text = d.to_str().ok()?;
        let format = &time::format_description::well_known::Rfc2822;
        time::OffsetDateTime::parse(text, format).ok()
    });
    let since = date.and_then(|date| answer.at.duration_since(date.into()).ok());
    since.unwrap_or_default().saturating_sub(DATE_STEP)
}

/// Whether a directive is not in lower case, which the crate does not understand (RFC 9111 §5.2: case-insensitive).
fn has_uppercase_directive(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CACHE_CONTROL).iter();
    values.any(|value| value.as_bytes().iter().any(u8::is_ascii_uppercase))
}

fn in_lower_case(headers: &HeaderMap) -> HeaderMap {
    let mut quiet = headers.clone();
    quiet.remove(header::CACHE_CONTROL);
    for value in headers.get_all(header::CACHE_CONTROL) {
        let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
        if let Ok(value) = HeaderValue::try_from(text) {
            quiet.append(header::CACHE_CONTROL, value);
        }
    }
    quiet
}

#[cfg(test)]
mod tests;
