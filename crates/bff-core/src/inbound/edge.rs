//! The state of the edge.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};

use super::Config;
use super::admission::load_shed;
use super::endpoints::{self, EndpointOptions};
use tokio_util::sync::CancellationToken;

use crate::GatewayHandles;
use crate::auth::Authenticator;
use crate::rate_limit::Limits;
use crate::routes::{Entry, Table};
use crate::section::fields::FieldCache;

/// The state of the edge, shared by all routes of a gateway.
#[derive(Debug)]
pub struct Edge {
    pub(crate) shared: Arc<GatewayHandles>,
    pub(crate) shutdown: CancellationToken,
    /// The fields of the gateway's screens, for the `fields` parameter.
    pub(crate) fields: FieldCache,
    pub(crate) config: Config,
    pub(crate) endpoints: endpoints::Table,
    pub(crate) routes: Table,
    pub(crate) auth: Authenticator,
    pub(crate) shedder: Arc<load_shed::LoadShedder>,
    pub(crate) limits: Limits,
    /// The prefix of a problem's `type`, without a final slash.
    pub(crate) public_url: Arc<str>,
}

impl Edge {
    /// The options of the matched endpoint or proxy route. `None` for pages such as `/health`, and for unknown paths.
    pub(in crate::inbound) fn endpoint_options(
        &self,
        request: &Request,
    ) -> Option<EndpointOptions> {
        if let Some(proxied) = request.extensions().get::<Arc<Entry>>() {
            return Some(EndpointOptions::for_proxy_route(proxied.route.limits()));
        }
        let path = request.extensions().get::<MatchedPath>()?;
        self.endpoints.get(path.as_str()).copied()
    }
}
