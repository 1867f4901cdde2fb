//! The backends of this gateway.

use bff_core::ProxyOnly;
use bff_core::action::IdempotentWrites;
use bff_services::inventory::InventoryClient;
use bff_services::order::OrderClient;
use bff_services::payment::PaymentClient;
use bff_services::playback::PlaybackClient;
use bff_services::product::ProductClient;
use bff_services::review::ReviewClient;
use bff_services::user::UserClient;

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
