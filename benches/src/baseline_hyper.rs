//! (a): what three calls and one answer cost with hyper alone. No policy, no parsing: bodies are spliced as they come.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, Uri};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::args::Upstreams;
use crate::{Result, subprocess};

struct Floor {
    client: Client<HttpConnector, Empty<Bytes>>,
    upstreams: Upstreams,
}

/// Serves until the benchmark is gone.
pub(crate) async fn serve(upstreams: Upstreams) -> Result<()> {
    let listener = subprocess::bind().await?;
    subprocess::announce(&[&listener])?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let floor = Arc::new(Floor { client, upstreams });

    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let floor = floor.clone();
            let service = service_fn(move |request| page(floor.clone(), request));
            // A connection that ends in an error has a client that says so.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    };
    tokio::select! {
        () = subprocess::orphaned() => Ok(()),
        end = accept => end,
    }
}

async fn page(floor: Arc<Floor>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path();
    let Some(id) = path.strip_prefix("/api/product-details/") else {
        return Ok(status(StatusCode::NOT_FOUND));
    };
    let to = &floor.upstreams;
    let fetched = tokio::try_join!(
        floor.get(&to.product, format!("/products/{id}")),
        floor.get(&to.review, format!("/reviews?productId={id}&limit=10")),
        floor.get(&to.inventory, format!("/availability/{id}?region=DE")),
    );
    let Ok((product, reviews, availability)) = fetched else {
        return Ok(status(StatusCode::BAD_GATEWAY));
    };

    let mut body = BytesMut::with_capacity(product.len() + reviews.len() + availability.len() + 64);
    body.extend_from_slice(br#"{"product":"#);
    body.extend_from_slice(&product);
    body.extend_from_slice(br#","reviews":"#);
    body.extend_from_slice(&reviews);
    body.extend_from_slice(br#","availability":"#);
    body.extend_from_slice(&availability);
    body.extend_from_slice(b"}");
    let mut response = Response::new(Full::new(body.freeze()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

impl Floor {
    async fn get(&self, to: &Authority, path: String) -> Result<Bytes> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(to.clone())
            .path_and_query(path)
            .build()?;
        let response = self.client.get(uri).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("a backend answered {}", response.status()).into());
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
