//! `benches policies`: what the policies do when backends fail, hang, die, come and go, row by row against an aim.
//!
//! The gateway is the real one at its defaults, but for what a row says. Backends and clients are this process.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::args::Upstreams;
use crate::tokens::Issuer;
use crate::web::{self, Variant};
use backend::Backend;
use clients::{Crowd, Page, failures};

mod backend;
mod clients;
mod instances;

/// What is measured with.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// Consul's program; without it the row about instances that come and go is left out
    #[arg(long)]
    pub(crate) consul: Option<PathBuf>,
}

/// One row: what was measured, in words, and whether it is what is aimed at.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) is: String,
    pub(super) aim: &'static str,
    pub(super) met: bool,
}

/// Product, review and inventory, and the gateway's way to them.
struct Shop {
    product: Backend,
    review: Backend,
    inventory: Backend,
}

/// How many hang up, in two parties: more at once than a gateway lets in that has just started would be refused.
const HANG_UPS: [usize; 2] = [50, 50];
/// When their calls must be over.
const CANCELLED_WITHIN: Duration = Duration::from_millis(50);
/// What an answer may take beyond its budget.
const LATE: Duration = Duration::from_millis(5);

/// Measures every row.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let jwks = Issuer::new()?.jwks()?;
    let mut rows = Vec::new();
    eprintln!("amplification");
    rows.push(amplification(&jwks).await?);
    eprintln!("hang-ups");
    rows.push(orphans(&jwks).await?);
    for (what, within, budget) in [
        (
            "one optional backend takes 2 s, the gateway's own budget of 2 s",
            None,
            2000,
        ),
        ("the same, a client's budget of 500 ms", Some(500), 500),
    ] {
        eprintln!("{what}");
        let within = within.map(Duration::from_millis);
        let budget = Duration::from_millis(budget);
        rows.push(slow_option(&jwks, what, within, budget).await?);
    }
    eprintln!("a dead instance");
    rows.extend(instances::dead(&jwks).await?);
    if let Some(consul) = &settings.consul {
        eprintln!("instances that come and go");
        rows.push(instances::rolling(&jwks, consul).await?);
    }
    Ok(report(&rows, settings.consul.is_some()))
}

impl Shop {
    async fn open(jwks: &str) -> Result<Self> {
        Ok(Self {
            product: Backend::start(jwks).await?,
            review: Backend::start(jwks).await?,
            inventory: Backend::start(jwks).await?,
        })
    }

    fn upstreams(&self) -> Result<Upstreams> {
        let all = [&self.product, &self.review, &self.inventory];
        Upstreams::at(&all.map(|backend| backend.at.port()))
    }

    fn in_flight(&self) -> usize {
        let all = [&self.product, &self.review, &self.inventory];
        all.map(Backend::in_flight).iter().sum()
    }
}

/// Three in ten calls fail: how many are made for each that is needed?
async fn amplification(jwks: &str) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let (_gateway, to) = web::start(&shop.upstreams()?).await?;
    let page = Page {
        to,
        fields: "product",
        within: None,
    };
    let crowd = Crowd {
        clients: 16,
        pause: Duration::from_millis(10),
        time: Duration::from_secs(20),
    };
    // From the first call on, when nothing is saved up: a stretch that begins later may also spend the part of an extra
    // attempt that was saved before it, and is no measure to the call.
    shop.product.fails(30);
    let told = crowd.ask(page).await?;
    let calls = shop.product.calls();
    // Whoever was refused before a call was made needed none.
    let refused = |code: &str| ["overloaded", "circuit_open", "rate_limited"].contains(&code);
    let needed = told.iter().filter(|told| !refused(&told.code)).count();
    let ratio = count(calls) / count(needed);
    let failed = failures(&told);
    Ok(Row {
        what: "calls for each needed from the first on, 30 % of them failing",
        is: format!("{ratio:.3} ({calls} for {needed}; pages failed: {failed})"),
        aim: "<= 1.1",
        met: ratio <= 1.1,
    })
}

/// A hundred clients hang up while their three calls each are under way.
async fn orphans(jwks: &str) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let (_gateway, to) = web::start(&shop.upstreams()?).await?;
    let page = Page {
        to,
        fields: "product,reviews,availability",
        within: None,
    };
    for backend in [&shop.product, &shop.review, &shop.inventory] {
        backend.takes(Duration::from_secs(30));
    }
    let (mut calls, mut orphans) = (0, 0);
    for clients in HANG_UPS {
        let all = 3 * clients;
        clients::hang_up(page, clients, || shop.in_flight() >= all).await?;
        sleep(CANCELLED_WITHIN).await;
        calls += all;
        orphans += shop.in_flight();
    }
    Ok(Row {
        what: "calls still running 50 ms after 100 hang-ups",
        is: format!("{orphans} of {calls}"),
        aim: "0",
        met: orphans == 0,
    })
}

/// The reviews take two seconds, and the breaker is kept from sparing everybody the wait.
async fn slow_option(
    jwks: &str,
    what: &'static str,
    within: Option<Duration>,
    budget: Duration,
) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let patient = Variant {
        more: &web::NEVER_OPENS,
        ..Variant::default()
    };
    let (_gateway, to) = web::start_as(&shop.upstreams()?, patient).await?;
    let page = Page {
        to,
        fields: "product,reviews,availability",
        within,
    };
    shop.review.takes(Duration::from_secs(2));
    let crowd = Crowd {
        clients: 15,
        pause: Duration::ZERO,
        time: Duration::from_secs(20),
    };
    let told = crowd.ask(page).await?;
    let mut took: Vec<Duration> = told.iter().filter(|t| t.ok).map(|t| t.took).collect();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
    if took.is_empty() {
        return Err(format!("no page was answered: {}", failures(&told)).into());
    }
    let (p50, p99, failed) = (at(50), at(99), told.len() - took.len());
    Ok(Row {
        what,
        is: format!(
            "p50 {p50:.0?}, p99 {p99:.1?} of {}, {failed} failed",
            took.len()
        ),
        aim: "p99 <= budget + 5 ms",
        met: p99 <= budget + LATE && failed == 0,
    })
}

fn report(rows: &[Row], with_consul: bool) -> String {
    let mut out = String::from("\n");
    for Row { what, is, aim, met } in rows {
        let met = if *met { "met" } else { "NOT MET" };
        // Writing to a text does not fail.
        writeln!(out, "{what}\n    {is}; aim {aim}: {met}").ok();
    }
    if !with_consul {
        writeln!(
            out,
            "instances that come and go\n    not measured: no --consul"
        )
        .ok();
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn count(n: usize) -> f64 {
    n as f64
}
