//! The goodput of a saturated gateway: closed loops of more and more connections, with backends that respond at once.
//!
//! The processor is the limit. Nothing is overloaded in a sense that a client notices, so no request may be refused.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;

use crate::load::Load;
use crate::server::Server;
use crate::tokens::Issuer;
use crate::upstreams::Upstreams;
use crate::{Result, web};

/// The connections of each row.
const CONNECTIONS: [u16; 4] = [8, 32, 64, 128];
/// The target in percent: the goodput of a row relative to the first one.
const TARGET: f64 = 95.0;

/// The options of this measurement.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Number of requests in each row
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1000..=2_000_000))]
    pub(crate) requests: u32,
}

/// Runs the measurement and returns the report. Fails at the first response that is not a complete page.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let jwks = Issuer::new()?.jwks()?;
    let args = ["--jwks".to_owned(), jwks];
    let (_backends, ports) = Server::part("serve-backends", &args).await?;
    let upstreams = Upstreams::at(&ports)?;
    let mut out = format!(
        "\n{:>11}{:>12}{:>9}{:>9}{:>9}\n",
        "connections", "requests/s", "% of 8", "p50 ms", "p99 ms"
    );
    let mut first = None;
    for connections in CONNECTIONS {
        eprintln!("{connections} connections");
        // Each row is a cold start.
        let (mut gateway, to) = web::start(&upstreams).await?;
        let load = Load {
            to,
            requests: usize::try_from(settings.requests)?,
            connections,
            tokens: [].into(),
            first: 0,
            marker: r#""complete":true"#,
        };
        let started = Instant::now();
        let mut latencies = load.run().await?;
        let goodput = f64::from(settings.requests) / started.elapsed().as_secs_f64();
        gateway.check()?;
        latencies.sort_unstable();
        let percent = 100.0 * goodput / *first.get_or_insert(goodput);
        let (p50, p99) = (quantile(&latencies, 50), quantile(&latencies, 99));
        // Writing to a string does not fail.
        writeln!(
            out,
            "{connections:>11}{goodput:>12.0}{percent:>9.1}{p50:>9.2}{p99:>9.2}"
        )
        .ok();
    }
    writeln!(
        out,
        "\nrefused 0, target 0; target of each row >= {TARGET} % of 8 connections"
    )
    .ok();
    Ok(out)
}

/// A latency in milliseconds.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    (sorted.get(rank)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}
