//! A client with its cache, and its backend on an in-memory pipe.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bff_core::GatewayHandles;
use bff_core::cache::Config;
use bff_core::context::Env;
use bff_core::net::{Connection, InMemoryNetwork, Listener, Net};
use bff_core::outbound::{self, Upstream};
use bff_core::store::Store;
use bff_core::{RequestContext, UpstreamClient};
use bff_services::product::{ProductClient, ProductId};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Duration, Instant};

use crate::Result;
use crate::backends::PRODUCT;

/// A client of the product backend with its cache.
pub(crate) struct Shop {
    pub(crate) product: ProductClient,
    pub(crate) shared: Arc<GatewayHandles>,
    id: ProductId,
}

impl Shop {
    pub(super) fn open(cache_control: &'static str, config: &Config) -> Result<Self> {
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let backend = Backend::default();
        tokio::spawn(backend.serve(pipes.listen("product:80"), cache_control));
        let env = Env::seeded(1, Net::InMemory(pipes));
        Self::with(env, config, &Store::memory(1 << 20, &Env::real()))
    }

    /// A shop over a given store and environment. Its network must have the backend.
    pub(crate) fn with(env: Env, config: &Config, store: &Store) -> Result<Self> {
        let shared = Arc::new(GatewayHandles::open("bench", env, config, store)?);
        let upstream_config = outbound::Config::at("http://product".parse()?);
        Ok(Self {
            product: ProductClient::new(Upstream::new("product", &upstream_config, &shared)?),
            id: "p-1".parse()?,
            shared,
        })
    }

    /// Measures `reads` reads; returns nanoseconds per read.
    pub(super) async fn read(&self, reads: u32) -> Result<u128> {
        let start = Instant::now();
        for n in 0..reads {
            // Each read has its own request context.
            let cx = RequestContext::background(
                &self.shared.client,
                &self.shared.env,
                Duration::from_secs(5),
            );
            let read = self.product.by_id(&cx, &self.id).await;
            read.map_err(|failure| format!("read {n}: {failure:?}"))?;
        }
        Ok(start.elapsed().as_nanos() / u128::from(reads))
    }
}

/// A product backend that counts its calls.
#[derive(Clone, Default)]
pub(crate) struct Backend(Arc<AtomicU32>);

impl Backend {
    pub(crate) fn calls(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(crate) async fn serve(self, mut accept: Listener, cache_control: &'static str) {
        while let Some(stream) = accept.next().await {
            let calls = self.0.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                calls.fetch_add(1, Relaxed);
                std::future::ready(Ok::<_, Infallible>(product(cache_control)))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

fn product(cache_control: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(PRODUCT.as_bytes())));
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let cache_control = HeaderValue::from_static(cache_control);
    headers.insert(header::CACHE_CONTROL, cache_control);
    headers.insert(header::ETAG, HeaderValue::from_static("\"v1\""));
    response
}
