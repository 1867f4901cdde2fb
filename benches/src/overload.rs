//! What is left of a gateway's work when twice as much is asked as its backend can answer.
//!
//! The backend has a fixed number of slots and a fixed service time, so its capacity is exact, and low enough that the
//! machine is never the limit. First a closed loop finds what the gateway gets through at best; then clients come by
//! chance, twice as many, and do not wait for one another.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use crate::args::Upstreams;
use crate::server::Server;
use crate::tokens::Issuer;
use crate::{Result, web};
use open::{ClientResults, Clients, Mix};

pub(crate) mod bounded;
mod open;

/// How many requests the backend works on at once; all others wait for it in order.
const SLOTS: u16 = 32;
/// How long it works on each.
const SERVICE: Duration = Duration::from_millis(80);
/// How often what it can do is offered.
const TIMES: f64 = 2.0;
/// Users in turns.
const USERS: usize = 200;
/// Goodput's share of the peak that is aimed at, in percent, and that of the signed-in who are answered in time.
const AIMS: (f64, f64) = (95.0, 99.0);

/// How long is measured.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// How long the overload lasts, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=300))]
    pub(crate) seconds: u16,
}

/// Runs it; answers the report.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let issuer = Issuer::new()?;
    let users: Vec<String> = (1..=USERS).map(|n| format!("user-{n:05}")).collect();
    let tokens: Vec<HeaderValue> = issuer.tokens(&users)?;
    let keys = ["--jwks".to_owned(), issuer.jwks()?];
    let (_backend, ports) = Server::part("serve-bounded", &keys).await?;
    let &[port] = &ports[..] else {
        return Err(format!("the backend announced {} ports", ports.len()).into());
    };
    // The page asks one backend once; the other two are never called.
    let (mut gateway, to) = web::start(&Upstreams::at(&[port; 3])?).await?;
    let clients = Clients::new(to, tokens);
    let capacity = f64::from(SLOTS) / SERVICE.as_secs_f64();

    eprintln!("half of {capacity:.0}/s, so that the gateway has seen an ordinary day");
    clients
        .come(capacity / 2.0, Mix::USUAL, Duration::from_secs(5))
        .await?;
    eprintln!("the peak");
    let peak = clients.loop_of(2 * SLOTS, Duration::from_secs(10)).await?;
    eprintln!("half again");
    clients
        .come(capacity / 2.0, Mix::USUAL, Duration::from_secs(5))
        .await?;
    let seconds = Duration::from_secs(settings.seconds.into());
    eprintln!("{TIMES} times for {seconds:?}");
    let met = clients.come(TIMES * capacity, Mix::USUAL, seconds).await?;
    gateway.check()?;
    Ok(report(capacity, peak, seconds, met))
}

fn report(capacity: f64, peak: f64, seconds: Duration, met: [ClientResults; 3]) -> String {
    let all: usize = met.iter().map(|class| class.took.len()).sum();
    let goodput = count(all) / seconds.as_secs_f64();
    let share = 100.0 * goodput / peak;
    let mut out = format!(
        "\n{SLOTS} slots of {SERVICE:?}: capacity {capacity:.0}/s, peak {peak:.0}/s; offered {TIMES} times capacity for {seconds:?}\n\n\
         {:<12}{:>9}{:>9}{:>9}{:>8}{:>10}{:>9}{:>9}\n",
        "", "offered", "in time", "refused", "failed", "in time %", "p50 ms", "p99 ms",
    );
    let mut signed_in = 0.0;
    for (name, mut class) in Mix::NAMES.into_iter().zip(met) {
        class.took.sort_unstable();
        let success = 100.0 * count(class.took.len()) / count(class.offered).max(1.0);
        if name == "signed in" {
            signed_in = success;
        }
        let ms = |percent: usize| {
            let rank = (class.took.len() * percent).div_ceil(100).saturating_sub(1);
            class
                .took
                .get(rank)
                .map_or(0.0, |took| took.as_secs_f64() * 1e3)
        };
        // Writing to a text does not fail.
        writeln!(
            out,
            "{name:<12}{:>9}{:>9}{:>9}{:>8}{success:>10.2}{:>9.0}{:>9.0}",
            class.offered,
            class.took.len(),
            class.refused,
            class.failed,
            ms(50),
            ms(99),
        )
        .ok();
    }
    let (of_peak, of_signed_in) = AIMS;
    writeln!(
        out,
        "\ngoodput {goodput:.0}/s = {share:.1} % of peak, aim >= {of_peak} %; signed in {signed_in:.2} % in time, aim >= {of_signed_in} %"
    )
    .ok();
    out
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn count(n: usize) -> f64 {
    n as f64
}
