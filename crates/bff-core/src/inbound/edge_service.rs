//! The edge around one route, as one service: each of tower's layers costs boxes, and a clone of all that is inside it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use futures_util::FutureExt;
use tower::Service;
use tower_http::cors::CorsLayer;

use super::{Edge, handle};

/// A route, and what stands around it.
#[derive(Clone)]
pub(super) struct EdgeService {
    pub(super) edge: Arc<Edge>,
    /// None where no page may call.
    pub(super) cors: Option<Arc<CorsLayer>>,
    pub(super) route: Route,
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
