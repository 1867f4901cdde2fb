//! The tv gateway: screens for a big picture, four arrow keys and OK, over REST.

use bff_core::Gateway;

pub mod actions;
mod browse_rows;
pub mod rest;
pub mod screens;
mod upstreams;

pub use upstreams::Upstreams;

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "tv",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
