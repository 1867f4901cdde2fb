//! `benches policies`: the effect of the policies while backends fail, hang, die and are replaced. Each row has a target.
//!
//! The gateway is the real `web-bff` with its defaults, except for the settings of a row. Backends and clients run in this
//! process.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::Result;
use crate::tokens::Issuer;
use crate::upstreams::Upstreams;
use crate::web::{self, Variant};
use backend::Backend;
use clients::{ClosedLoop, Page, failures};
use report::{Row, report};

mod backend;
mod clients;
mod instances;
mod report;

/// The options of this measurement.
#[derive(clap::Args)]
pub(crate) struct Settings {
    /// The Consul program; without it, the row about replaced instances is not measured
    #[arg(long)]
    pub(crate) consul: Option<PathBuf>,
}

/// The product, review and inventory backends.
struct Shop {
    product: Backend,
    review: Backend,
    inventory: Backend,
}

/// The number of clients that disconnect at once.
const DISCONNECTS: usize = 100;
/// The time within which their backend calls must be cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(50);
/// The tolerance of a response beyond its deadline.
const TOLERANCE: Duration = Duration::from_millis(5);

/// Measures every row.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let jwks = Issuer::new()?.jwks()?;
    let mut rows = Vec::new();
    eprintln!("amplification");
    rows.push(amplification(&jwks).await?);
    eprintln!("client disconnects");
    rows.push(orphans(&jwks).await?);
    for (label, request_timeout, deadline) in [
        (
            "one optional backend takes 2 s, gateway deadline of 2 s",
            None,
            2000,
        ),
        ("the same, client deadline of 500 ms", Some(500), 500),
    ] {
        eprintln!("{label}");
        let request_timeout = request_timeout.map(Duration::from_millis);
        let deadline = Duration::from_millis(deadline);
        rows.push(slow_optional_section(&jwks, label, request_timeout, deadline).await?);
    }
    eprintln!("dead instance");
    rows.extend(instances::dead(&jwks).await?);
    if let Some(consul) = &settings.consul {
        eprintln!("replaced instances");
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

/// 30 % of the calls fail: measures the calls per needed call.
async fn amplification(jwks: &str) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let (_gateway, to) = web::start(&shop.upstreams()?).await?;
    let page = Page {
        to,
        fields: "product",
        request_timeout: None,
    };
    let load = ClosedLoop {
        clients: 16,
        pause: Duration::from_millis(10),
        time: Duration::from_secs(20),
    };
    // Counted from the first call, when the retry budget is empty. A later window could also spend tokens that were saved
    // before it.
    shop.product.set_failure_percent(30);
    let responses = load.run(page).await?;
    let calls = shop.product.calls();
    // A request that was rejected before a call needed no call.
    let is_rejection = |code: &str| ["overloaded", "circuit_open", "rate_limited"].contains(&code);
    let needed = responses
        .iter()
        .filter(|response| !is_rejection(&response.code))
        .count();
    let ratio = count(calls) / count(needed);
    let failed = failures(&responses);
    Ok(Row {
        label: "calls per needed call, while 30 % of them fail",
        result: format!("{ratio:.3} ({calls} for {needed}; pages failed: {failed})"),
        target: "<= 1.1",
        met: ratio <= 1.1,
    })
}

/// 100 clients disconnect while each has three backend calls in flight.
async fn orphans(jwks: &str) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let (_gateway, to) = web::start(&shop.upstreams()?).await?;
    let page = Page {
        to,
        fields: "product,reviews,availability",
        request_timeout: None,
    };
    for backend in [&shop.product, &shop.review, &shop.inventory] {
        backend.set_latency(Duration::from_secs(30));
    }
    let calls = 3 * DISCONNECTS;
    clients::disconnect(page, DISCONNECTS, || shop.in_flight() >= calls).await?;
    sleep(CANCEL_TIMEOUT).await;
    let orphans = shop.in_flight();
    Ok(Row {
        label: "calls in flight 50 ms after 100 client disconnects",
        result: format!("{orphans} of {calls}"),
        target: "0",
        met: orphans == 0,
    })
}

/// The review backend takes two seconds. The circuit breaker is off, because it would avoid the wait.
async fn slow_optional_section(
    jwks: &str,
    label: &'static str,
    request_timeout: Option<Duration>,
    deadline: Duration,
) -> Result<Row> {
    let shop = Shop::open(jwks).await?;
    let variant = Variant {
        env: &web::BREAKER_OFF,
        ..Variant::default()
    };
    let (_gateway, to) = web::start_as(&shop.upstreams()?, variant).await?;
    let page = Page {
        to,
        fields: "product,reviews,availability",
        request_timeout,
    };
    shop.review.set_latency(Duration::from_secs(2));
    let load = ClosedLoop {
        clients: 15,
        pause: Duration::ZERO,
        time: Duration::from_secs(20),
    };
    let responses = load.run(page).await?;
    let mut latencies: Vec<Duration> = responses
        .iter()
        .filter(|response| response.ok)
        .map(|response| response.latency)
        .collect();
    latencies.sort_unstable();
    let percentile =
        |percent: usize| latencies[(latencies.len() * percent).div_ceil(100).max(1) - 1];
    if latencies.is_empty() {
        return Err(format!("no page succeeded: {}", failures(&responses)).into());
    }
    let (p50, p99, failed) = (
        percentile(50),
        percentile(99),
        responses.len() - latencies.len(),
    );
    Ok(Row {
        label,
        result: format!(
            "p50 {p50:.0?}, p99 {p99:.1?} of {}, {failed} failed",
            latencies.len()
        ),
        target: "p99 <= deadline + 5 ms",
        met: p99 <= deadline + TOLERANCE && failed == 0,
    })
}

#[expect(clippy::cast_precision_loss, reason = "the counts are small")]
fn count(n: usize) -> f64 {
    n as f64
}
