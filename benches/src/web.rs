//! (c): the real web gateway with all policies on. (d): the same with policies off.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Duration, Instant, sleep};

use crate::server::{START_TIMEOUT, Server};
use crate::tokens::{AUDIENCE, ISSUER};
use crate::upstreams::Upstreams;
use crate::{Result, subprocess};

/// The interval of health checks during the start.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A limit per minute that no run reaches.
const WIDE_LIMIT: u32 = 100_000_000;

/// The environment variables of the gateway. They switch nothing off.
fn environment(
    public: SocketAddr,
    admin: SocketAddr,
    to: &Upstreams,
) -> Vec<(&'static str, String)> {
    let url = |authority| format!("http://{authority}");
    vec![
        ("WEB_SERVER__LISTEN", public.to_string()),
        ("WEB_SERVER__ADMIN_LISTEN", admin.to_string()),
        ("WEB_UPSTREAMS__PRODUCT__URL", url(&to.product)),
        ("WEB_UPSTREAMS__REVIEW__URL", url(&to.review)),
        ("WEB_UPSTREAMS__INVENTORY__URL", url(&to.inventory)),
        ("WEB_AUTH__ISSUER", ISSUER.to_owned()),
        ("WEB_AUTH__AUDIENCE", AUDIENCE.to_owned()),
        ("WEB_AUTH__JWKS__URL", url(&to.product)),
        // Requests are counted as usual, but the load of one machine does not reach the limits.
        (
            "WEB_INBOUND__RATE_LIMITS__PER_IP__LIMIT",
            WIDE_LIMIT.to_string(),
        ),
        (
            "WEB_INBOUND__RATE_LIMITS__POLICIES__SCREENS__LIMIT",
            WIDE_LIMIT.to_string(),
        ),
    ]
}

/// Switches off every policy that configuration can switch off. Rate limits cannot be switched off.
pub(crate) const POLICIES_OFF: [(&str, &str); 8] = [
    ("WEB_CACHE__MAX_BYTES", "0"),
    ("WEB_CACHE__COALESCE_REQUESTS", "false"),
    ("WEB_UPSTREAM_DEFAULTS__RETRY__MAX_ATTEMPTS", "1"),
    (
        "WEB_UPSTREAM_DEFAULTS__DEADLINE_FILTER__MIN_LATENCY_QUANTILE",
        "0",
    ),
    ("WEB_UPSTREAM_DEFAULTS__LOAD_BALANCING__POLICY", "random"),
    ("WEB_UPSTREAM_DEFAULTS__BULKHEAD__MAX_CONCURRENT", "1000000"),
    BREAKER_OFF[0],
    BREAKER_OFF[1],
];

/// A circuit breaker that never opens.
pub(crate) const BREAKER_OFF: [(&str, &str); 2] = [
    (
        "WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__MIN_CALLS",
        "1000000000",
    ),
    (
        "WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__CONSECUTIVE_FAILURES",
        "1000000000",
    ),
];

/// The options of a gateway.
#[derive(Clone, Copy, Default)]
pub(crate) struct Variant<'a> {
    /// Additional environment variables.
    pub(crate) env: &'a [(&'static str, &'a str)],
    /// A configuration file.
    pub(crate) file: Option<&'a Path>,
    /// The program. Default: `web-bff` next to this program.
    pub(crate) program: Option<&'a Path>,
}

/// Starts the gateway with all policies on, and waits until `/health` responds.
pub(crate) async fn start(to: &Upstreams) -> Result<(Server, SocketAddr)> {
    start_as(to, Variant::default()).await
}

/// Like [`start`], with options.
pub(crate) async fn start_as(to: &Upstreams, variant: Variant<'_>) -> Result<(Server, SocketAddr)> {
    let path = match variant.program {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("web-bff"),
    };
    if !path.exists() {
        let shown = path.display();
        return Err(format!(
            "{shown} is missing: build it first, `cargo build --release -p web-bff`"
        )
        .into());
    }
    let (public, admin) = free_addresses().await?;
    let mut env = environment(public, admin, to);
    env.extend(
        variant
            .env
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let file = variant
        .file
        .map(|path| ["--config".to_owned(), path.display().to_string()]);
    let args = file.map(Vec::from).unwrap_or_default();
    let mut server = Server::program(&path, &args, &env)?;
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let deadline = Instant::now() + START_TIMEOUT;
    while !is_up(&client, public).await {
        server.check()?;
        if Instant::now() > deadline {
            return Err(
                format!("web-bff did not respond to /health within {START_TIMEOUT:?}").into(),
            );
        }
        sleep(POLL_INTERVAL).await;
    }
    // Another process may have responded, if this one could not bind its port.
    server.check()?;
    Ok((server, public))
}

async fn is_up(client: &Client<HttpConnector, Empty<Bytes>>, at: SocketAddr) -> bool {
    let Ok(request) = Request::get(format!("http://{at}/health")).body(Empty::new()) else {
        return false;
    };
    let response = client.request(request).await;
    response.is_ok_and(|response| response.status() == StatusCode::OK)
}

/// Two addresses that are probably free. The gateway needs its ports before it starts.
async fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let (a, b) = (subprocess::bind().await?, subprocess::bind().await?);
    Ok((a.local_addr()?, b.local_addr()?))
}
