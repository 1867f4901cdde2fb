//! Amounts of money.

use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// In the smallest unit: cents for EUR.
    pub amount: i64,
    /// ISO 4217, for instance `EUR`.
    pub currency: String,
}
