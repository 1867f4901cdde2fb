//! Compresses the responses of endpoints with br, zstd or gzip. Proxied responses are left to their backend.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use http::{HeaderValue, header};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};

use crate::routes::ProxiedResponse;

/// Calls the route and compresses the response with the client's preferred encoding. A response that is not compressed
/// keeps its own body type, because the encoder's body takes some kilobytes even if it does nothing.
pub(in crate::inbound) async fn call_and_compress(mut route: Route, request: Request) -> Response {
    let accepted = request.headers().get_all(header::ACCEPT_ENCODING);
    let accepted: Vec<HeaderValue> = accepted.iter().cloned().collect();
    let response = (route.call(request).await).unwrap_or_else(|never| match never {});
    if !is_compressible(&response) {
        return response;
    }
    if accepted.is_empty() {
        return vary_on_accept_encoding(response);
    }
    // Boxed, so that the future of every request does not include an encoder.
    Box::pin(encode(accepted, response)).await
}

fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    response.extensions().get::<ProxiedResponse>().is_none()
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && DefaultPredicate::new().should_compress(response)
}

/// Adds `Vary`: the response to another `Accept-Encoding` may differ.
fn vary_on_accept_encoding(mut response: Response) -> Response {
    let vary = header::ACCEPT_ENCODING.into();
    response.headers_mut().append(header::VARY, vary);
    response
}

async fn encode(accepted: Vec<HeaderValue>, response: Response) -> Response {
    let mut request = Request::new(Body::empty());
    for value in accepted {
        request.headers_mut().append(header::ACCEPT_ENCODING, value);
    }
    let mut response = Some(response);
    let service = service_fn(move |_: Request| {
        ready(Ok::<_, Infallible>(response.take().unwrap_or_default()))
    });
    let compression = CompressionLayer::new();
    let encoded = compression.layer(service).oneshot(request).await;
    encoded
        .unwrap_or_else(|never| match never {})
        .map(Body::new)
}
