//! The backends of this gateway.

use bff_services::inventory::InventoryClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;

bff_core::upstreams! {
    /// The backends of this gateway.
    pub struct Upstreams {
        product: ProductClient,
        review: ReviewClient,
        inventory: InventoryClient,
    }
}
