//! The inventory backend: who may buy, rent or stream what, where. Shared within a region, fresh for
//! as long as the backend says (10 s), and never stale: a price or a stock that is not true is worse than none.

use bff_core::outbound::{Call, Upstream, send};
use bff_core::{Failure, Fetched, RequestContext, Segment};
use serde::Deserialize;

use crate::open_enum::open_enum;
use crate::product::ProductId;
use crate::{Batch, Money, Timestamp};

open_enum! {
    /// How a product can be had.
    OfferKind {
        /// For ever.
        Buy = "buy",
        /// For some days.
        Rent = "rent",
        /// As part of a subscription.
        Stream = "stream",
        ..
        /// A way newer than this gateway.
        Other = "other"
    }
}
open_enum! {
    /// How good the picture is.
    Quality {
        /// 1080 lines.
        Hd = "hd",
        /// 2160 lines.
        Uhd = "uhd",
        ..
        /// A quality newer than this gateway.
        Other = "other"
    }
}

/// How one product can be had in one region.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Of what.
    pub product_id: ProductId,
    /// Where: ISO 3166-1 alpha-2.
    pub region: String,
    /// Discs left; absent where no disc is sold.
    pub stock: Option<u64>,
    /// The ways to have it; none where the region has no licence.
    pub offers: Vec<Offer>,
    /// When the licence ends, if it does.
    pub available_until: Option<Timestamp>,
}

/// One way to have a product.
#[derive(Clone, Debug, Deserialize)]
pub struct Offer {
    /// Which way.
    pub kind: OfferKind,
    /// In the region's currency; absent for what a subscription holds.
    pub price: Option<Money>,
    /// How good the picture is.
    pub quality: Quality,
}

/// The calls about availability.
#[derive(Clone, Debug)]
pub struct InventoryClient(Upstream);

impl InventoryClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// How one product can be had in the request's region.
    pub async fn of_product(
        &self,
        cx: &RequestContext,
        id: &ProductId,
    ) -> Result<Fetched<Availability, Segment>, Failure> {
        let call = Call::get(cx.segment(), "/availability/{id}")
            .path_id(id)
            .region("region");
        send(cx, &self.0, call).await
    }

    /// How at most 100 products can be had in the request's region.
    pub async fn of_products(
        &self,
        cx: &RequestContext,
        ids: &[ProductId],
    ) -> Result<Fetched<Batch<Availability>, Segment>, Failure> {
        let call = Call::get(cx.segment(), "/availability")
            .query_ids("ids", ids)
            .region("region");
        send(cx, &self.0, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn availability_decodes_and_bears_new_words() {
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
            panic!("three offers")
        };
        assert_eq!((rent.kind, rent.quality), (OfferKind::Rent, Quality::Hd));
        assert!(stream.price.is_none());
        assert_eq!(
            (borrow.kind, borrow.quality),
            (OfferKind::Other, Quality::Other)
        );
    }
}
