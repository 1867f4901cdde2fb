//! The web gateway: rich screens for browsers, over REST and GraphQL.

use bff_core::action::IdempotentWrites;
use bff_core::{Gateway, ProxyOnly};
use bff_services::inventory::InventoryClient;
use bff_services::order::OrderClient;
use bff_services::payment::PaymentClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;
use bff_services::user::UserClient;

pub mod actions;
pub mod graphql;
pub mod rest;
pub mod screens;

bff_core::upstreams! {
    /// The backends of this gateway, and its record of writes.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
        user: UserClient,
        playback: PlaybackClient,
        order: OrderClient,
        payment: PaymentClient,
        auth: ProxyOnly,
    }
    with { writes: IdempotentWrites }
}

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "web",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    graphql: Some(graphql::routes),
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
