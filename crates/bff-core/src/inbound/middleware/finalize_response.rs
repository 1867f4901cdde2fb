//! Finalizes every response: problem documents, 304, one `Vary`, request id and security headers.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::context::RequestId;
use crate::context::request_id::X_REQUEST_ID;
use crate::error::{Error, codes};
use crate::inbound::edge::Edge;
use crate::routes::{self, ProxiedResponse};

const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

// Constant header values, built at compile time.
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const DEFAULT_CSP: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The parts of the request on which the final response depends.
pub(in crate::inbound) struct RequestInfo<'a> {
    pub(in crate::inbound) method: &'a Method,
    pub(in crate::inbound) uri: &'a Uri,
    pub(in crate::inbound) if_none_match: Vec<HeaderValue>,
    /// Whether the client uses TLS.
    pub(in crate::inbound) is_https: bool,
}

/// The values of `If-None-Match`, read before the request moves to the handler.
pub(in crate::inbound) fn if_none_match(request: &Request) -> Vec<HeaderValue> {
    let tags = request.headers().get_all(header::IF_NONE_MATCH);
    tags.iter().cloned().collect()
}

/// Finalizes a response. A proxied response only gets its security headers, one `Vary` and the request id.
pub(in crate::inbound) fn finalize(
    edge: &Edge,
    request: &RequestInfo<'_>,
    id: &RequestId,
    response: Response,
) -> Response {
    if response.extensions().get::<ProxiedResponse>().is_some() {
        return add_security_headers(edge, request, id, response);
    }
    let mut response = if needs_problem(&response) {
        problem(edge, request, id, response)
    } else {
        response
    };
    if is_not_modified(request, &response) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_ENCODING);
    }
    let csp = response
        .headers_mut()
        .entry(header::CONTENT_SECURITY_POLICY);
    csp.or_insert(DEFAULT_CSP);
    add_security_headers(edge, request, id, response)
}

/// The `Strict-Transport-Security` of this host (RFC 6797 §6.1).
fn hsts(max_age: Duration) -> Option<HeaderValue> {
    let seconds = Some(max_age.as_secs()).filter(|seconds| *seconds > 0)?;
    HeaderValue::try_from(format!("max-age={seconds}")).ok()
}

/// Adds the headers that every response gets. For most of them, a value that the handler or the backend set wins.
fn add_security_headers(
    edge: &Edge,
    request: &RequestInfo<'_>,
    id: &RequestId,
    mut response: Response,
) -> Response {
    let headers = response.headers_mut();
    if !request.is_https {
        // A backend does not know how the client is connected (RFC 6797 §7.2).
        headers.remove(header::STRICT_TRANSPORT_SECURITY);
    } else if let Some(hsts) = hsts(edge.config.hsts_max_age) {
        let hsts_header = headers.entry(header::STRICT_TRANSPORT_SECURITY);
        hsts_header.or_insert(hsts);
    }
    fold_vary(headers);
    headers.insert(X_REQUEST_ID, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    let referrer = headers.entry(header::REFERRER_POLICY);
    referrer.or_insert(NO_REFERRER);
    headers.entry(COOP).or_insert(SAME_ORIGIN);
    response
}

/// Whether this is an error without a document yet: an [`Error`], or a rejection by the router.
fn needs_problem(response: &Response) -> bool {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return false;
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    !content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/"))
}

/// Writes the problem document of an error. Retains the headers of the original response.
fn problem(edge: &Edge, request: &RequestInfo<'_>, id: &RequestId, response: Response) -> Response {
    let error = match response.extensions().get::<Error>() {
        Some(error) => error.clone(),
        None => error_for_router_rejection(request, &response),
    };
    let document = error.problem(&edge.public_url, request.uri.path(), id.as_str());
    let mut problem = error.clone().into_response();
    *problem.body_mut() = Body::from(document);
    if error.status() == StatusCode::UNAUTHORIZED {
        edge.auth.challenge(&error, problem.headers_mut());
    }
    let own = problem.headers().clone();
    for (name, value) in response.headers() {
        let describes_old_body = name == header::CONTENT_TYPE
            || name == header::CONTENT_LENGTH
            || name == header::CONTENT_ENCODING;
        if !describes_old_body && !own.contains_key(name) {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
    problem
}

/// The error for a rejection by axum's router, such as an unknown path.
fn error_for_router_rejection(request: &RequestInfo<'_>, response: &Response) -> Error {
    let code = match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = response.headers().get(header::ALLOW).cloned();
            return Error::method_not_allowed(request.method, allow);
        }
        StatusCode::NOT_FOUND => codes::NOT_FOUND,
        StatusCode::PAYLOAD_TOO_LARGE => codes::TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => codes::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::NOT_ACCEPTABLE => codes::NOT_ACCEPTABLE,
        status if status.is_client_error() => codes::INVALID_REQUEST,
        _ => codes::INTERNAL,
    };
    Error::new(code, Cow::Borrowed(code.meaning()))
}

/// Whether the client has the response already: it is to a GET or HEAD, with status 200 and an `ETag`.
fn is_not_modified(request: &RequestInfo<'_>, response: &Response) -> bool {
    let is_read = request.method == Method::GET || request.method == Method::HEAD;
    is_read
        && response.status() == StatusCode::OK
        && response.headers().contains_key(header::ETAG)
        && routes::matches_etag(&request.if_none_match, response.headers())
}

/// Merges all `Vary` headers into one, with each name once, in lower case.
fn fold_vary(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::VARY).iter();
    let (Some(first), more) = (values.next(), values.next()) else {
        return;
    };
    if more.is_none() && !first.as_bytes().contains(&b',') {
        return;
    }
    let mut names: Vec<&str> = Vec::new();
    for value in headers.get_all(header::VARY) {
        for name in value.to_str().unwrap_or_default().split(',') {
            let name = name.trim();
            let is_same = |other: &&str| other.eq_ignore_ascii_case(name);
            if !name.is_empty() && !names.iter().any(is_same) {
                names.push(name);
            }
        }
    }
    let mut folded = names.join(", ");
    folded.make_ascii_lowercase();
    if let Ok(folded) = HeaderValue::try_from(folded) {
        headers.insert(header::VARY, folded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_headers_are_merged_into_one() {
        let mut headers = HeaderMap::new();
        for value in [
            "Origin, access-control-request-method",
            "accept-encoding",
            "origin",
        ] {
            headers.append(header::VARY, HeaderValue::from_static(value));
        }
        fold_vary(&mut headers);
        let folded: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(
            folded,
            ["origin, access-control-request-method, accept-encoding"]
        );
    }

    #[test]
    fn entity_tags_compare_weakly() {
        let mut response = Response::new(Body::empty());
        response
            .headers_mut()
            .insert(header::ETAG, HeaderValue::from_static("W/\"a\""));
        let uri = Uri::from_static("/");
        let request = |sent: [&'static str; 2]| RequestInfo {
            method: &Method::GET,
            uri: &uri,
            if_none_match: sent.map(HeaderValue::from_static).into(),
            is_https: false,
        };
        for same in ["W/\"a\"", "\"a\"", "\"b\", W/\"a\""] {
            assert!(
                is_not_modified(&request([same, "\"c\""]), &response),
                "{same}"
            );
            assert!(
                is_not_modified(&request(["\"c\"", same]), &response),
                "{same}"
            );
        }
        assert!(!is_not_modified(&request(["\"b\"", "\"c\""]), &response));
    }
}
