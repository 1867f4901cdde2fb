//! One proxy route with its configuration and backend.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::config::{self, Config, Credential};
use crate::outbound::{GatewayHandles, Upstream};

/// One route at run time.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) config: Config,
    pub(super) upstream: Upstream,
    pub(super) methods: Vec<Method>,
    /// The methods as an `Allow` header.
    pub(super) allow: Option<HeaderValue>,
    /// The largest request body.
    pub(super) max_body_bytes: u64,
    pub(super) context: Arc<RouteContext>,
}

/// The state that all routes of a gateway share.
#[derive(Debug)]
pub(crate) struct RouteContext {
    /// `inbound.trusted_proxies`.
    pub(crate) trusted: Vec<IpNet>,
    /// `inbound.max_body_bytes`.
    pub(crate) max_body_bytes: usize,
    /// Cancelled at shutdown. Ends event streams and `WebSocket`s.
    pub(crate) shutdown: CancellationToken,
    /// The cache, the metrics and the tasks of the gateway.
    pub(crate) shared: Arc<GatewayHandles>,
}

/// The options of a route that the edge needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteLimits {
    /// The time until the response's headers. `None`: `inbound.deadline`.
    pub(crate) timeout: Option<Duration>,
    /// The idle timeout of both bodies.
    pub(crate) idle_timeout: Duration,
    /// The largest request body.
    pub(crate) max_body_bytes: u64,
    /// Whether the backend verifies the client's credential, and the edge does not.
    pub(crate) auth_by_upstream: bool,
}

impl Route {
    /// The options of this route that the edge needs.
    pub(crate) fn limits(&self) -> RouteLimits {
        RouteLimits {
            timeout: self.config.timeout,
            idle_timeout: self.config.idle_timeout,
            max_body_bytes: self.max_body_bytes,
            auth_by_upstream: self.config.allow_anonymous
                && self.config.forwards(Credential::Authorization),
        }
    }

    /// Creates a route from its configuration.
    pub(super) fn new(config: &Config, upstream: &Upstream, context: &Arc<RouteContext>) -> Self {
        let mut methods: Vec<Method> = (config.methods.iter())
            .filter_map(|m| config::method(m))
            .collect();
        // A resource with GET also has HEAD (RFC 9110 §9.1).
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
                .unwrap_or(context.max_body_bytes as u64),
            context: context.clone(),
            config: config.clone(),
        }
    }
}
