//! One route with its configuration and backend.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::config::{self, Config, Credential};
use crate::outbound::{GatewayHandles, Upstream};

/// One route, ready.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) config: Config,
    pub(super) upstream: Upstream,
    pub(super) methods: Vec<Method>,
    /// The same as the header of a 405.
    pub(super) allow: Option<HeaderValue>,
    /// The largest body a client may send.
    pub(super) max_body_bytes: u64,
    pub(super) around: Arc<RouteContext>,
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
    /// The cache, the metrics and the tasks of the gateway.
    pub(crate) shared: Arc<GatewayHandles>,
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
    /// What the edge has to know of this route.
    pub(crate) fn terms(&self) -> RouteLimits {
        RouteLimits {
            timeout: self.config.timeout,
            idle: self.config.idle_timeout,
            max_body_bytes: self.max_body_bytes,
            auth_by_upstream: self.config.allow_anonymous
                && self.config.passes(Credential::Authorization),
        }
    }

    /// A route with its configuration and backend.
    pub(super) fn new(config: &Config, upstream: &Upstream, around: &Arc<RouteContext>) -> Self {
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
