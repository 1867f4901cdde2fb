//! What the contract says of limits, where requests are counted: the headers of every answer, and 429.

use utoipa::openapi::header::Header;
use utoipa::openapi::{
    Components, ContentBuilder, Object, PathItem, Ref, RefOr, Response, ResponseBuilder, Type,
};

use super::operations;
use crate::rate_limit::Limits;

/// The headers of an answer that was counted, and what each says.
const COUNTED: [(&str, &str, Type); 5] = [
    (
        "RateLimit",
        "For each limit: how many requests are left, and in how many seconds all are free again.",
        Type::String,
    ),
    (
        "RateLimit-Policy",
        "For each limit: how many requests in how many seconds.",
        Type::String,
    ),
    (
        "X-RateLimit-Limit",
        "How many requests the strictest limit allows.",
        Type::Integer,
    ),
    (
        "X-RateLimit-Remaining",
        "How many of them are left.",
        Type::Integer,
    ),
    (
        "X-RateLimit-Reset",
        "In how many seconds all of them are free again.",
        Type::Integer,
    ),
];

/// The header of a refusal alone.
const RETRY_AFTER: (&str, &str, Type) = (
    "Retry-After",
    "After how many seconds the same request would pass.",
    Type::Integer,
);

const RESPONSE: &str = "RateLimited";

/// Says it of every operation of an address, where a limit counts them.
pub(super) fn add_headers(item: &mut PathItem, limits: &Limits, path: &str, passed: bool) {
    let counted = limits.count_route(path, passed);
    if !counted && !limits.count_addresses() {
        return;
    }
    for operation in operations(item) {
        let answers = &mut operation.responses.responses;
        for answer in answers.values_mut() {
            if let (RefOr::T(answer), true) = (answer, counted) {
                add(answer, &COUNTED);
            }
        }
        let refused = Ref::from_response_name(RESPONSE);
        answers.insert("429".into(), RefOr::Ref(refused));
    }
}

/// What is said of all of them in one place.
pub(super) fn describe(components: &mut Components) {
    for (name, text, kind) in COUNTED.into_iter().chain([RETRY_AFTER]) {
        let mut header = Header::new(Object::with_type(kind));
        header.description = Some(text.to_owned());
        components.headers.insert(name.into(), RefOr::T(header));
    }
    let mut refused = ResponseBuilder::new()
        .description("Too many requests: a problem (RFC 9457) with the code `rate_limited`.")
        .content(
            "application/problem+json",
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("Problem")))
                .build(),
        )
        .build();
    add(&mut refused, &COUNTED);
    add(&mut refused, &[RETRY_AFTER]);
    let refused = RefOr::T(refused);
    components.responses.insert(RESPONSE.into(), refused);
}

fn add(answer: &mut Response, headers: &[(&str, &str, Type)]) {
    for (name, ..) in headers {
        let header = Ref::new(format!("#/components/headers/{name}"));
        answer.headers.insert((*name).into(), RefOr::Ref(header));
    }
}
