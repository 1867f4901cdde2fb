//! The middleware around every route: [`layer`] adds it, and [`handle`] lists its order.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tower::Service;
use tower::layer::layer_fn;
use tower_http::cors::CorsLayer;

use super::admission::{authenticate, ip_filter, load_shed};
use super::edge::Edge;
use request_state::{EdgeState, RequestState};

pub(in crate::inbound) mod access_log;
pub(in crate::inbound) mod compress;
pub(in crate::inbound) mod connection_activity;
pub(in crate::inbound) mod cors;
pub(in crate::inbound) mod finalize_response;
pub(in crate::inbound) mod request_state;
pub(in crate::inbound) mod validate_headers;
pub(in crate::inbound) mod write_timeout_body;

/// Puts the edge around each route of a router.
pub fn layer(edge: &Arc<Edge>, router: Router) -> Result<Router, String> {
    let cors = cors::layer(&edge.config)?.map(Arc::new);
    let edge = edge.clone();
    Ok(router.layer(layer_fn(move |route| EdgeService {
        edge: edge.clone(),
        cors: cors.clone(),
        route,
    })))
}

/// What a request passes, outermost first.
async fn handle(gate: EdgeService, request: Request) -> Response {
    let EdgeService { edge, cors, route } = &gate;
    // Request id, trace, metrics and the one log line; Host and header limits; the panic net; problem documents,
    // security headers, 304, one `Vary`.
    access_log::observe(edge, request, |request, seen| async move {
        // CORS headers stand on every answer, refusals included.
        let inside = |request| handle_admitted(edge, &seen, request, route);
        cors::apply(cors.as_deref(), request, inside).await
    })
    .await
}

/// Lets a request in, in order, if it may come in.
async fn handle_admitted(
    edge: &Edge,
    seen: &RequestState,
    mut request: Request,
    route: &Route,
) -> Response {
    // The IP filter; the address's own limit, of which a failed credential costs ten.
    let client = match ip_filter::check_address(edge, &request) {
        Ok(client) => client,
        Err(refusal) => return *refusal,
    };
    // A free slot by intent, or 503 at once, before any work and before the deadline starts.
    let door = edge.endpoint_options(&request);
    let place = match door.map(|door| edge.shed.admit(&door, &mut request)) {
        None => None,
        Some(Ok(place)) => Some(place),
        Some(Err(error)) => return error.into_response(),
    };
    let coming = EdgeState {
        client,
        door,
        seen,
        standing: place.as_ref().map(load_shed::Admission::standing),
    };
    // The deadline starts; a credential becomes a caller; then the caller's quota, and the context opens. What the door
    // answers is encoded as the client likes it best.
    let response = authenticate::authenticate_and_handle(edge, coming, request, route).await;
    if let Some(slot) = place.and_then(|place| place.finish(&response)) {
        seen.hold(slot);
    }
    response
}

/// A route, and what stands around it.
#[derive(Clone)]
struct EdgeService {
    edge: Arc<Edge>,
    /// None where no page may call.
    cors: Option<Arc<CorsLayer>>,
    route: Route,
}

impl Service<Request> for EdgeService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Whether there is room is told by an answer.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(handle(self.clone(), request).map(Ok))
    }
}
