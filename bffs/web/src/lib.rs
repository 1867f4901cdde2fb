//! The web gateway: rich screens for browsers, over REST and GraphQL.

use bff_core::Gateway;

pub mod actions;
pub mod graphql;
pub mod rest;
pub mod screens;
mod upstreams;

pub use upstreams::Upstreams;

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "web",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    graphql: Some(graphql::routes),
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
