//! The parts of a gateway that its edge uses.

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

/// What the edge knows of its gateway.
#[derive(Debug)]
pub struct Edge {
    pub(crate) shared: Arc<GatewayHandles>,
    pub(crate) shutdown: CancellationToken,
    /// The fields of the gateway's screens, for the `fields` parameter.
    pub(crate) fields: FieldCache,
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
    pub(in crate::inbound) fn endpoint_options(
        &self,
        request: &Request,
    ) -> Option<EndpointOptions> {
        if let Some(passed) = request.extensions().get::<Arc<Entry>>() {
            return Some(EndpointOptions::for_proxy_route(passed.route.terms()));
        }
        let path = request.extensions().get::<MatchedPath>()?;
        self.doors.get(path.as_str()).copied()
    }
}
