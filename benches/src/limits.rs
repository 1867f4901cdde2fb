//! `benches limits`: the cost of rate limits per request, in this process and through a real Redis.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bff_core::GatewayHandles;
use bff_core::config::Secret;
use bff_core::context::Env;
use bff_core::rate_limit::{Limits, Request};
use bff_core::store::{self, Store};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::server::Server;
use crate::{Result, subprocess};

/// The number of IP addresses, used in rotation. Each has its own counters.
const ADDRESSES: u32 = 10_000;
/// Requests per round, in this process.
const LOCAL_REQUESTS: u32 = 500_000;
/// Requests per round, through Redis.
const REDIS_REQUESTS: u32 = 5_000;
/// Concurrent requests in the last row.
const CONCURRENCY: u32 = 32;
const ROUNDS: usize = 5;
/// The maximum start-up time of Redis.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of this measurement.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The redis-server program; without it, the rows through Redis are not measured
    #[arg(long, default_value = "redis-server")]
    pub(crate) redis: PathBuf,
}

/// One row of the report.
struct Row {
    label: &'static str,
    limits: Limits,
    requests: u32,
    concurrency: u32,
    micros: Vec<f64>,
}

/// Measures every row in alternating rounds.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let one = ["one"].as_slice();
    let three = ["one", "two", "three"].as_slice();
    let mut rows = vec![
        Row::new("one limit, in this process", one, None, (LOCAL_REQUESTS, 1))?,
        Row::new(
            "three limits, in this process",
            three,
            None,
            (LOCAL_REQUESTS, 1),
        )?,
    ];
    let redis = start_redis(&settings).await;
    if let Ok((_, url)) = &redis {
        let redis_rows = [
            ("one limit, through Redis", one, 1),
            ("three limits, through Redis", three, 1),
            (
                "three limits, through Redis, 32 requests at once",
                three,
                CONCURRENCY,
            ),
        ];
        for (label, names, concurrency) in redis_rows {
            rows.push(Row::new(
                label,
                names,
                Some(url),
                (REDIS_REQUESTS, concurrency),
            )?);
        }
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.measure().await?;
        }
    }
    let mut out = format!("\n{:<50}{:>16}{:>24}\n", "", "µs/request", "min to max");
    for row in &mut rows {
        row.micros.sort_by(f64::total_cmp);
        let (min, median, max) = (
            row.micros[0],
            row.micros[ROUNDS / 2],
            row.micros[ROUNDS - 1],
        );
        let span = format!("{min:.2} to {max:.2}");
        writeln!(out, "{:<50}{median:>16.2}{span:>24}", row.label)?;
    }
    if let Err(error) = redis {
        writeln!(out, "through Redis: not measured: {error}")?;
    }
    Ok(out)
}

impl Row {
    fn new(
        label: &'static str,
        names: &[&str],
        redis: Option<&str>,
        (requests, concurrency): (u32, u32),
    ) -> Result<Self> {
        let env = Env::real();
        let store = store::Config {
            url: redis.map(Secret::new),
            // Redis shares the machine with this process.
            timeout: Duration::from_secs(2),
            ..store::Config::default()
        };
        let store = Store::open(&store, &env)?;
        let shared = Arc::new(GatewayHandles::open(
            "bench",
            env,
            &bff_core::cache::Config::default(),
            &store,
        )?);
        let wide = json!({"limit": 1_000_000, "period": "1m", "key_by": ["address"]});
        let policies: serde_json::Map<_, _> = (names.iter())
            .map(|name| ((*name).to_owned(), wide.clone()))
            .collect();
        let config = serde_json::from_value(json!({ "policies": policies }))?;
        Ok(Self {
            label,
            limits: Limits::open(&config, store, &shared.client, &shared.env, &shared.metrics)?,
            requests,
            concurrency,
            micros: Vec::new(),
        })
    }

    /// Measures one round. Fails if a request is rejected or the store fails.
    async fn measure(&mut self) -> Result<()> {
        let start = Instant::now();
        for n in (0..self.requests).step_by(usize::try_from(self.concurrency)?) {
            if self.concurrency == 1 {
                self.check(n).await?;
            } else {
                let batch = (n..n + self.concurrency).map(|n| self.check(n));
                join_all(batch).await.into_iter().collect::<Result<()>>()?;
            }
        }
        let elapsed = start.elapsed().as_secs_f64() * 1e6;
        self.micros.push(elapsed / f64::from(self.requests));
        Ok(())
    }

    async fn check(&self, n: u32) -> Result<()> {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + n % ADDRESSES);
        let request = Request {
            address: Some(IpAddr::V4(address)),
            caller: None,
            route: Some("/page"),
            proxied: false,
            path: "/page",
        };
        let (_, result) = self.limits.check(request).await;
        Ok(result.map_err(|error| format!("{}: {error:?}", self.label))?)
    }
}

/// Starts a Redis without persistence. Also returns its URL.
async fn start_redis(settings: &Settings) -> Result<(Server, String)> {
    let address = subprocess::bind().await?.local_addr()?;
    let args = format!(
        "--bind 127.0.0.1 --port {} --appendonly no --save",
        address.port()
    );
    let mut args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    args.push(String::new());
    let mut server = Server::program(&settings.redis, &args, &[])?;
    let until = Instant::now() + START_TIMEOUT;
    #[expect(
        clippy::disallowed_methods,
        reason = "it only checks whether Redis listens"
    )]
    while tokio::net::TcpStream::connect(address).await.is_err() {
        server.check()?;
        if Instant::now() > until {
            return Err(format!("redis did not start within {START_TIMEOUT:?}").into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok((server, format!("redis://{address}")))
}
