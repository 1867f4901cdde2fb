//! The OpenAPI description of rate limits: the response headers and the 429 response.

use utoipa::openapi::header::Header;
use utoipa::openapi::{Components, Object, PathItem, Ref, RefOr, Response, Type};

use super::operations::{operations_mut, problem_document};
use crate::rate_limit::Limits;

/// Name, description and type of the headers on every response under a rate limit.
pub(super) const RATE_LIMIT_HEADERS: [(&str, &str, Type); 5] = [
    (
        "RateLimit",
        "For each limit: the remaining requests, and the seconds until all are available again.",
        Type::String,
    ),
    (
        "RateLimit-Policy",
        "For each limit: the allowed requests, and the length of the window in seconds.",
        Type::String,
    ),
    (
        "X-RateLimit-Limit",
        "The requests that the strictest limit allows.",
        Type::Integer,
    ),
    (
        "X-RateLimit-Remaining",
        "The remaining requests of that limit.",
        Type::Integer,
    ),
    (
        "X-RateLimit-Reset",
        "The seconds until all of them are available again.",
        Type::Integer,
    ),
];

/// The additional header of a 429 response.
pub(super) const RETRY_AFTER: (&str, &str, Type) = (
    "Retry-After",
    "The seconds to wait before a retry.",
    Type::Integer,
);

const RESPONSE_NAME: &str = "RateLimited";

/// Adds the headers and the 429 response to every operation of a path that has a rate limit.
pub(super) fn add_headers(item: &mut PathItem, limits: &Limits, path: &str, proxied: bool) {
    let has_policy = limits.counts_route(path, proxied);
    if !has_policy && !limits.has_per_ip() {
        return;
    }
    for (_, operation) in operations_mut(item) {
        let responses = &mut operation.responses.responses;
        for response in responses.values_mut() {
            if let (RefOr::T(response), true) = (response, has_policy) {
                add_header_refs(response, &RATE_LIMIT_HEADERS);
            }
        }
        let rate_limited = Ref::from_response_name(RESPONSE_NAME);
        responses.insert("429".into(), RefOr::Ref(rate_limited));
    }
}

/// Adds the shared header and response components.
pub(super) fn describe(components: &mut Components) {
    for (name, text, header_type) in RATE_LIMIT_HEADERS.into_iter().chain([RETRY_AFTER]) {
        let mut header = Header::new(Object::with_type(header_type));
        header.description = Some(text.to_owned());
        components.headers.insert(name.into(), RefOr::T(header));
    }
    let mut rate_limited = problem_document(
        "Too many requests: a problem document (RFC 9457) with the code `rate_limited`.",
    );
    add_header_refs(&mut rate_limited, &RATE_LIMIT_HEADERS);
    add_header_refs(&mut rate_limited, &[RETRY_AFTER]);
    let rate_limited = RefOr::T(rate_limited);
    components
        .responses
        .insert(RESPONSE_NAME.into(), rate_limited);
}

/// Adds references to shared headers.
pub(super) fn add_header_refs(response: &mut Response, headers: &[(&str, &str, Type)]) {
    for (name, ..) in headers {
        let header = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert((*name).into(), RefOr::Ref(header));
    }
}
