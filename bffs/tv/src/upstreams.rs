//! The backends of this gateway.

use bff_core::action::Completion;
use bff_services::inventory::InventoryClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;

use crate::browse_rows::BrowseRows;

bff_core::upstreams! {
    /// The backends of this gateway, the rows of its browse screen, and its completion of writes.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
        playback: PlaybackClient,
    }
    with { browse: BrowseRows, completion: Completion }
}
