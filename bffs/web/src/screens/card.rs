//! A product in a list, and the prices both lists and pages show.

use async_graphql::SimpleObject;
use bff_services::{Money as WireMoney, product};
use serde::Serialize;
use utoipa::ToSchema;

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema, SimpleObject)]
pub struct Money {
    /// In minor units: cents for EUR.
    #[schema(example = 1299)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: String,
}

impl From<&WireMoney> for Money {
    fn from(wire: &WireMoney) -> Self {
        Self {
            amount: wire.amount,
            currency: wire.currency.clone(),
        }
    }
}

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
    /// The year it came out.
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
            price: Money::from(&wire.price),
            image: wire.image.url.clone(),
        }
    }
}

/// Cards of a list.
pub fn cards(wire: &[product::Product]) -> Vec<Card> {
    wire.iter().map(Card::from).collect()
}
