//! The web gateway: rich screens for browsers, over REST and GraphQL.

use std::sync::Arc;

use bff_core::action::IdempotentWrites;
use bff_core::config::Mode;
use bff_core::context::Env;
use bff_core::server::{App, GatewayBuilder, GatewayConfig, Settings};
use bff_core::{
    auth, cache, graphql as engine, inbound, outbound, routes, server, store, telemetry,
};
use bff_services::inventory::InventoryClient;
use bff_services::order::OrderClient;
use bff_services::payment::PaymentClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;
use bff_services::user::UserClient;
use serde::{Deserialize, Serialize};

pub mod actions;
pub mod graphql;
pub mod rest;
pub mod screens;

/// The configuration compiled in.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// This gateway's configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Production or development.
    pub mode: Mode,
    /// Where it listens.
    pub server: server::Config,
    /// What its edge lets in.
    pub inbound: inbound::Config,
    /// Which credentials it takes.
    pub auth: auth::Config,
    /// What it logs.
    #[serde(default)]
    pub telemetry: telemetry::logs::Config,
    /// What it keeps of its backends' answers.
    #[serde(default)]
    pub cache: cache::Config,
    /// How large a GraphQL document may be.
    #[serde(default)]
    pub graphql: engine::Config,
    /// What it passes on.
    #[serde(default)]
    pub routes: routes::Configs,
    /// Where it keeps what replicas share.
    #[serde(default)]
    pub store: store::Config,
    /// Where its backends are.
    pub upstreams: UpstreamsConfig,
}

/// Where this gateway's backends are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamsConfig {
    /// The catalogue.
    pub product: outbound::Config,
    /// What people wrote.
    pub review: outbound::Config,
    /// What can be had where.
    pub inventory: outbound::Config,
    /// Profiles and friends.
    pub user: outbound::Config,
    /// What is played, over gRPC.
    pub playback: outbound::Config,
    /// Carts and orders.
    pub order: outbound::Config,
    /// Payments.
    pub payment: outbound::Config,
    /// The issuer: passed on only.
    pub auth: outbound::Config,
}

/// This gateway's backends.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// The catalogue.
    pub product: ProductClient,
    /// What people wrote.
    pub review: ReviewClient,
    /// What can be had where.
    pub inventory: InventoryClient,
    /// Profiles and friends.
    pub user: UserClient,
    /// What is played.
    pub playback: PlaybackClient,
    /// Carts and orders.
    pub order: OrderClient,
    /// Payments.
    pub payment: PaymentClient,
    /// What is remembered of writes.
    pub writes: IdempotentWrites,
}

impl GatewayConfig for Config {
    fn settings(&self) -> Settings<'_> {
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

/// The gateway, ready to be served.
pub fn app(config: &Config, world: &Env) -> Result<App, String> {
    let gateway = GatewayBuilder::open("web", config.settings(), world)?.codes(bff_services::CODES);
    let backends = &config.upstreams;
    let up = Upstreams {
        product: ProductClient::new(gateway.upstream("product", &backends.product)?),
        review: ReviewClient::new(gateway.upstream("review", &backends.review)?),
        inventory: InventoryClient::new(gateway.upstream("inventory", &backends.inventory)?),
        user: UserClient::new(gateway.upstream("user", &backends.user)?),
        playback: PlaybackClient::new(gateway.grpc_upstream("playback", &backends.playback)?),
        order: OrderClient::new(gateway.upstream("order", &backends.order)?),
        payment: PaymentClient::new(gateway.upstream("payment", &backends.payment)?),
        writes: gateway.writes(),
    };
    // What it answers is passed on as it is, by a route of the configuration.
    gateway.upstream("auth", &backends.auth)?;
    let graphql = engine::routes(
        graphql::schema().data(up.clone()),
        &config.graphql,
        config.mode,
    );
    let doors = rest::routes().merge(graphql);
    gateway.build(doors, Arc::new(up), config)
}
