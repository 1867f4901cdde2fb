//! The partner gateway: the catalogue and its availability, over REST, for programs with an API key.

use bff_core::Gateway;
use bff_services::inventory::InventoryClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;

pub mod rest;
pub mod screens;

bff_core::upstreams! {
    /// The backends of this gateway.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
    }
}

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "partner",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    public_docs: true,
    ..Gateway::DEFAULT
};
