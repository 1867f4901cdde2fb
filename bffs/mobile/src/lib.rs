//! The mobile gateway: small screens for apps, one call each, over REST.

use bff_core::Gateway;
use bff_core::action::IdempotentWrites;
use bff_services::inventory::InventoryClient;
use bff_services::order::OrderClient;
use bff_services::payment::PaymentClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;

pub mod actions;
pub mod rest;
pub mod screens;

bff_core::upstreams! {
    /// The backends of this gateway, and its record of writes.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
        order: OrderClient,
        payment: PaymentClient,
    }
    with { writes: IdempotentWrites }
}

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "mobile",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
