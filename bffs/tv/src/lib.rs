//! The tv gateway: screens for a big picture, four arrow keys and OK, over REST.

use std::collections::HashSet;
use std::sync::Arc;

use bff_core::config::Mode;
use bff_core::context::Env;
use bff_core::server::{App, GatewayBuilder, GatewayConfig, Settings};
use bff_core::{auth, cache, inbound, outbound, routes, server, store, telemetry};
use bff_services::inventory::InventoryClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::{CollectionId, ProductClient};
use bff_services::review::ReviewClient;
use serde::{Deserialize, Serialize};

pub mod actions;
pub mod rest;
pub mod screens;

/// The configuration compiled in.
pub const DEFAULTS: &str = include_str!("../config.toml");

/// The row whose first product is the hero.
const FEATURED: &str = "featured";

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
    /// What the browse screen shows.
    pub browse: BrowseConfig,
    /// What it passes on.
    #[serde(default)]
    pub routes: routes::Configs,
    /// Where it keeps what replicas share.
    #[serde(default)]
    pub store: store::Config,
    /// Where its backends are.
    pub upstreams: UpstreamsConfig,
}

/// What the browse screen shows.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrowseConfig {
    /// The collections shown as rows, top to bottom.
    pub rows: Vec<CollectionId>,
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
    /// How a title is played, and how far callers have come.
    pub playback: outbound::Config,
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
    /// How a title is played, and how far callers have come.
    pub playback: PlaybackClient,
}

/// The collections of the browse screen.
#[derive(Clone, Debug)]
pub struct BrowseRows {
    /// The one whose first product is the hero.
    pub featured: CollectionId,
    /// The rows, top to bottom.
    pub rows: Vec<CollectionId>,
}

/// What the doors work with.
#[derive(Clone, Debug)]
pub struct TvState {
    /// The backends.
    pub up: Upstreams,
    /// What the browse screen shows.
    pub shelves: BrowseRows,
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
    let shelves = BrowseRows::open(&config.browse)?;
    let gateway = GatewayBuilder::open("tv", config.settings(), world)?.codes(bff_services::CODES);
    let backends = &config.upstreams;
    let up = Upstreams {
        product: ProductClient::new(gateway.upstream("product", &backends.product)?),
        review: ReviewClient::new(gateway.upstream("review", &backends.review)?),
        inventory: InventoryClient::new(gateway.upstream("inventory", &backends.inventory)?),
        playback: PlaybackClient::new(gateway.grpc_upstream("playback", &backends.playback)?),
    };
    gateway.build(rest::routes(), Arc::new(TvState { up, shelves }), config)
}

impl BrowseRows {
    /// A row is told by its id, so none may be there twice.
    fn open(config: &BrowseConfig) -> Result<Self, String> {
        let mut seen = HashSet::new();
        if let Some(twice) = config.rows.iter().find(|id| !seen.insert(*id)) {
            return Err(format!("browse.rows: {twice} is there twice"));
        }
        Ok(Self {
            featured: FEATURED.parse().map_err(|e| format!("{FEATURED}: {e}"))?,
            rows: config.rows.clone(),
        })
    }
}
