//! `benches limits`: what it costs to count a request against its limits, in this process and through a real Redis.

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

/// Addresses in turns, each of which is counted for itself.
const ADDRESSES: u32 = 10_000;
const HERE: u32 = 500_000;
const THERE: u32 = 5_000;
/// How many requests are counted at once in the last row.
const AT_ONCE: u32 = 32;
const ROUNDS: usize = 5;
/// How long Redis may take to start.
const START: Duration = Duration::from_secs(10);

/// What is measured with.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Redis' server; when it cannot be started its rows are left out
    #[arg(long, default_value = "redis-server")]
    pub(crate) redis: PathBuf,
}

/// One way to count.
struct Row {
    what: &'static str,
    limits: Limits,
    requests: u32,
    at_once: u32,
    took: Vec<f64>,
}

/// Measures every row in alternating rounds.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let one = ["one"].as_slice();
    let three = ["one", "two", "three"].as_slice();
    let mut rows = vec![
        Row::new("one limit, in this process", one, None, (HERE, 1))?,
        Row::new("three limits, in this process", three, None, (HERE, 1))?,
    ];
    let redis = redis(&settings).await;
    if let Ok((_, url)) = &redis {
        let there = [
            ("one limit, through Redis", one, 1),
            ("three limits, through Redis", three, 1),
            (
                "three limits, through Redis, 32 requests at once",
                three,
                AT_ONCE,
            ),
        ];
        for (what, names, at_once) in there {
            rows.push(Row::new(what, names, Some(url), (THERE, at_once))?);
        }
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            row.count().await?;
        }
    }
    let mut out = format!("\n{:<50}{:>16}{:>24}\n", "", "µs/request", "of rounds");
    for row in &mut rows {
        row.took.sort_by(f64::total_cmp);
        let (least, median, most) = (row.took[0], row.took[ROUNDS / 2], row.took[ROUNDS - 1]);
        let span = format!("{least:.2} to {most:.2}");
        writeln!(out, "{:<50}{median:>16.2}{span:>24}", row.what)?;
    }
    if let Err(why) = redis {
        writeln!(out, "through Redis: not measured: {why}")?;
    }
    Ok(out)
}

impl Row {
    fn new(
        what: &'static str,
        names: &[&str],
        redis: Option<&str>,
        (requests, at_once): (u32, u32),
    ) -> Result<Self> {
        let world = Env::real();
        let store = store::Config {
            url: redis.map(Secret::new),
            // Redis shares the machine with whoever measures.
            timeout: Duration::from_secs(2),
            ..store::Config::default()
        };
        let store = Store::open(&store, &world)?;
        let shared = Arc::new(GatewayHandles::open(
            "bench",
            world,
            &bff_core::cache::Config::default(),
            &store,
        )?);
        let wide = json!({"limit": 1_000_000, "period": "1m", "key_by": ["address"]});
        let policies: serde_json::Map<_, _> = (names.iter())
            .map(|name| ((*name).to_owned(), wide.clone()))
            .collect();
        let config = serde_json::from_value(json!({ "policies": policies }))?;
        Ok(Self {
            what,
            limits: Limits::open(&config, store, &shared.client, &shared.env, &shared.metrics)?,
            requests,
            at_once,
            took: Vec::new(),
        })
    }

    /// A round. A request that is refused, or counted elsewhere than meant, ends everything.
    async fn count(&mut self) -> Result<()> {
        let began = Instant::now();
        for n in (0..self.requests).step_by(usize::try_from(self.at_once)?) {
            if self.at_once == 1 {
                self.one(n).await?;
            } else {
                let batch = (n..n + self.at_once).map(|n| self.one(n));
                join_all(batch).await.into_iter().collect::<Result<()>>()?;
            }
        }
        let took = began.elapsed().as_secs_f64() * 1e6;
        self.took.push(took / f64::from(self.requests));
        Ok(())
    }

    async fn one(&self, n: u32) -> Result<()> {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + n % ADDRESSES);
        let request = Request {
            address: Some(IpAddr::V4(address)),
            caller: None,
            route: Some("/page"),
            proxied: false,
            path: "/page",
        };
        let (_, passes) = self.limits.check(request).await;
        Ok(passes.map_err(|error| format!("{}: {error:?}", self.what))?)
    }
}

/// A Redis of its own that keeps nothing, and its address.
async fn redis(settings: &Settings) -> Result<(Server, String)> {
    let at = subprocess::bind().await?.local_addr()?;
    let args = format!(
        "--bind 127.0.0.1 --port {} --appendonly no --save",
        at.port()
    );
    let mut args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    args.push(String::new());
    let mut server = Server::program(&settings.redis, &args, &[])?;
    let until = Instant::now() + START;
    #[expect(
        clippy::disallowed_methods,
        reason = "it is only asked whether it is there"
    )]
    while tokio::net::TcpStream::connect(at).await.is_err() {
        server.check()?;
        if Instant::now() > until {
            return Err(format!("redis was not there within {START:?}").into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok((server, format!("redis://{at}")))
}
