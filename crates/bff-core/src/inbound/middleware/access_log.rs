//! The outermost middleware: request id, metrics, panic guard and access log.
//!
//! A guard writes the log line when the response's body is dropped. If the client disconnects, the handler and the guard
//! are dropped too, so the request is logged with status 499.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderValue, Version, header};
use tower_http::cors::CorsLayer;

use super::request_state::{AccessLogGuard, LoggedBody, RequestState};
use super::{cors, finalize_response, validate_headers, write_timeout_body};
use crate::context::{RequestId, Trace};
use crate::error::{Error, codes};
use crate::inbound::admission::client_scheme;
use crate::inbound::edge::Edge;
use crate::scope::{X_CLIENT, X_USER_ID, X_USER_ROLE};

/// Calls `inner`, then finalizes the response and logs it. Every response has its CORS headers, rejections and panics
/// included.
pub(in crate::inbound) async fn observe<F>(
    edge: &Arc<Edge>,
    cors: Option<&CorsLayer>,
    mut request: Request,
    inner: impl Fn(Request, RequestState) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let env = &edge.shared.env;
    let state = RequestState::new(
        RequestId::accept(request.headers(), env),
        Trace::continue_from(request.headers(), env),
    );
    if request.extensions().get::<MatchedPath>().is_none()
        && let Some(entry) = edge.routes.find(request.uri().path()).cloned()
    {
        request.extensions_mut().insert(entry);
    }
    let mut guard = AccessLogGuard::new(edge.clone(), state.clone(), &mut request);
    let if_none_match = finalize_response::if_none_match(&request);
    let version = request.version();
    let is_https = client_scheme::is_https(&request, &edge.config.trusted_proxies);
    // Only the gateway may set these headers, for its backends.
    for internal in [X_USER_ID, X_USER_ROLE, X_CLIENT] {
        request.headers_mut().remove(internal);
    }
    let response = match validate_headers::check(&mut request) {
        Ok(()) => {
            let inner = |request| catch_panic(inner(request, state.clone()));
            cors::apply(cors, request, inner).await
        }
        Err(error) => cors::add_headers(cors, request.headers(), reject(&error, version)).await,
    };
    let info = finalize_response::RequestInfo {
        method: &guard.method,
        uri: &guard.uri,
        if_none_match,
        is_https,
    };
    let mut response = finalize_response::finalize(edge, &info, state.request_id(), response);
    guard.record_response(&mut response);
    response.map(|body| write_timeout_body::wrap(LoggedBody::new(body, guard), version))
}

/// The response to a malformed request. Its end is uncertain, so HTTP/1.1 closes the connection (RFC 9112 §6.3).
pub(super) fn reject(error: &Error, version: Version) -> Response {
    let mut response = error.clone().into_response();
    if version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

async fn catch_panic(inner: impl Future<Output = Response>) -> Response {
    let response = AssertUnwindSafe(inner).catch_unwind().await;
    response.unwrap_or_else(|panic| panic_response(&*panic))
}

/// The 500 for a panic. The panic's message goes to the log only.
fn panic_response(panic: &(dyn std::any::Any + Send)) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(codes::INTERNAL, codes::INTERNAL.meaning())
        .with_cause(format_args!("panicked: {text}"))
        .into_response()
}
