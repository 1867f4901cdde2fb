//! The response of a proxy route: the backend's response, or an upgraded connection.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::admit::AuthorizedRequest;
use super::body::{self, Download};
use super::v1_format::ApiVersion;
use super::{Route, headers, v1_format, websocket};
use crate::context::RequestContext;
use crate::error::Error;
use crate::outbound::{self, Failure, ForwardResponse, InFlightGuard, InstanceClients, Reason};

/// Converts the backend's response for the client.
pub(super) async fn respond(
    route: &Route,
    admitted: &AuthorizedRequest,
    method: &Method,
    forwarded: ForwardResponse,
) -> Result<Response, Error> {
    let (mut head, body) = forwarded.response.into_parts();
    convert_headers(route, &admitted.cx, head.version, &mut head.headers);
    let is_v1 = admitted.format == ApiVersion::V1;
    let has_body = *method != Method::HEAD && !body.is_end_stream();
    let body = if is_v1 && has_body && v1_format::is_json(&head.headers) {
        let max_bytes = route.upstream.max_body_bytes();
        let read = outbound::read_response(&head.headers, body, max_bytes);
        let read = timeout_at(admitted.cx.upstream_deadline(), read).await;
        let read = read.unwrap_or_else(|_| Err(Failure::new(Reason::Deadline)));
        let bytes = match read {
            Ok(bytes) => bytes,
            // The status says what happened to a write, and why a read failed. It is not replaced.
            Err(_) if !method.is_safe() || !head.status.is_success() => Bytes::new(),
            Err(failure) => return Err(failure.with_upstream(route.upstream.name()).into()),
        };
        v1_format::fix_representation_headers(&mut head.headers);
        if bytes.is_empty() {
            head.headers.remove(header::CONTENT_TYPE);
        }
        Body::from(v1_format::convert_response(bytes))
    } else {
        // A response without a body, such as one to HEAD, may still describe one.
        if is_v1 && (v1_format::is_json(&head.headers) || head.status == StatusCode::NOT_MODIFIED) {
            v1_format::fix_representation_headers(&mut head.headers);
        }
        let length_is_known = head.headers.contains_key(header::CONTENT_LENGTH);
        if *method == Method::HEAD && !length_is_known {
            body::of_unknown_length()
        } else {
            Body::new(stream(route, &head.headers, body, forwarded.guard))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// Converts the headers of the backend's response for the client.
pub(super) fn convert_headers(
    route: &Route,
    cx: &RequestContext,
    version: Version,
    head: &mut HeaderMap,
) {
    headers::from_backend(head, &route.config);
    headers::append_via(head, version, cx.client());
    headers::vary_by_credential(head);
    if route.config.v1_format {
        v1_format::append_vary(head);
    }
}

/// Streams a backend's body to the client.
pub(super) fn stream(
    route: &Route,
    head: &HeaderMap,
    body: Incoming,
    guard: InFlightGuard<InstanceClients>,
) -> Download {
    let body = Download::new(body, route.config.idle_timeout, guard);
    if headers::is_event_stream(head) {
        body.end_on(route.context.shutdown.clone())
    } else {
        body
    }
}

/// Connects client and backend after a 101. A tracked task relays the bytes: a drain ends it and waits for it.
pub(super) fn upgrade(
    route: &Route,
    admitted: AuthorizedRequest,
    mut forwarded: ForwardResponse,
) -> Result<Response, Error> {
    let cx = admitted.cx;
    let client = admitted
        .upgrade
        .filter(|_| websocket::is_upgraded(forwarded.response.headers()));
    let Some(client) = client else {
        let failure =
            Failure::new(Reason::BadResponse).with_cause("it switched to another protocol");
        return Err(failure.with_upstream(route.upstream.name()).into());
    };
    let backend = hyper::upgrade::on(&mut forwarded.response);
    let (mut head, _) = forwarded.response.into_parts();
    headers::from_backend(&mut head.headers, &route.config);
    headers::append_via(&mut head.headers, head.version, cx.client());
    websocket::set_upgrade_headers(&mut head.headers);
    let shared = &route.context.shared;
    let gauge = shared.metrics.websocket_opened(route.upstream.name());
    let (idle, shutdown) = (route.config.idle_timeout, route.context.shutdown.clone());
    let guard = forwarded.guard;
    shared.tasks.spawn(async move {
        websocket::relay(client, backend, idle, shutdown).await;
        drop((guard, gauge));
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Ok(response)
}
