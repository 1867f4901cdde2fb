//! br, zstd or gzip, of what a door wrote; a backend's own answer is its own to encode.

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

/// Has the route answer, and encodes that as the client likes it best. What is left as it is, is left in its own body:
/// an encoder's is some kilobytes, encoding or not.
pub(in crate::inbound) async fn call_and_compress(mut route: Route, request: Request) -> Response {
    let taken = request.headers().get_all(header::ACCEPT_ENCODING);
    let taken: Vec<HeaderValue> = taken.iter().cloned().collect();
    let response = (route.call(request).await).unwrap_or_else(|never| match never {});
    if !may_be_encoded(&response) {
        return response;
    }
    if taken.is_empty() {
        return vary_on_accept_encoding(response);
    }
    // Apart, or every answer's future would have room for an encoder.
    Box::pin(encode(taken, response)).await
}

fn may_be_encoded(response: &Response) -> bool {
    let headers = response.headers();
    response.extensions().get::<ProxiedResponse>().is_none()
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && DefaultPredicate::new().should_compress(response)
}

/// Whoever asks otherwise is answered otherwise.
fn vary_on_accept_encoding(mut response: Response) -> Response {
    let vary = header::ACCEPT_ENCODING.into();
    response.headers_mut().append(header::VARY, vary);
    response
}

async fn encode(taken: Vec<HeaderValue>, response: Response) -> Response {
    let mut asked = Request::new(Body::empty());
    for line in taken {
        asked.headers_mut().append(header::ACCEPT_ENCODING, line);
    }
    let mut response = Some(response);
    let written = service_fn(move |_: Request| {
        ready(Ok::<_, Infallible>(response.take().unwrap_or_default()))
    });
    let encoded = CompressionLayer::new().layer(written).oneshot(asked).await;
    encoded
        .unwrap_or_else(|never| match never {})
        .map(Body::new)
}
