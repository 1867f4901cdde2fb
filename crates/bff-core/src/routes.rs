//! Pass-through routes: addresses that a backend answers itself, declared in configuration.
//!
//! They are the router's fallback over a table of prefixes of their own, so that a screen's own address always wins.
//! Bodies stream both ways. What a backend says passes as it is; what fails before it says anything is a problem of
//! ours. Everything else holds as for a screen: the edge lets a request in, and `outbound` passes it on under the
//! policies of its backend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::outbound::Upstream;

pub use config::{Config, Credential, Host};
pub(crate) use handler::{ProxiedResponse, fallback};
pub(crate) use table::{Entry, Table};

mod admit;
mod body;
mod case_conversion;
mod config;
mod forwarded;
mod handler;
mod headers;
mod http_cache;
mod path;
mod response;
mod table;
mod v1_format;
mod websocket;
mod write_completion;

/// `[routes.NAME]` by name.
pub type Configs = BTreeMap<String, Config>;

/// One route, ready.
#[derive(Debug)]
pub(crate) struct Route {
    config: Config,
    upstream: Upstream,
    methods: Vec<Method>,
    /// The same as the header of a 405.
    allow: Option<HeaderValue>,
    /// The largest body a client may send.
    max_body_bytes: u64,
    around: Arc<RouteContext>,
}

/// What all routes of a gateway share.
#[derive(Debug)]
pub(crate) struct RouteContext {
    /// The proxies whose word on the client's address counts.
    pub(crate) trusted: Vec<IpNet>,
    /// `inbound.max_body_bytes`.
    pub(crate) max_body_bytes: usize,
    /// Ends what would never end by itself.
    pub(crate) leaving: CancellationToken,
}

/// What the edge has to know of a route before it lets a request in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteLimits {
    /// How long the head may take, if not as long as any other.
    pub(crate) timeout: Option<Duration>,
    /// The longest silence after it.
    pub(crate) idle: Duration,
    /// The largest body.
    pub(crate) max_body_bytes: u64,
    /// Whether the backend judges the client's credential.
    pub(crate) auth_by_upstream: bool,
}

impl Route {
    pub(crate) fn terms(&self) -> RouteLimits {
        RouteLimits {
            timeout: self.config.timeout,
            idle: self.config.idle_timeout,
            max_body_bytes: self.max_body_bytes,
            auth_by_upstream: self.config.allow_anonymous
                && self.config.passes(Credential::Authorization),
        }
    }
}

/// The table of all routes. The error is one line that begins with the key of the mistake.
pub(crate) fn open(
    configs: &Configs,
    upstreams: &BTreeMap<&'static str, Upstream>,
    around: RouteContext,
) -> Result<Table, String> {
    let around = Arc::new(around);
    let mut table = Table::default();
    for (name, config) in configs {
        (config.check()).map_err(|line| format!("routes.{name}.{line}"))?;
        let upstream = upstreams.get(config.upstream.as_str()).ok_or_else(|| {
            let known: Vec<&str> = upstreams.keys().copied().collect();
            let (wanted, known) = (&config.upstream, known.join(", "));
            format!("routes.{name}.upstream: {wanted:?} is no HTTP backend of this gateway, which are {known}")
        })?;
        let route = Arc::new(Route::new(config, upstream, &around));
        for prefix in &config.prefixes {
            let entry = Entry::new(prefix, config, route.clone());
            table.add(prefix, entry).map_err(|_| {
                format!("routes.{name}.prefixes: {prefix:?} stands twice, and only one route could answer it")
            })?;
        }
    }
    Ok(table)
}

impl Route {
    fn new(config: &Config, upstream: &Upstream, around: &Arc<RouteContext>) -> Self {
        let mut methods: Vec<Method> = (config.methods.iter())
            .filter_map(|m| config::method(m))
            .collect();
        // Whoever answers GET answers HEAD (RFC 9110 §9.1).
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        let allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
        Self {
            allow: HeaderValue::try_from(allow.join(", ")).ok(),
            upstream: upstream.clone(),
            methods,
            max_body_bytes: config
                .max_body_bytes
                .unwrap_or(around.max_body_bytes as u64),
            around: around.clone(),
            config: config.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
