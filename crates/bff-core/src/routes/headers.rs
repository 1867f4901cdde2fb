//! The headers that are forwarded, and the hop-by-hop headers that are not (RFC 9110 §7.6).
//!
//! Trailers are dropped in both directions, as §6.5.1 allows.

use bff_context::field_value;
use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::config::{Config, Credential};
use crate::auth::X_API_KEY;
use crate::context::trace;
use crate::scope::{X_USER_ID, X_USER_ROLE};
use crate::section::screen::BY_CALLER;

/// Hop-by-hop headers, whether `Connection` lists them or not.
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

/// Headers with which some backends override the method or the URL. The client would bypass the checks of this gateway.
const OVERRIDES: [&str; 6] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];

/// Removes `Connection`, the headers that it lists, and all other hop-by-hop headers.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = field_value::members(headers, &header::CONNECTION)
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the comma-separated list of a header contains the token.
pub(super) fn contains_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    field_value::members(headers, name).any(|member| member.eq_ignore_ascii_case(token))
}

/// The client's headers for the backend, without those that a backend must not get from a client. The HTTP client sets
/// the framing headers.
pub(super) fn from_client(mut headers: HeaderMap, config: &Config) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    // Servers that map headers to variables confuse `X_User_Id` with `X-User-Id`.
    let ambiguous: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in ambiguous {
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
    if !config.forwards(Credential::Authorization) {
        headers.remove(header::AUTHORIZATION);
    }
    if config.forwards(Credential::Cookie) {
        join_cookie_crumbs(&mut headers);
    } else {
        headers.remove(header::COOKIE);
    }
    headers
}

/// Joins the `Cookie` headers of HTTP/2 into one for HTTP/1.1 (RFC 9113 §8.2.3).
fn join_cookie_crumbs(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = (headers.get_all(header::COOKIE).iter())
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Removes the headers of a backend's response that only the gateway may set.
pub(super) fn from_backend(headers: &mut HeaderMap, config: &Config) {
    strip_hop_by_hop(headers);
    // The edge decides on CORS.
    let cors: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in cors {
        headers.remove(name);
    }
    if !config.forwards(Credential::Cookie) {
        headers.remove(header::SET_COOKIE);
    }
}

/// Adds the credential headers to `Vary` if the backend varies by the identity that the gateway derives from them.
pub(super) fn vary_by_credential(headers: &mut HeaderMap) {
    let varies_by = |name: &HeaderName| contains_token(headers, &header::VARY, name.as_str());
    if [X_USER_ID, X_USER_ROLE].iter().any(varies_by) {
        append(headers, header::VARY, BY_CALLER.as_bytes());
    }
}

/// Whether the body is a stream of server-sent events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = media.and_then(|media| media.split(|b| *b == b';').next());
    essence.is_some_and(|e| e.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

/// Appends to `Via` the version of the received message and the name of this gateway (RFC 9110 §7.6.3).
pub(super) fn append_via(headers: &mut HeaderMap, version: Version, gateway: &HeaderValue) {
    let version: &[u8] = match version {
        Version::HTTP_10 => b"1.0 ",
        Version::HTTP_2 => b"2 ",
        _ => b"1.1 ",
    };
    let mut element = version.to_vec();
    element.extend_from_slice(gateway.as_bytes());
    append(headers, header::VIA, &element);
}

/// Decrements `Max-Forwards` (RFC 9110 §7.6.2). Returns false if it is 0. A malformed value is ignored.
pub(super) fn decrement_max_forwards(headers: &mut HeaderMap) -> bool {
    let left = headers.get(header::MAX_FORWARDS);
    let left = left.and_then(|left| left.to_str().ok());
    // `parse` also reads a sign, which is no digit.
    let left = left.filter(|left| left.bytes().all(|b| b.is_ascii_digit()));
    let left = left.and_then(|left| left.parse::<u64>().ok());
    match left {
        None => true,
        Some(0) => false,
        Some(left) => {
            headers.insert(header::MAX_FORWARDS, (left - 1).into());
            true
        }
    }
}

/// Appends an item to a comma-separated list, and merges the list into one header.
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

/// Sets `Transfer-Encoding: chunked` for a body of unknown length. The HTTP client sets it for other methods than these,
/// and would drop the body.
pub(super) fn set_chunked(headers: &mut HeaderMap, method: &Method) {
    if method.is_safe() {
        let chunked = HeaderValue::from_static("chunked");
        headers.insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// Sets `Content-Length: 0` for methods that usually have a body (RFC 9110 §8.6).
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
    fn hop_by_hop_headers_are_removed() {
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
    fn a_backend_that_varies_by_identity_varies_by_credential() {
        for (vary, expected) in [
            (
                "accept, X-User-Id",
                "accept, X-User-Id, authorization, x-api-key",
            ),
            ("x-user-role", "x-user-role, authorization, x-api-key"),
            ("accept, x-user", "accept, x-user"),
        ] {
            let mut head = headers(&[("vary", vary)]);
            vary_by_credential(&mut head);
            assert_eq!(head, headers(&[("vary", expected)]));
        }
    }

    #[test]
    fn tokens_are_compared_without_case_and_outside_quotes() {
        for (lines, contained) in [
            (&["no-store"][..], true),
            (&["a, No-Store"], true),
            (&["a", "NO-STORE"], true),
            (&[",,\tno-store ,"], true),
            (&["a=\"b, no-store\""], false),
            (&["no-store-x"], false),
            (&["no-store=1"], false),
            (&[""], false),
        ] {
            let mut sent = HeaderMap::new();
            for line in lines {
                sent.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
            }
            let found = contains_token(&sent, &header::CACHE_CONTROL, "no-store");
            assert_eq!(found, contained, "{lines:?}");
        }
    }

    #[test]
    fn a_media_type_is_compared_without_case_and_parameters() {
        for (media, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream", true),
            ("text/event-stream ; charset=\"utf-8\"", true),
            ("text/event-streams", false),
            ("text/plain; a=\"text/event-stream\"", false),
            ("", false),
        ] {
            let head = headers(&[("content-type", media)]);
            assert_eq!(is_event_stream(&head), expected, "{media}");
        }
    }

    #[test]
    fn max_forwards_is_a_number() {
        for (sent, forwarded, left) in [
            ("0", false, "0"),
            ("000", false, "000"),
            ("1", true, "0"),
            ("10", true, "9"),
            ("+1", true, "+1"),
            ("-1", true, "-1"),
            ("", true, ""),
            ("1.5", true, "1.5"),
            ("99999999999999999999", true, "99999999999999999999"),
        ] {
            let mut headers = headers(&[("max-forwards", sent)]);
            assert_eq!(decrement_max_forwards(&mut headers), forwarded, "{sent}");
            assert_eq!(headers[header::MAX_FORWARDS], left);
        }
    }

    #[test]
    fn via_gets_one_more_element() {
        let mut sent = headers(&[("via", "1.0 a"), ("via", "1.1 b")]);
        append_via(&mut sent, Version::HTTP_2, &HeaderValue::from_static("web"));
        assert_eq!(sent, headers(&[("via", "1.0 a, 1.1 b, 2 web")]));
    }

    #[test]
    fn cookie_headers_are_joined() {
        let mut sent = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookie_crumbs(&mut sent);
        assert_eq!(sent, headers(&[("cookie", "a=1; b=2")]));
    }
}
