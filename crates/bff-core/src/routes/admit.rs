//! The checks of a request's headers, before any byte of its body is read.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bff_context::field_value;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::v1_format::ApiVersion;
use super::{Route, headers, path, websocket};
use crate::context::RequestContext;
use crate::error::{Error, codes};

/// The result of the checks.
pub(super) struct AuthorizedRequest {
    pub(super) cx: RequestContext,
    pub(super) format: ApiVersion,
    /// The client's side of a connection that is to become a WebSocket.
    pub(super) upgrade: Option<OnUpgrade>,
}

impl AuthorizedRequest {
    /// Whether the client uses the v1 format.
    pub(super) fn is_v1(&self) -> bool {
        self.format == ApiVersion::V1
    }
}

/// Checks path, method, caller, upgrade, format, media type and announced length.
pub(super) fn admit(route: &Route, request: &mut Request) -> Result<AuthorizedRequest, Error> {
    let config = &route.config;
    path::check(request.uri().path()).map_err(|reason| {
        let detail = format!("This path is not forwarded: {reason}.");
        Error::new(codes::INVALID_REQUEST, detail)
    })?;
    let method = request.method().clone();
    if !route.methods.contains(&method) {
        return Err(Error::method_not_allowed(&method, route.allow.clone()));
    }
    let cx = request.extensions().get::<RequestContext>().cloned();
    let cx = cx.ok_or_else(|| {
        let detail = "Internal error: request context missing.";
        Error::new(codes::INTERNAL, detail)
    })?;
    if !config.allow_anonymous {
        let caller = cx.require_caller()?;
        if !config.roles.is_empty() && !config.roles.iter().any(|role| caller.has_role(role)) {
            return Err(Error::new(codes::FORBIDDEN, codes::FORBIDDEN.meaning()));
        }
    }
    let requested = websocket::requested_upgrade(
        config.websocket,
        &method,
        request.version(),
        request.headers(),
    )?;
    let upgrade = requested.then(|| hyper::upgrade::on(&mut *request));
    let format = if config.v1_format {
        ApiVersion::extract(request.headers_mut())?
    } else {
        ApiVersion::Latest
    };
    let size = request.body().size_hint();
    if size.exact() != Some(0) {
        accepts_content_type(&config.content_types, request.headers())?;
    }
    if size.lower() > route.max_body_bytes {
        let detail = format!("The body is over {} bytes.", route.max_body_bytes);
        return Err(Error::new(codes::TOO_LARGE, detail));
    }
    Ok(AuthorizedRequest {
        cx,
        format,
        upgrade,
    })
}

/// Checks the body's media type. A repeated one could have another meaning for the backend.
fn accepts_content_type(types: &[String], headers: &HeaderMap) -> Result<(), Error> {
    if headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        let detail = "The Content-Type header was sent more than once.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if types.is_empty() {
        return Ok(());
    }
    let sent = field_value::media_type(headers);
    let matches = |allowed: &String| {
        let allowed = allowed.to_ascii_lowercase();
        match allowed.strip_suffix('*') {
            Some(prefix) => sent.starts_with(prefix),
            None => sent == allowed,
        }
    };
    if types.iter().any(matches) {
        return Ok(());
    }
    let detail = format!(
        "The body must have one of these media types: {}.",
        types.join(", ")
    );
    Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// Answers an OPTIONS request whose `Max-Forwards` is 0 (RFC 9110 §7.6.2).
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
