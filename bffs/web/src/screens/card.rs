//! A product in a list.

use async_graphql::SimpleObject;
use bff_services::{Money, product};
use serde::Serialize;
use utoipa::ToSchema;

/// A product in a list.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// Its id.
    #[schema(example = "p-1")]
    pub id: String,
    /// Its title.
    pub name: String,
    /// Film or series.
    #[schema(example = "film")]
    pub kind: &'static str,
    /// The year of its release.
    pub year: u16,
    /// Its list price.
    pub price: Money,
    /// Its poster.
    pub image: String,
}

impl From<&product::Product> for Card {
    fn from(wire: &product::Product) -> Self {
        Self {
            id: (&wire.id).into(),
            name: wire.name.clone(),
            kind: wire.kind.as_str(),
            year: wire.year,
            price: wire.price.clone(),
            image: wire.image.url.clone(),
        }
    }
}

/// The cards of a list of products.
pub fn cards(wire: &[product::Product]) -> Vec<Card> {
    wire.iter().map(Card::from).collect()
}
