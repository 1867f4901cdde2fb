//! Amounts of money: the same for backends and clients.

#[cfg(feature = "graphql")]
use async_graphql::SimpleObject;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[cfg_attr(feature = "graphql", derive(SimpleObject))]
pub struct Money {
    /// In minor units: cents for EUR.
    #[schema(example = 1299)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "EUR")]
    pub currency: String,
}
