//! What comes back through a route: the backend's answer as the client gets it, or a connection that became another.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::admit::AuthorizedRequest;
use super::body::Download;
use super::v1_format::ApiVersion;
use super::{Route, headers, v1_format, websocket};
use crate::error::Error;
use crate::outbound::{self, Failure, ForwardResponse, InFlightGuard, InstanceClients, Reason};

/// The backend's answer as the client gets it.
pub(super) async fn respond(
    route: &Route,
    admitted: &AuthorizedRequest,
    method: &Method,
    answer: ForwardResponse,
) -> Result<Response, Error> {
    let (mut head, body) = answer.response.into_parts();
    headers::from_backend(&mut head.headers, &route.config);
    headers::via(&mut head.headers, head.version, admitted.cx.client());
    if route.config.v1_format {
        v1_format::vary(&mut head.headers);
    }
    let old = admitted.format == ApiVersion::V1;
    let has_body = *method != Method::HEAD && !body.is_end_stream();
    let body = if old && has_body && v1_format::is_json(&head.headers) {
        let most = route.upstream.max_body_bytes();
        let read = outbound::read_response(&head.headers, body, most);
        let read = timeout_at(admitted.cx.upstream_deadline(), read).await;
        let read = read.unwrap_or_else(|_| Err(Failure::new(Reason::Deadline)));
        let bytes = read.map_err(|failure| failure.with_upstream(route.upstream.name()))?;
        v1_format::fix_representation_headers(&mut head.headers);
        Body::from(v1_format::answer(&bytes)?)
    } else {
        // What has no body may still tell of one.
        if old && (v1_format::is_json(&head.headers) || head.status == StatusCode::NOT_MODIFIED) {
            v1_format::fix_representation_headers(&mut head.headers);
        }
        Body::new(stream(route, &head.headers, body, answer.guard))
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// A body on its way to the client.
pub(super) fn stream(
    route: &Route,
    head: &HeaderMap,
    body: Incoming,
    stay: InFlightGuard<InstanceClients>,
) -> Download {
    let body = Download::new(body, route.config.idle_timeout, stay);
    if headers::is_event_stream(head) {
        body.until(route.around.leaving.clone())
    } else {
        body
    }
}

/// Both connections become one. What carries it is a tracked task: drain ends it and waits for it.
pub(super) fn upgrade(
    route: &Route,
    admitted: AuthorizedRequest,
    mut answer: ForwardResponse,
) -> Result<Response, Error> {
    let cx = admitted.cx;
    let client = admitted
        .upgrade
        .filter(|_| websocket::switched(answer.response.headers()));
    let Some(client) = client else {
        let failure =
            Failure::new(Reason::BadResponse).with_cause("it switched to another protocol");
        return Err(failure.with_upstream(route.upstream.name()).into());
    };
    let backend = hyper::upgrade::on(&mut answer.response);
    let (mut head, _) = answer.response.into_parts();
    headers::from_backend(&mut head.headers, &route.config);
    headers::via(&mut head.headers, head.version, cx.client());
    websocket::set_upgrade_headers(&mut head.headers);
    let shared = &route.around.shared;
    let open = shared.metrics.tunnel_opened(route.upstream.name());
    let (idle, leaving) = (route.config.idle_timeout, route.around.leaving.clone());
    let stay = answer.guard;
    shared.tasks.spawn(async move {
        websocket::relay(client, backend, idle, leaving).await;
        drop((stay, open));
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = head.headers;
    Ok(response)
}
