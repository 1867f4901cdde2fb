//! The responses of the HTTP backends: JSON, one error format, and strong `ETag` and `Cache-Control` for public data.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

/// The result of a handler.
pub(crate) type HandlerResult = Result<Response, Problem>;

/// The backends' error format: `{"error":"not_found","message":"..."}`.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    error: &'static str,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("no {kind} `{id}`"),
        )
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error, "message": self.message });
        private(self.status, &body)
    }
}

/// JSON with `no-store`: personal data, responses to writes, errors.
pub(crate) fn private(status: StatusCode, body: &impl Serialize) -> Response {
    with_json(status, to_bytes(body), "private, no-store")
}

/// Serialized JSON with `no-store`.
pub(crate) fn private_bytes(status: StatusCode, body: Bytes) -> Response {
    with_json(status, body, "private, no-store")
}

/// 204.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Public JSON: strong `ETag`, `max-age`, and 304 if `If-None-Match` matches.
pub(crate) fn public(
    request_headers: &HeaderMap,
    max_age_s: u32,
    body: &impl Serialize,
) -> Response {
    let bytes = to_bytes(body);
    let tag = etag(&bytes);
    public_bytes(request_headers, max_age_s, bytes, &tag)
}

/// Public JSON that is already serialized, with its `ETag`.
pub(crate) fn public_bytes(
    request_headers: &HeaderMap,
    max_age_s: u32,
    body: Bytes,
    tag: &str,
) -> Response {
    let cache = format!("public, max-age={max_age_s}");
    let mut response = if matches_tag(request_headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        with_json(StatusCode::OK, body, "")
    };
    let headers = response.headers_mut();
    if let (Ok(cache), Ok(tag)) = (HeaderValue::try_from(cache), HeaderValue::try_from(tag)) {
        headers.insert(CACHE_CONTROL, cache);
        headers.insert(ETAG, tag);
    }
    response
}

/// The strong `ETag` of a body.
pub(crate) fn etag(bytes: &[u8]) -> String {
    format!("\"{:032x}\"", xxh3_128(bytes))
}

/// Serializes a response to JSON.
pub(crate) fn to_bytes(body: &impl Serialize) -> Bytes {
    // This never fails: all types have string keys and finite numbers.
    serde_json::to_vec(body)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// A typed query. An invalid query is a 400 in the backends' error format.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// A typed JSON body. Invalid JSON is 400, JSON of another type 422.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|e| Problem::bad_request(e.body_text()))?;
        parse(&bytes).map(Self)
    }
}

/// Like [`Json`], for handlers that also need the bytes of the body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        if e.is_data() {
            Problem::invalid(e.to_string())
        } else {
            Problem::bad_request(format!("invalid JSON: {e}"))
        }
    })
}

fn with_json(status: StatusCode, body: Bytes, cache: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if !cache.is_empty() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    }
    response
}

/// Compares `If-None-Match` weakly (RFC 9110 §13.1.2).
fn matches_tag(request_headers: &HeaderMap, tag: &str) -> bool {
    let lines = request_headers.get_all(IF_NONE_MATCH).into_iter();
    lines.filter_map(|line| line.to_str().ok()).any(|line| {
        let mut tags = line.split(',').map(str::trim);
        tags.any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
    })
}

/// Responds with 404 to an unknown path.
pub(crate) async fn no_route(request: Request) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("no route {}", request.uri().path()),
    )
}

/// Responds with 405 to a method that the path does not have.
pub(crate) async fn wrong_method(request: Request) -> Problem {
    let message = format!(
        "{} is not allowed on {}",
        request.method(),
        request.uri().path()
    );
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
