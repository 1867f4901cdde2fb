//! A backend with an exact capacity: a fixed number of slots, a fixed service time, and a FIFO queue.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::backends::PRODUCT;
use crate::{Result, subprocess};

/// The number of requests that the backend serves at once. All others wait in a queue.
pub(super) const SLOTS: u16 = 32;
/// The time to serve one request.
pub(super) const SERVICE_TIME: Duration = Duration::from_millis(80);

/// Serves until the benchmark ends. Announces one port.
pub(crate) async fn serve(jwks: String) -> Result<()> {
    let listener = subprocess::bind().await?;
    subprocess::announce(&[&listener])?;
    tokio::select! {
        () = subprocess::parent_ended() => Ok(()),
        result = accept(listener, Bytes::from(jwks)) => result,
    }
}

async fn accept(listener: TcpListener, jwks: Bytes) -> Result<()> {
    let slots = Arc::new(Semaphore::new(SLOTS.into()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (slots, jwks) = (slots.clone(), jwks.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (slots, jwks) = (slots.clone(), jwks.clone());
            async move {
                // The JWKS needs no slot. A client that disconnects leaves the queue or frees its slot.
                let body = if request.uri().path() == "/jwks" {
                    jwks
                } else {
                    let _slot = slots.acquire().await;
                    sleep(SERVICE_TIME).await;
                    Bytes::from_static(PRODUCT.as_bytes())
                };
                Ok::<_, Infallible>(response(body))
            }
        });
        // The client reports a connection error.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn response(body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    let (json, no_store) = ("application/json", "no-store");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(json));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(no_store));
    response
}
