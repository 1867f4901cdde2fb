//! The outermost layer: ids, metrics, the panic net, and the one log line of every request.
//!
//! The line is written by a guard that the answer's body carries and drops at its end. A client that hangs
//! up drops handler and guard alike, so its request is logged too, with status 499.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::request_state::{AccessLogGuard, LoggedBody, RequestState};
use super::{finalize_response, validate_headers, write_timeout_body};
use crate::context::{RequestId, Trace};
use crate::error::{Error, codes};
use crate::inbound::edge::Edge;
use crate::scope::{X_CLIENT, X_USER_ID, X_USER_ROLE};

/// Answers a request with what is `inside`, and sees to what every answer has.
pub(in crate::inbound) async fn observe<F>(
    edge: &Arc<Edge>,
    mut request: Request,
    inside: impl FnOnce(Request, RequestState) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let world = &edge.shared.env;
    let seen = RequestState::new(
        RequestId::accept(request.headers(), world),
        Trace::continue_from(request.headers(), world),
    );
    if request.extensions().get::<MatchedPath>().is_none()
        && let Some(entry) = edge.routes.find(request.uri().path()).cloned()
    {
        request.extensions_mut().insert(entry);
    }
    let mut line = AccessLogGuard::open(edge.clone(), seen.clone(), &mut request);
    let if_none_match = finalize_response::if_none_match(&request);
    let version = request.version();
    for spoofed in [X_USER_ID, X_USER_ROLE, X_CLIENT] {
        request.headers_mut().remove(spoofed);
    }
    let response = if let Err(error) = validate_headers::check(&request) {
        error.into_response()
    } else {
        let inside = AssertUnwindSafe(inside(request, seen.clone())).catch_unwind();
        inside.await.unwrap_or_else(|panic| panicked(&*panic))
    };
    let asked = finalize_response::RequestInfo {
        method: &line.method,
        uri: &line.uri,
        if_none_match,
    };
    let mut response = finalize_response::finalize(edge, &asked, seen.request_id(), response);
    line.answered(&mut response);
    response.map(|body| write_timeout_body::wrap(LoggedBody::new(body, line), version))
}

/// A panic is ours to mend; its text goes to the log only.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Error::new(codes::INTERNAL, codes::INTERNAL.meaning())
        .with_cause(format_args!("panicked: {text}"))
        .into_response()
}
