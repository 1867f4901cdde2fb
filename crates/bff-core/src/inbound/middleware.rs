//! The middleware around every route. [`layer`] applies it. [`handle`] and [`handle_admitted`] list its order.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
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
pub(in crate::inbound) mod request_target;
pub(in crate::inbound) mod transfer_encoding;
pub(in crate::inbound) mod validate_headers;
pub(in crate::inbound) mod write_timeout_body;

/// Wraps each route of a router in the edge. The error is one line that names the wrong key.
pub fn layer(edge: &Arc<Edge>, router: Router) -> Result<Router, String> {
    let cors = cors::layer(&edge.config)?.map(Arc::new);
    let edge = edge.clone();
    Ok(router.layer(layer_fn(move |route| EdgeService {
        edge: edge.clone(),
        cors: cors.clone(),
        route,
    })))
}

/// Makes a router without the edge reject the malformed requests that the edge rejects. The response is plain text.
pub fn reject_malformed(router: Router) -> Router {
    router.layer(from_fn(async |mut request: Request, next: Next| {
        let version = request.version();
        match validate_headers::check(&mut request) {
            Ok(()) => next.run(request).await,
            Err(error) => {
                let mut response = access_log::reject(&error, version);
                *response.body_mut() = error.detail().to_owned().into();
                response
            }
        }
    }))
}

/// The outer middleware, outermost first.
async fn handle(service: EdgeService, request: Request) -> Response {
    let EdgeService { edge, cors, route } = &service;
    // Request id, trace, metrics, access log; one `Vary`, security headers, problem documents, 304; CORS headers, on
    // errors too; target and header limits; panic guard.
    access_log::observe(
        edge,
        cors.as_deref(),
        request,
        |request, state| async move { handle_admitted(edge, &state, request, route).await },
    )
    .await
}

/// The inner middleware, in order. Each check can reject the request.
async fn handle_admitted(
    edge: &Edge,
    state: &RequestState,
    mut request: Request,
    route: &Route,
) -> Response {
    // IP filter; per-IP rate limit. A failed authentication costs ten requests.
    let client = match ip_filter::check_address(edge, &request) {
        Ok(client) => client,
        Err(rejection) => return *rejection,
    };
    // Load shedding: a slot by priority class, or 503 at once, before any work and before the deadline starts.
    let options = edge.endpoint_options(&request);
    let admission = match options.map(|options| edge.shedder.admit(&options, &mut request)) {
        None => None,
        Some(Ok(admission)) => Some(admission),
        Some(Err(error)) => return error.into_response(),
    };
    let edge_state = EdgeState {
        client,
        options,
        request: state,
        ticket: admission.as_ref().map(load_shed::Admission::ticket),
    };
    // Deadline; authentication; the caller's rate limits; request context; the handler; compression.
    let response = authenticate::authenticate_and_handle(edge, edge_state, request, route).await;
    if let Some(slot) = admission.and_then(|admission| admission.finish(&response)) {
        state.hold_slot(slot);
    }
    response
}

/// A route wrapped in the edge, as one tower service. Separate tower layers would each box a future and clone all that
/// they contain.
#[derive(Clone)]
struct EdgeService {
    edge: Arc<Edge>,
    /// `None` if no origin is allowed.
    cors: Option<Arc<CorsLayer>>,
    route: Route,
}

impl Service<Request> for EdgeService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Always ready: an overloaded gateway answers 503 instead of waiting.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(handle(self.clone(), request).map(Ok))
    }
}
