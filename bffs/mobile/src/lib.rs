//! The mobile gateway: small screens for apps, one call each, over REST.

use bff_core::Gateway;

pub mod actions;
pub mod rest;
pub mod screens;
mod upstreams;

pub use upstreams::Upstreams;

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "mobile",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
