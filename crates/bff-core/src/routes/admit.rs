//! Whether a request may pass, and as what: everything that is decided by its head, before a byte of its body is asked for.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::v1_format::ApiVersion;
use super::{Route, headers, path, websocket};
use crate::context::RequestContext;
use crate::error::{Error, codes};

/// What is known of a request once it may pass.
pub(super) struct AuthorizedRequest {
    pub(super) cx: RequestContext,
    pub(super) format: ApiVersion,
    /// The client's side of a connection that is to become a WebSocket.
    pub(super) upgrade: Option<OnUpgrade>,
}

impl AuthorizedRequest {
    /// Whether the client speaks the old format.
    pub(super) fn is_old(&self) -> bool {
        self.format == ApiVersion::V1
    }
}

/// Everything that is decided by the head, before a byte of the body is asked for.
pub(super) fn admit(route: &Route, request: &mut Request) -> Result<AuthorizedRequest, Error> {
    let config = &route.config;
    path::check(request.uri().path()).map_err(|why| {
        Error::new(
            codes::INVALID_REQUEST,
            format!("This path is not passed on: {why}."),
        )
    })?;
    let method = request.method().clone();
    if !route.methods.contains(&method) {
        return Err(Error::method_not_allowed(&method, route.allow.clone()));
    }
    let cx = request.extensions().get::<RequestContext>().cloned();
    let cx =
        cx.ok_or_else(|| Error::new(codes::INTERNAL, "Internal error: request context missing."))?;
    if !config.allow_anonymous {
        let caller = cx.require_caller()?;
        if !config.roles.is_empty() && !config.roles.iter().any(|role| caller.has_role(role)) {
            return Err(Error::new(codes::FORBIDDEN, codes::FORBIDDEN.meaning()));
        }
    }
    let wanted = websocket::requested_upgrade(
        config.websocket,
        &method,
        request.version(),
        request.headers(),
    )?;
    let upgrade = wanted.then(|| hyper::upgrade::on(&mut *request));
    let format = if config.v1_format {
        ApiVersion::extract(request.headers_mut())?
    } else {
        ApiVersion::Latest
    };
    let announced = request.body().size_hint();
    if announced.exact() != Some(0) {
        accepts_content_type(&config.content_types, request.headers())?;
    }
    if announced.lower() > route.max_body_bytes {
        let detail = format!("The body is over {} bytes.", route.max_body_bytes);
        return Err(Error::new(codes::TOO_LARGE, detail));
    }
    Ok(AuthorizedRequest {
        cx,
        format,
        upgrade,
    })
}

/// Whether a body of this media type may pass.
fn accepts_content_type(types: &[String], headers: &HeaderMap) -> Result<(), Error> {
    if types.is_empty() {
        return Ok(());
    }
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|t| t.to_str().ok());
    let essence = sent
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let fits = |allowed: &String| match allowed.strip_suffix('*') {
        Some(kind) => essence.starts_with(kind),
        None => essence == *allowed,
    };
    if types.iter().any(fits) {
        return Ok(());
    }
    let detail = format!(
        "The body is of one of these media types: {}.",
        types.join(", ")
    );
    Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// OPTIONS that may be passed on no further is answered here (RFC 9110 §7.6.2).
pub(super) fn answer_max_forwards(route: &Route, request: &mut Request) -> Option<Response> {
    if *request.method() != Method::OPTIONS
        || headers::decrement_max_forwards(request.headers_mut())
    {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allow = route
        .allow
        .iter()
        .map(|methods| (header::ALLOW, methods.clone()));
    response.headers_mut().extend(allow);
    Some(response)
}
