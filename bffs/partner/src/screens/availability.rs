//! How several products can be had, every one of them answered.

use std::collections::HashMap;

use bff_core::{Failure, FieldSelection, RequestContext, Screen, ScreenBuilder};
use bff_services::product::ProductId;
use bff_services::{Batch, inventory};
use serde::Serialize;
use utoipa::ToSchema;

use super::product::Money;
use crate::Upstreams;

/// How several products can be had.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AvailabilityPage {
    /// One answer for each id, in the order asked.
    pub items: Vec<Answer>,
}

/// What is known of one id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answer {
    /// The id asked for.
    #[schema(example = "p-1")]
    pub id: String,
    /// Whether anything is known of it.
    pub status: Status,
    /// How it can be had; null when that is not known.
    pub availability: Option<Availability>,
}

/// Whether anything is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its availability is told.
    Found,
    /// There is no such product.
    NotFound,
    /// It could not be learned: ask again.
    Unavailable,
}

/// What can be had in a market.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The market.
    #[schema(example = "DE")]
    pub region: String,
    /// Whether anything can be had now.
    pub in_stock: bool,
    /// How it can be had.
    pub offers: Vec<Offer>,
    /// When the licence ends, in RFC 3339; null when it does not.
    pub available_until: Option<String>,
}

/// One way to have it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Offer {
    /// Buy, rent or stream.
    #[schema(example = "rent")]
    pub kind: &'static str,
    /// What it costs; null when it is included.
    pub price: Option<Money>,
    /// Picture quality.
    #[schema(example = "uhd")]
    pub quality: &'static str,
}

impl AvailabilityPage {
    /// Asks for all of `ids` at once.
    pub async fn assemble(
        cx: &RequestContext,
        up: &Upstreams,
        ids: &[ProductId],
        want: &FieldSelection,
    ) -> Result<Screen<Self>, Failure> {
        let page = ScreenBuilder::new(cx, want);
        let known = up.inventory.of_products(cx, ids);
        let items = page.required("items", known, |w| answers(ids, w)).await?;
        Ok(page.build(Self { items }))
    }
}

/// An answer for each of `ids`.
fn answers(ids: &[ProductId], wire: &Batch<inventory::Availability>) -> Vec<Answer> {
    let known: HashMap<_, _> = wire.items.iter().map(|a| (&a.product_id, a)).collect();
    let one = |id: &ProductId| {
        let availability = known.get(id).map(|a| Availability::from_wire(a));
        Answer {
            id: id.into(),
            status: match availability {
                Some(_) => Status::Found,
                None if wire.not_found.contains(id) => Status::NotFound,
                // The backend said nothing of it, and that says nothing of the product.
                None => Status::Unavailable,
            },
            availability,
        }
    };
    ids.iter().map(one).collect()
}

impl Availability {
    /// The partner's shape of what can be had.
    pub(crate) fn from_wire(wire: &inventory::Availability) -> Self {
        let offers = wire.offers.iter().map(|o| Offer {
            kind: o.kind.as_str(),
            price: o.price.as_ref().map(Money::from),
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
    fn what_the_backend_passes_over_is_not_told_to_be_nothing() {
        let id = |text: &str| text.parse::<ProductId>().unwrap();
        let one = inventory::Availability {
            product_id: id("p-1"),
            region: "DE".to_owned(),
            stock: None,
            offers: Vec::new(),
            available_until: None,
        };
        let wire = Batch {
            items: vec![one],
            not_found: vec![id("p-2")],
        };
        let told = answers(&[id("p-3"), id("p-2"), id("p-1")], &wire);
        let told: Vec<_> = told.iter().map(|a| (&*a.id, a.status)).collect();
        let wanted = [
            ("p-3", Status::Unavailable),
            ("p-2", Status::NotFound),
            ("p-1", Status::Found),
        ];
        assert_eq!(told, wanted);
    }
}
