//! The partner gateway: the catalogue and where it can be had, over REST, for programs with an API key.

use std::sync::Arc;

use bff_core::config::Mode;
use bff_core::context::Env;
use bff_core::server::{App, GatewayBuilder, GatewayConfig, Settings};
use bff_core::{auth, cache, inbound, outbound, routes, server, store, telemetry};
use bff_services::inventory::InventoryClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;
use serde::{Deserialize, Serialize};

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
    /// What it passes on.
    #[serde(default)]
    pub routes: routes::Configs,
    /// What it keeps of its backends' answers.
    #[serde(default)]
    pub cache: cache::Config,
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
    let gateway = GatewayBuilder::open("partner", config.settings(), world)?
        .codes(bff_services::CODES)
        .public_docs();
    let backends = &config.upstreams;
    let up = Upstreams {
        product: ProductClient::new(gateway.upstream("product", &backends.product)?),
        review: ReviewClient::new(gateway.upstream("review", &backends.review)?),
        inventory: InventoryClient::new(gateway.upstream("inventory", &backends.inventory)?),
    };
    gateway.build(rest::routes(), Arc::new(up), config)
}
