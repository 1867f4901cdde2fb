//! The tv gateway: screens for a big picture, four arrow keys and OK, over REST.

use bff_core::Gateway;
use bff_core::action::Completion;
use bff_services::inventory::InventoryClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;

use crate::screens::browse::BrowseRows;

pub mod actions;
pub mod rest;
pub mod screens;

bff_core::upstreams! {
    /// The backends of this gateway, and the rows of its browse screen.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
        playback: PlaybackClient,
    }
    with { browse: BrowseRows, completion: Completion }
}

/// The gateway.
pub const GATEWAY: Gateway<Upstreams> = Gateway {
    name: "tv",
    config: include_str!("../config.toml"),
    routes: rest::routes,
    codes: bff_services::CODES,
    ..Gateway::DEFAULT
};
