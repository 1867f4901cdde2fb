//! The inventory backend: the offers and the stock of a product in a region.
//!
//! The cache shares responses within a region, for as long as the backend allows (10 s). It never serves them stale: a
//! wrong price or stock is worse than a missing one.

use bff_core::outbound::{Call, Upstream};
use bff_core::{Failure, Fetched, RequestContext, Segment, UpstreamClient};
use serde::Deserialize;

use crate::product::ProductId;
use crate::wire::open_enum::open_enum;
use crate::{Batch, Money, Timestamp};

open_enum! {
    /// How an offer gives access to a product.
    OfferKind {
        /// Without a time limit.
        Buy = "buy",
        /// For a limited time.
        Rent = "rent",
        /// With a subscription.
        Stream = "stream",
        ..
        /// A kind that this gateway does not know.
        Other = "other"
    }
}
open_enum! {
    /// The picture quality.
    Quality {
        /// 1080 lines.
        Hd = "hd",
        /// 2160 lines.
        Uhd = "uhd",
        ..
        /// A quality that this gateway does not know.
        Other = "other"
    }
}

/// The availability of one product in one region.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The product.
    pub product_id: ProductId,
    /// ISO 3166-1 alpha-2.
    pub region: String,
    /// The number of discs in stock; absent if discs are not sold there.
    pub stock: Option<u64>,
    /// Empty if there is no licence for the region. It is complete: without one offer the product would seem not to be
    /// sold in that way.
    pub offers: Vec<Offer>,
    /// The end of the licence, if it has one.
    pub available_until: Option<Timestamp>,
}

/// One offer for a product.
#[derive(Clone, Debug, Deserialize)]
pub struct Offer {
    /// The kind of access.
    pub kind: OfferKind,
    /// In the region's currency; absent if a subscription includes the product.
    pub price: Option<Money>,
    /// The picture quality.
    pub quality: Quality,
}

/// The client of the inventory backend.
#[derive(Clone, Debug)]
pub struct InventoryClient(Upstream);

impl UpstreamClient for InventoryClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl InventoryClient {
    /// The availability of one product in the request's region.
    pub async fn of_product(
        &self,
        cx: &RequestContext,
        id: &ProductId,
    ) -> Result<Fetched<Availability, Segment>, Failure> {
        let call = Call::get(cx.segment(), "/availability/{id}")
            .path_id(id)
            .region("region");
        self.0.send(cx, call).await
    }

    /// The availability of at most 100 products in the request's region.
    pub async fn of_products(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Availability>, Segment>, Failure> {
        let call = Call::get(cx.segment(), "/availability")
            .query_ids("ids", ids)
            .region("region");
        self.0.send(cx, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn availability_decodes_with_unknown_values() {
        let price = json!({"amount": 433, "currency": "CHF"});
        let wire = json!({
            "productId": "p-1", "region": "CH", "stock": null, "availableUntil": null, "offers": [
                {"kind": "rent", "price": price, "quality": "hd"},
                {"kind": "stream", "price": null, "quality": "uhd"},
                {"kind": "borrow", "price": null, "quality": "8k"}
            ]
        });
        let availability: Availability = from_value(wire).unwrap();
        let [rent, stream, borrow] = &availability.offers[..] else {
            panic!("the response should have three offers")
        };
        assert_eq!((rent.kind, rent.quality), (OfferKind::Rent, Quality::Hd));
        assert!(stream.price.is_none());
        assert_eq!(
            (borrow.kind, borrow.quality),
            (OfferKind::Other, Quality::Other)
        );
    }
}
