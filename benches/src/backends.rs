//! The three backends in one process: fixed responses in the format of the mocks, about 4 kB together.
//!
//! They do minimal work, because they share the machine with the measured gateways. Their responses are `no-store`, so
//! every page needs three calls.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{Result, subprocess};

pub(crate) const PRODUCT: &str = include_str!("backends/product.json");
pub(crate) const REVIEWS: &str = include_str!("backends/reviews.json");
pub(crate) const AVAILABILITY: &str = include_str!("backends/availability.json");

/// The path prefixes and their response bodies.
pub(crate) type Responses = Arc<Vec<(&'static str, Bytes)>>;

/// Serves until the benchmark ends. Announces the ports of product, review and inventory, in this order.
pub(crate) async fn serve(jwks: String) -> Result<()> {
    let product = [
        ("/products/", Bytes::from_static(PRODUCT.as_bytes())),
        ("/jwks", Bytes::from(jwks)),
    ];
    let review = [("/reviews", Bytes::from_static(REVIEWS.as_bytes()))];
    let availability = Bytes::from_static(AVAILABILITY.as_bytes());
    let inventory = [("/availability/", availability)];

    let (a, b, c) = (
        subprocess::bind().await?,
        subprocess::bind().await?,
        subprocess::bind().await?,
    );
    subprocess::announce(&[&a, &b, &c])?;
    tokio::select! {
        () = subprocess::parent_ended() => Ok(()),
        result = backend(a, Arc::new(product.into())) => result,
        result = backend(b, Arc::new(review.into())) => result,
        result = backend(c, Arc::new(inventory.into())) => result,
    }
}

async fn backend(listener: TcpListener, responses: Responses) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let responses = responses.clone();
        let service = service_fn(move |request| {
            let response = response(&request, &responses);
            async { Ok::<_, Infallible>(response) }
        });
        // The client reports a connection error.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The response to a request; 404 for an unknown path.
pub(crate) fn response(
    request: &Request<Incoming>,
    responses: &Responses,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let found = responses
        .iter()
        .find(|(prefix, _)| path.starts_with(prefix));
    let body = found.map(|(_, body)| body.clone()).unwrap_or_default();
    let mut response = Response::new(Full::new(body));
    if found.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
