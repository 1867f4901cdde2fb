//! The availability of several products, with one result for each id.

use std::collections::HashMap;

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Batch, Money, inventory};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Upstreams;

/// The availability of several products.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AvailabilityPage {
    /// One result for each id, in the order of the request.
    pub items: Vec<AvailabilityResult>,
}

/// The result for one id.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AvailabilityResult {
    /// The product's id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Whether its availability is known.
    pub status: Status,
    /// Its availability; null if it is not known.
    pub availability: Option<Availability>,
}

/// The status of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The availability is in the result.
    Found,
    /// The product does not exist.
    NotFound,
    /// The availability could not be fetched. Retry.
    Unavailable,
}

/// The availability of a product in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The market, ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    pub region: String,
    /// Whether it can be bought, rented or streamed now.
    pub in_stock: bool,
    /// Its offers.
    pub offers: Vec<Offer>,
    /// The end of the licence, RFC 3339; null if it has no end.
    pub available_until: Option<String>,
}

/// An offer for a product.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// The price; null if a subscription includes it.
    pub price: Option<Money>,
    /// The picture quality.
    #[schema(example = "uhd")]
    pub quality: &'static str,
}

impl AvailabilityPage {
    /// Fetches the availability of all `ids` in one call.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        ids: &[ProductId],
        fields: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let screen = ScreenBuilder::new(cx, fields);
        let batch = up.inventory.of_products(cx, ids);
        let items = screen.required("items", batch, |w| results(ids, w)).await?;
        Ok(screen.build(Self { items }))
    }
}

/// One result for each of `ids`.
fn results(ids: &[ProductId], wire: &Batch<inventory::Availability>) -> Vec<AvailabilityResult> {
    let by_id: HashMap<_, _> = wire.items.iter().map(|a| (&a.product_id, a)).collect();
    let result = |id: &ProductId| {
        let availability = by_id.get(id).map(|a| Availability::from_wire(a));
        AvailabilityResult {
            id: id.into(),
            status: match availability {
                Some(_) => Status::Found,
                None if wire.not_found.contains(id) => Status::NotFound,
                // The backend left the id out, which does not mean that the product does not exist.
                None => Status::Unavailable,
            },
            availability,
        }
    };
    ids.iter().map(result).collect()
}

impl Availability {
    /// The availability in the partners' format.
    pub(crate) fn from_wire(wire: &inventory::Availability) -> Self {
        let offers = wire.offers.iter().map(|o| Offer {
            kind: o.kind.as_str(),
            price: o.price.clone(),
            quality: o.quality.as_str(),
        });
        Self {
            region: wire.region.clone(),
            in_stock: wire.stock != Some(0) && !wire.offers.is_empty(),
            offers: offers.collect(),
            available_until: wire.available_until.map(String::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_the_backend_left_out_is_unavailable() {
        let id = |text: &str| text.parse::<ProductId>().unwrap();
        let available = inventory::Availability {
            product_id: id("p-1"),
            region: "DE".to_owned(),
            stock: None,
            offers: Vec::new(),
            available_until: None,
        };
        let wire = Batch {
            items: vec![available],
            not_found: vec![id("p-2")],
        };
        let results = results(&[id("p-3"), id("p-2"), id("p-1")], &wire);
        let statuses: Vec<_> = results.iter().map(|a| (&*a.id, a.status)).collect();
        let expected = [
            ("p-3", Status::Unavailable),
            ("p-2", Status::NotFound),
            ("p-1", Status::Found),
        ];
        assert_eq!(statuses, expected);
    }
}
