//! The partner gateway: the catalogue and its availability, over REST, for programs with an API key.

use bff_core::Gateway;

pub mod rest;
pub mod screens;
mod upstreams;

pub use upstreams::Upstreams;

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "partner",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    public_docs: true,
    ..Gateway::DEFAULT
};
