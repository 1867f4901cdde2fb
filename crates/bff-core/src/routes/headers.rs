//! Which headers go on, and which are between two neighbours only (RFC 9110 §7.6).
//!
//! Trailers are dropped both ways, which §6.5.1 allows to whoever does not know what they mean.

use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::config::{Config, Credential};
use crate::auth::X_API_KEY;
use crate::context::trace;

/// Between two neighbours, whether `Connection` says so or not.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Ways in which some backends let a client say another method or address than the one access was decided on.
const OVERRIDES: [&str; 6] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];

/// Takes off what is for the neighbour alone: `Connection`, what it names, and what always is.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a comma list of the header holds the word.
pub(super) fn contains_token(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name);
    let mut words = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// What a client sent, without what the backend must not take from a client. Framing is written anew.
pub(super) fn from_client(mut headers: HeaderMap, config: &Config) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    // Servers that make variables of headers take `X_User_Id` for `X-User-Id`.
    let doubtful: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in doubtful {
        headers.remove(name);
    }
    for name in OVERRIDES {
        headers.remove(name);
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::HOST);
    headers.remove(header::EXPECT);
    headers.remove(X_API_KEY);
    headers.remove(trace::TRACEPARENT);
    headers.remove(trace::TRACESTATE);
    if !config.passes(Credential::Authorization) {
        headers.remove(header::AUTHORIZATION);
    }
    if config.passes(Credential::Cookie) {
        join_cookie_crumbs(&mut headers);
    } else {
        headers.remove(header::COOKIE);
    }
    headers
}

/// HTTP/2 sends a cookie in crumbs; HTTP/1.1 has one line for it (RFC 9113 §8.2.3).
fn join_cookie_crumbs(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = (headers.get_all(header::COOKIE).iter())
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// What a backend answered, without what only the gateway may say.
pub(super) fn from_backend(headers: &mut HeaderMap, config: &Config) {
    strip_hop_by_hop(headers);
    // Which pages may read an answer is decided at the edge.
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    if !config.passes(Credential::Cookie) {
        headers.remove(header::SET_COOKIE);
    }
}

/// Whether the body is a stream of server-sent events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE);
    media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"))
}

/// Adds who passed the message on, and how it came (RFC 9110 §7.6.3).
pub(super) fn via(headers: &mut HeaderMap, version: Version, by: &HeaderValue) {
    let version: &[u8] = match version {
        Version::HTTP_10 => b"1.0 ",
        Version::HTTP_2 => b"2 ",
        _ => b"1.1 ",
    };
    let mut ours = version.to_vec();
    ours.extend_from_slice(by.as_bytes());
    append(headers, header::VIA, &ours);
}

/// Counts one hop; false when none is left (RFC 9110 §7.6.2). What is no number says nothing.
pub(super) fn decrement_max_forwards(headers: &mut HeaderMap) -> bool {
    let left = headers.get(header::MAX_FORWARDS);
    let left = left.and_then(|left| left.to_str().ok()?.parse::<u64>().ok());
    match left {
        None => true,
        Some(0) => false,
        Some(left) => {
            headers.insert(header::MAX_FORWARDS, (left - 1).into());
            true
        }
    }
}

/// Adds to a comma list, keeping it one line.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, item: &[u8]) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item);
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// A method that has a body says so when it is empty (RFC 9110 §8.6).
pub(super) fn set_zero_content_length(headers: &mut HeaderMap, method: &Method) {
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH)
        && let Entry::Vacant(length) = headers.entry(header::CONTENT_LENGTH)
    {
        length.insert(HeaderValue::from_static("0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_for_the_neighbour_ends_here() {
        let mut sent = headers(&[
            ("connection", "close, X-Own"),
            ("connection", "x-other"),
            ("x-own", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut sent);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn via_grows_by_one() {
        let mut sent = headers(&[("via", "1.0 a"), ("via", "1.1 b")]);
        via(&mut sent, Version::HTTP_2, &HeaderValue::from_static("web"));
        assert_eq!(sent, headers(&[("via", "1.0 a, 1.1 b, 2 web")]));
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let mut sent = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookie_crumbs(&mut sent);
        assert_eq!(sent, headers(&[("cookie", "a=1; b=2")]));
    }
}
