//! (c): the real web gateway, as it is built beside this binary, with everything on; (d): with policies off.

use std::net::SocketAddr;
use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Duration, Instant, sleep};

use crate::args::Upstreams;
use crate::server::{START, Server};
use crate::tokens::{AUDIENCE, ISSUER};
use crate::{Result, subprocess};

/// How often a gateway that starts is asked whether it is there.
const POLL: Duration = Duration::from_millis(50);

/// More requests in a minute than any run makes.
const ROOM: u32 = 100_000_000;

/// Everything the gateway is told that its own defaults do not say. Nothing is switched off.
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
        // Counted as ever, and wide enough that one machine's load meets the gateway and not its limits.
        ("WEB_INBOUND__RATE_LIMITS__PER_IP__LIMIT", ROOM.to_string()),
        (
            "WEB_INBOUND__RATE_LIMITS__POLICIES__SCREENS__LIMIT",
            ROOM.to_string(),
        ),
    ]
}

/// Every policy switched off that configuration lets be switched off. Limits cannot: they stay as wide as above.
pub(crate) const BARE: [(&str, &str); 8] = [
    ("WEB_CACHE__MAX_BYTES", "0"),
    ("WEB_CACHE__COALESCE_REQUESTS", "false"),
    ("WEB_UPSTREAM_DEFAULTS__RETRY__MAX_ATTEMPTS", "1"),
    (
        "WEB_UPSTREAM_DEFAULTS__DEADLINE_FILTER__MIN_LATENCY_QUANTILE",
        "0",
    ),
    ("WEB_UPSTREAM_DEFAULTS__LOAD_BALANCING__POLICY", "random"),
    ("WEB_UPSTREAM_DEFAULTS__BULKHEAD__MAX_CONCURRENT", "1000000"),
    NEVER_OPENS[0],
    NEVER_OPENS[1],
];

/// A breaker that never opens.
pub(crate) const NEVER_OPENS: [(&str, &str); 2] = [
    (
        "WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__MIN_CALLS",
        "1000000000",
    ),
    (
        "WEB_UPSTREAM_DEFAULTS__CIRCUIT_BREAKER__CONSECUTIVE_FAILURES",
        "1000000000",
    ),
];

/// What else there is to say of a gateway.
#[derive(Clone, Copy, Default)]
pub(crate) struct Variant<'a> {
    /// More variables.
    pub(crate) more: &'a [(&'static str, &'a str)],
    /// A file of configuration.
    pub(crate) file: Option<&'a Path>,
    /// The program, if it is not the one beside this one.
    pub(crate) program: Option<&'a Path>,
}

/// Starts the gateway with everything on and waits until it answers `/health`.
pub(crate) async fn start(to: &Upstreams) -> Result<(Server, SocketAddr)> {
    start_as(to, Variant::default()).await
}

/// The same of a variant.
pub(crate) async fn start_as(to: &Upstreams, it: Variant<'_>) -> Result<(Server, SocketAddr)> {
    let path = match it.program {
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
        it.more
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    let file = it
        .file
        .map(|path| ["--config".to_owned(), path.display().to_string()]);
    let args = file.map(Vec::from).unwrap_or_default();
    let mut server = Server::program(&path, &args, &env)?;
    let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let deadline = Instant::now() + START;
    while !is_up(&client, public).await {
        server.check()?;
        if Instant::now() > deadline {
            return Err(format!("web-bff did not answer /health within {START:?}").into());
        }
        sleep(POLL).await;
    }
    // Whoever answered might be somebody else, had this one found its port taken.
    server.check()?;
    Ok((server, public))
}

async fn is_up(client: &Client<HttpConnector, Empty<Bytes>>, at: SocketAddr) -> bool {
    let Ok(request) = Request::get(format!("http://{at}/health")).body(Empty::new()) else {
        return false;
    };
    let answer = client.request(request).await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

/// Two addresses that were free a moment ago: the gateway is told its ports and does not tell the kernel's choice.
async fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let (a, b) = (subprocess::bind().await?, subprocess::bind().await?);
    Ok((a.local_addr()?, b.local_addr()?))
}
