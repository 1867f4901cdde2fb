//! `benches cache`: the cost of the cache per read, in one thread, with a backend on an in-memory pipe.

use std::convert::Infallible;
use std::fmt::Write;
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
use crate::replicas;

/// Reads per round of the rows without calls.
const CACHED_READS: u32 = 200_000;
/// Reads per round of the rows with calls.
const UNCACHED_READS: u32 = 20_000;
const ROUNDS: usize = 7;

/// Measures every row in alternating rounds. Reports the median, the minimum and the maximum of each row.
pub(crate) fn measure() -> Result<String> {
    // Both ends of the pipes and the clock are in one thread, as in a simulation.
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(rounds())
    });
    let result = thread.join();
    result.unwrap_or_else(|_| Err("the measuring thread panicked".into()))
}

async fn rounds() -> Result<String> {
    bff_core::auth::install_crypto();
    let cached = Config::default();
    let uncached = Config {
        max_bytes: 0,
        coalesce_requests: false,
        ..Config::default()
    };
    let rows = [
        ("a fresh entry", "max-age=86400", &cached, CACHED_READS),
        (
            "a stale entry, revalidated meanwhile",
            "max-age=0",
            &cached,
            CACHED_READS,
        ),
        (
            "a call with a cacheable response",
            "no-cache",
            &cached,
            UNCACHED_READS,
        ),
        (
            "a call with an uncacheable response",
            "no-store",
            &cached,
            UNCACHED_READS,
        ),
        (
            "the same, cache and coalescing off",
            "no-store",
            &uncached,
            UNCACHED_READS,
        ),
    ];
    let open = |(label, cache_control, config, reads)| {
        Ok((label, Shop::open(cache_control, config)?, reads))
    };
    let rows: Vec<(&str, Shop, u32)> = rows.map(open).into_iter().collect::<Result<_>>()?;
    let mut took: Vec<Vec<u128>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, shop, reads), took) in rows.iter().zip(&mut took) {
            took.push(shop.read(*reads).await?);
        }
    }
    let mut out = format!("\n{:<40}{:>12}{:>22}\n", "", "ns/read", "min to max");
    for ((label, ..), took) in rows.iter().zip(&mut took) {
        row(&mut out, label, took)?;
    }
    let [l2_hits, concurrent] = &mut replicas::rounds(ROUNDS).await?;
    if l2_hits.is_empty() {
        writeln!(
            out,
            "Redis: not measured, because redis-server is not installed"
        )?;
    } else {
        row(&mut out, replicas::L2_HIT_LABEL, l2_hits)?;
        row(&mut out, replicas::CONCURRENT_LABEL, concurrent)?;
    }
    Ok(out)
}

fn row(out: &mut String, label: &str, took: &mut [u128]) -> Result<()> {
    took.sort_unstable();
    let (min, median, max) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    let span = format!("{min} to {max}");
    Ok(writeln!(out, "{label:<40}{median:>12}{span:>22}")?)
}

/// A client of the product backend with its cache.
pub(crate) struct Shop {
    pub(crate) product: ProductClient,
    pub(crate) shared: Arc<GatewayHandles>,
    id: ProductId,
}

impl Shop {
    fn open(cache_control: &'static str, config: &Config) -> Result<Self> {
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let backend = Backend::default();
        tokio::spawn(backend.serve(pipes.listen("product:80"), cache_control));
        let env = Env::seeded(1, Net::InMemory(pipes));
        Self::with(env, config, &Store::memory(1 << 20, &Env::real()))
    }

    /// A shop over a given store and environment. Its network must have the backend.
    pub(crate) fn with(env: Env, config: &Config, store: &Store) -> Result<Self> {
        let shared = Arc::new(GatewayHandles::open("bench", env, config, store)?);
        let at = outbound::Config::at("http://product".parse()?);
        Ok(Self {
            product: ProductClient::new(Upstream::new("product", &at, &shared)?),
            id: "p-1".parse()?,
            shared,
        })
    }

    /// Measures `reads` reads; returns nanoseconds per read.
    async fn read(&self, reads: u32) -> Result<u128> {
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
