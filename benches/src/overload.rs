//! The goodput of a gateway at twice the capacity of its backend.
//!
//! The backend has a fixed number of slots and a fixed service time, so its capacity is exact, and too low to load the
//! machine. A closed loop measures the peak. Then an open loop (Poisson arrivals) offers twice the capacity.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use crate::server::Server;
use crate::tokens::Issuer;
use crate::upstreams::Upstreams;
use crate::{Result, web};
use bounded::{SERVICE_TIME, SLOTS};
use open::{ClientResults, Clients, Mix};

pub(crate) mod bounded;
mod open;

/// The offered load, as a multiple of the capacity.
const LOAD_FACTOR: f64 = 2.0;
/// The number of users, used in rotation.
const USERS: usize = 200;
/// The targets in percent: goodput relative to the peak, and requests of signed-in users answered in time.
const TARGETS: (f64, f64) = (95.0, 99.0);

/// The options of this measurement.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The duration of the overload, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=300))]
    pub(crate) seconds: u16,
}

/// Runs the measurement and returns the report.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let issuer = Issuer::new()?;
    let users: Vec<String> = (1..=USERS).map(|n| format!("user-{n:05}")).collect();
    let tokens: Vec<HeaderValue> = issuer.tokens(&users)?;
    let keys = ["--jwks".to_owned(), issuer.jwks()?];
    let (_backend, ports) = Server::part("serve-bounded", &keys).await?;
    let &[port] = &ports[..] else {
        return Err(format!("the backend announced {} ports", ports.len()).into());
    };
    // The page calls only the product backend; the other two are not called.
    let (mut gateway, to) = web::start(&Upstreams::at(&[port; 3])?).await?;
    let clients = Clients::new(to, tokens);
    let capacity = f64::from(SLOTS) / SERVICE_TIME.as_secs_f64();

    eprintln!("half of {capacity:.0}/s, to learn the usual latency");
    clients
        .open_loop(capacity / 2.0, Mix::USUAL, Duration::from_secs(5))
        .await?;
    eprintln!("peak");
    let peak = clients
        .closed_loop(2 * SLOTS, Duration::from_secs(10))
        .await?;
    eprintln!("half of the capacity");
    clients
        .open_loop(capacity / 2.0, Mix::USUAL, Duration::from_secs(5))
        .await?;
    let seconds = Duration::from_secs(settings.seconds.into());
    eprintln!("{LOAD_FACTOR} times the capacity for {seconds:?}");
    let results = clients
        .open_loop(LOAD_FACTOR * capacity, Mix::USUAL, seconds)
        .await?;
    gateway.check()?;
    Ok(report(capacity, peak, seconds, results))
}

fn report(capacity: f64, peak: f64, seconds: Duration, results: [ClientResults; 3]) -> String {
    let all: usize = results.iter().map(|class| class.latencies.len()).sum();
    let goodput = count(all) / seconds.as_secs_f64();
    let peak_percent = 100.0 * goodput / peak;
    let mut out = format!(
        "\n{SLOTS} slots of {SERVICE_TIME:?}: capacity {capacity:.0}/s, peak {peak:.0}/s; offered {LOAD_FACTOR} times capacity for {seconds:?}\n\n\
         {:<12}{:>9}{:>9}{:>9}{:>8}{:>10}{:>9}{:>9}\n",
        "", "offered", "in time", "rejected", "failed", "in time %", "p50 ms", "p99 ms",
    );
    let mut signed_in = 0.0;
    for (name, mut class) in Mix::NAMES.into_iter().zip(results) {
        class.latencies.sort_unstable();
        let success = 100.0 * count(class.latencies.len()) / count(class.offered).max(1.0);
        if name == "signed in" {
            signed_in = success;
        }
        let ms = |percent: usize| {
            let rank = (class.latencies.len() * percent)
                .div_ceil(100)
                .saturating_sub(1);
            class
                .latencies
                .get(rank)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        // Writing to a string does not fail.
        writeln!(
            out,
            "{name:<12}{:>9}{:>9}{:>9}{:>8}{success:>10.2}{:>9.0}{:>9.0}",
            class.offered,
            class.latencies.len(),
            class.rejected,
            class.failed,
            ms(50),
            ms(99),
        )
        .ok();
    }
    let (peak_target, signed_in_target) = TARGETS;
    writeln!(
        out,
        "\ngoodput {goodput:.0}/s = {peak_percent:.1} % of peak, target >= {peak_target} %; signed in {signed_in:.2} % in time, target >= {signed_in_target} %"
    )
    .ok();
    out
}

#[expect(clippy::cast_precision_loss, reason = "the counts are small")]
fn count(n: usize) -> f64 {
    n as f64
}
