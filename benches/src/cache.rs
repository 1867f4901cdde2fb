//! `benches cache`: what the cache costs a read, in one thread, against a backend on an in-memory pipe.

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

/// Reads in a round of each row.
const COPIES: u32 = 200_000;
const CALLS: u32 = 20_000;
const ROUNDS: usize = 7;

/// Measures every row in alternating rounds, and prints the median of each with the least and the most.
pub(crate) fn measure() -> Result<String> {
    // The pipes, both their ends and the clock belong to one thread, as they do in a simulation.
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(rounds())
    });
    let done = thread.join();
    done.unwrap_or_else(|_| Err("the measuring thread panicked".into()))
}

async fn rounds() -> Result<String> {
    bff_core::auth::install_crypto();
    let shared = Config::default();
    let alone = Config {
        max_bytes: 0,
        coalesce_requests: false,
        ..Config::default()
    };
    let rows = [
        ("a fresh copy", "max-age=86400", &shared, COPIES),
        (
            "a stale copy, renewed meanwhile",
            "max-age=0",
            &shared,
            COPIES,
        ),
        ("a call whose answer is kept", "no-cache", &shared, CALLS),
        ("a call whose answer is not", "no-store", &shared, CALLS),
        ("the same, cache and sharing off", "no-store", &alone, CALLS),
    ];
    let open = |(label, says, config, reads)| Ok((label, Shop::open(says, config)?, reads));
    let rows: Vec<(&str, Shop, u32)> = rows.map(open).into_iter().collect::<Result<_>>()?;
    let mut took: Vec<Vec<u128>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, shop, reads), took) in rows.iter().zip(&mut took) {
            took.push(shop.read(*reads).await?);
        }
    }
    let mut out = format!("\n{:<34}{:>12}{:>22}\n", "", "ns/read", "of rounds");
    for ((label, ..), took) in rows.iter().zip(&mut took) {
        row(&mut out, label, took)?;
    }
    let [found, herd] = &mut replicas::rounds(ROUNDS).await?;
    if found.is_empty() {
        writeln!(
            out,
            "what replicas share: skipped, for redis-server is not installed"
        )?;
    } else {
        row(&mut out, replicas::FOUND, found)?;
        row(&mut out, replicas::HERD, herd)?;
    }
    Ok(out)
}

fn row(out: &mut String, label: &str, took: &mut [u128]) -> Result<()> {
    took.sort_unstable();
    let (least, median, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    let span = format!("{least} to {most}");
    Ok(writeln!(out, "{label:<34}{median:>12}{span:>22}")?)
}

/// A client of the catalogue, and its backend.
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
        let world = Env::seeded(1, Net::InMemory(pipes));
        Self::with(world, config, &Store::memory(1 << 20, &Env::real()))
    }

    /// The same over a store, in a world whose network has a backend.
    pub(crate) fn with(world: Env, config: &Config, store: &Store) -> Result<Self> {
        let shared = Arc::new(GatewayHandles::open("bench", world, config, store)?);
        let at = outbound::Config::at("http://product".parse()?);
        Ok(Self {
            product: ProductClient::new(Upstream::new("product", &at, &shared)?),
            id: "p-1".parse()?,
            shared,
        })
    }

    /// Nanoseconds a read.
    async fn read(&self, reads: u32) -> Result<u128> {
        let began = Instant::now();
        for n in 0..reads {
            // A request of its own for every few reads, as a screen has.
            let cx = RequestContext::background(
                &self.shared.client,
                &self.shared.env,
                Duration::from_secs(5),
            );
            let read = self.product.by_id(&cx, &self.id).await;
            read.map_err(|failure| format!("read {n}: {failure:?}"))?;
        }
        Ok(began.elapsed().as_nanos() / u128::from(reads))
    }
}

/// The catalogue, which counts its calls.
#[derive(Clone, Default)]
pub(crate) struct Backend(Arc<AtomicU32>);

impl Backend {
    pub(crate) fn calls(&self) -> u32 {
        self.0.load(Relaxed)
    }

    pub(crate) async fn serve(self, mut accept: Listener, cache_control: &'static str) {
        while let Some(wire) = accept.next().await {
            let calls = self.0.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                calls.fetch_add(1, Relaxed);
                std::future::ready(Ok::<_, Infallible>(product(cache_control)))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(wire), service));
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
