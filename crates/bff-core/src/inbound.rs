//! The edge: what every request passes, in order, before a door sees it. [`protect`] lists it all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tower::layer::layer_fn;

use crate::auth::Authenticator;
use crate::context::GatewayHandles;
use crate::rate_limit::Limits;
use crate::routes::{Entry, Table};
use crate::scope::{Language, Region};

pub use connection_activity::{ConnectionActivity, InFlightRequest};
pub use endpoints::{Authenticated, EndpointOptions, Endpoints, WriteDetection};
pub use extract::{Body, Path, Query};
pub use idempotent_request::IdempotentRequest;
pub use load_shed::PriorityClass;
pub use sse::SseStream;

use access_log::RequestState;
use edge_service::EdgeService;

mod access_log;
mod authenticate;
pub mod client_ip;
mod compress;
mod connection_activity;
mod cors;
mod edge_service;
pub mod endpoints;
pub mod extract;
mod finalize_response;
mod idempotent_request;
mod ip_filter;
mod language;
pub mod load_shed;
mod rate_limit;
mod sse;
mod validate_headers;
mod write_timeout_body;

/// What the edge lets in, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a whole request may take. Default 2s: people leave pages that take longer.
    #[serde(default = "Config::deadline", with = "crate::config::duration::some")]
    pub deadline: Duration,
    /// The most a client's `Request-Timeout` may ask for. Default 10s.
    #[serde(
        default = "Config::max_deadline",
        with = "crate::config::duration::some"
    )]
    pub max_deadline: Duration,
    /// The largest request body read, unless the route says otherwise. Default 65536 (64 KiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
    /// How long a request's body may take to arrive. Default 5s, and never past the deadline.
    #[serde(
        default = "Config::body_timeout",
        with = "crate::config::duration::some"
    )]
    pub body_timeout: Duration,
    /// The languages there are texts in, the first being the default. Default `["en"]`.
    #[serde(default = "Config::languages")]
    pub languages: Vec<Language>,
    /// The markets served, the first being that of callers who are not signed in. Default `["DE"]`.
    #[serde(default = "Config::regions")]
    pub regions: Vec<Region>,
    /// The origins whose pages may call, exactly as browsers send them. Default none.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Whether those pages may send cookies. Default false.
    #[serde(default)]
    pub cors_credentials: bool,
    /// The proxies before this gateway, as addresses or networks: what they say in `Forwarded` and `X-Forwarded-…` of
    /// where a request came from is passed on, what anybody else says there is replaced. Default none.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Which header those proxies write the client's address into, `x-forwarded-for` or `forwarded`. Default
    /// `x-forwarded-for`, and only one: a proxy may pass on what a client wrote into the other.
    #[serde(default)]
    pub client_ip_header: client_ip::ForwardedHeader,
    /// The addresses or networks let in. Default none, which lets in everybody who is not denied.
    #[serde(default)]
    pub allow: Vec<IpNet>,
    /// The addresses or networks never let in: 403. Default none.
    #[serde(default)]
    pub deny: Vec<IpNet>,
    /// How much one client may ask for. Default: no limit.
    #[serde(default)]
    pub rate_limits: crate::rate_limit::Config,
    /// How many requests are worked on at once, and who goes first when there are more.
    #[serde(default)]
    pub load_shedding: load_shed::Config,
}

impl Config {
    fn deadline() -> Duration {
        Duration::from_secs(2)
    }

    fn max_deadline() -> Duration {
        Duration::from_secs(10)
    }

    fn max_body_bytes() -> usize {
        64 << 10
    }

    fn body_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn languages() -> Vec<Language> {
        "en".parse().into_iter().collect()
    }

    fn regions() -> Vec<Region> {
        "DE".parse().into_iter().collect()
    }
}

/// The other side's address, put into a request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

/// What the edge knows of its gateway.
#[derive(Debug)]
pub struct Edge {
    pub(crate) shared: Arc<GatewayHandles>,
    pub(crate) config: Config,
    pub(crate) doors: endpoints::Table,
    pub(crate) routes: Table,
    pub(crate) auth: Authenticator,
    pub(crate) shed: Arc<load_shed::LoadShedder>,
    pub(crate) limits: Limits,
    /// What `type` of a problem begins with, without a final slash.
    pub(crate) public_url: String,
}

impl Edge {
    /// The door a request comes through; none for pages such as `/health`, and where there is nothing.
    fn endpoint_options(&self, request: &Request) -> Option<EndpointOptions> {
        if let Some(passed) = request.extensions().get::<Arc<Entry>>() {
            return Some(EndpointOptions::for_proxy_route(passed.route.terms()));
        }
        let path = request.extensions().get::<MatchedPath>()?;
        self.doors.get(path.as_str()).copied()
    }
}

/// Puts the edge around each route of a router.
pub fn layer(edge: &Arc<Edge>, router: Router) -> Result<Router, String> {
    let cors = cors::layer(&edge.config)?.map(Arc::new);
    let edge = edge.clone();
    Ok(router.layer(layer_fn(move |route| EdgeService {
        edge: edge.clone(),
        cors: cors.clone(),
        route,
    })))
}

/// What a request passes, outermost first.
async fn handle(gate: EdgeService, request: Request) -> Response {
    let EdgeService { edge, cors, route } = &gate;
    // Request id, trace, metrics and the one log line; Host and header limits; the panic net; problem documents,
    // security headers, 304, one `Vary`.
    access_log::observe(edge, request, |request, seen| async move {
        // CORS headers stand on every answer, refusals included.
        let inside = |request| handle_admitted(edge, &seen, request, route);
        cors::apply(cors.as_deref(), request, inside).await
    })
    .await
}

/// Lets a request in, in order, if it may come in.
async fn handle_admitted(
    edge: &Edge,
    seen: &RequestState,
    mut request: Request,
    route: &Route,
) -> Response {
    // The IP filter; the address's own limit, of which a failed credential costs ten.
    let client = match ip_filter::check_address(edge, &request) {
        Ok(client) => client,
        Err(refusal) => return *refusal,
    };
    // A free slot by intent, or 503 at once, before any work and before the deadline starts.
    let door = edge.endpoint_options(&request);
    let place = match door.map(|door| load_shed::enter(edge, &door, &mut request)) {
        None => None,
        Some(Ok(place)) => Some(place),
        Some(Err(error)) => return error.into_response(),
    };
    let coming = authenticate::EdgeState {
        client,
        door,
        seen,
        standing: place.as_ref().map(load_shed::Admission::standing),
    };
    // The deadline starts; a credential becomes a caller; then the caller's quota, and the context opens. What the door
    // answers is encoded as the client likes it best.
    let response = authenticate::authenticate_and_handle(edge, coming, request, route).await;
    if let Some(slot) = place.and_then(|place| place.finish(&response)) {
        seen.hold(slot);
    }
    response
}
