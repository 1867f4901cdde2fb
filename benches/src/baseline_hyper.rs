//! (a): three calls and one response with only hyper. No policies and no parsing: the bodies are concatenated.

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

use crate::upstreams::Upstreams;
use crate::{Result, subprocess};

struct Gateway {
    client: Client<HttpConnector, Empty<Bytes>>,
    upstreams: Upstreams,
}

/// Serves until the benchmark ends.
pub(crate) async fn serve(upstreams: Upstreams) -> Result<()> {
    let listener = subprocess::bind().await?;
    subprocess::announce(&[&listener])?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let gateway = Arc::new(Gateway { client, upstreams });

    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let gateway = gateway.clone();
            let service = service_fn(move |request| page(gateway.clone(), request));
            // The client reports a connection error.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    };
    tokio::select! {
        () = subprocess::parent_ended() => Ok(()),
        end = accept => end,
    }
}

async fn page(gateway: Arc<Gateway>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path();
    let Some(id) = path.strip_prefix("/api/product-details/") else {
        return Ok(empty_response(StatusCode::NOT_FOUND));
    };
    let to = &gateway.upstreams;
    let fetched = tokio::try_join!(
        gateway.get(&to.product, format!("/products/{id}")),
        gateway.get(&to.review, format!("/reviews?productId={id}&limit=10")),
        gateway.get(&to.inventory, format!("/availability/{id}?region=DE")),
    );
    let Ok((product, reviews, availability)) = fetched else {
        return Ok(empty_response(StatusCode::BAD_GATEWAY));
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

impl Gateway {
    async fn get(&self, to: &Authority, path: String) -> Result<Bytes> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(to.clone())
            .path_and_query(path)
            .build()?;
        let response = self.client.get(uri).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("a backend responded {}", response.status()).into());
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

fn empty_response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
