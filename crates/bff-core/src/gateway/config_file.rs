//! A gateway's whole configuration.

use serde::{Deserialize, Serialize};

use super::GatewayState;
use super::upstreams::has_no_keys;
use crate::config::Mode;
use crate::server::{self, Settings};
use crate::{auth, cache, graphql_config, inbound, routes, store, telemetry};

/// A gateway's whole configuration. All gateways have the same tables; `[upstreams]` and `[screens]` follow from `U`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, bound = "")]
pub struct GatewayConfig<U: GatewayState> {
    /// Production or development.
    pub mode: Mode,
    /// The addresses on which it listens, and the limits of connections.
    pub server: server::Config,
    /// Limits of its edge.
    pub inbound: inbound::Config,
    /// The credentials that it accepts.
    pub auth: auth::Config,
    /// Its log.
    #[serde(default)]
    pub telemetry: telemetry::logs::Config,
    /// Limits of GraphQL documents. Without GraphQL routes it has no effect.
    #[serde(default)]
    pub graphql: graphql_config::Config,
    /// The cache of its backends' responses.
    #[serde(default)]
    pub cache: cache::Config,
    /// Its proxy routes.
    #[serde(default)]
    pub routes: routes::Configs,
    /// The state that replicas share.
    #[serde(default)]
    pub store: store::Config,
    /// The settings of its screens and actions: one table for each [`GatewayPart`](super::GatewayPart).
    #[serde(default, skip_serializing_if = "has_no_keys")]
    pub screens: U::Screens,
    /// Its backends: one table each.
    pub upstreams: U::Config,
}

impl<U: GatewayState> GatewayConfig<U> {
    /// The part that the core reads.
    pub(super) fn settings(&self) -> Settings<'_> {
        Settings {
            mode: self.mode,
            server: &self.server,
            inbound: &self.inbound,
            auth: &self.auth,
            telemetry: &self.telemetry,
            routes: &self.routes,
            cache: &self.cache,
            store: &self.store,
        }
    }
}
