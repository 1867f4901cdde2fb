//! The three backends in one process: fixed answers in the wire format of the mocks, about 4 kB together.
//!
//! They do as little as a server can, for their work shares the machine with what is measured. Nothing they answer may
//! be stored, so every page costs three calls.

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

/// Paths that are answered, and with what.
pub(crate) type Answers = Arc<Vec<(&'static str, Bytes)>>;

/// Serves until the benchmark is gone; announces the ports of product, review and inventory in this order.
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
        () = subprocess::orphaned() => Ok(()),
        end = backend(a, Arc::new(product.into())) => end,
        end = backend(b, Arc::new(review.into())) => end,
        end = backend(c, Arc::new(inventory.into())) => end,
    }
}

async fn backend(listener: TcpListener, answers: Answers) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = answers.clone();
        let service = service_fn(move |request| {
            let answer = answer(&request, &answers);
            async { Ok::<_, Infallible>(answer) }
        });
        // A connection that ends in an error has a client that says so.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// What is answered to a request; 404 where nothing is.
pub(crate) fn answer(request: &Request<Incoming>, answers: &Answers) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let known = answers.iter().find(|(known, _)| path.starts_with(known));
    let body = known.map(|(_, body)| body.clone()).unwrap_or_default();
    let mut response = Response::new(Full::new(body));
    if known.is_none() {
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
