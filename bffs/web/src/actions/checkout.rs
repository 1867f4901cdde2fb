//! Ordering what is in the cart, and paying for it: what a browser sends and is told.

use bff_core::action::WriteAttempt;
use bff_core::{Failure, RequestContext};
use bff_services::checkout::check_out;
use bff_services::order;
use bff_services::payment::{self, Card, CardNumber, Cvc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Upstreams;
use crate::screens::card::Money;

/// What pays for the order.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutInput {
    /// The card.
    #[garde(dive)]
    pub card: CardInput,
}

/// A card; nothing of it is kept or shown but its last four digits.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CardInput {
    /// The number on the front: 12 to 19 digits; spaces and hyphens do not matter.
    #[garde(skip)]
    #[schema(value_type = String, example = "4111 1111 1111 1111")]
    pub number: CardNumber,
    /// Until when it is good: `MM/YY`.
    #[garde(pattern(r"^(0[1-9]|1[0-2])/[0-9]{2}$"))]
    #[schema(example = "12/30")]
    pub expiry: String,
    /// The number on the back: 3 or 4 digits.
    #[garde(skip)]
    #[schema(value_type = String, example = "987")]
    pub cvc: Cvc,
}

/// An order that was placed and paid.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Checkout {
    /// What was ordered.
    pub order: Order,
    /// What paid for it.
    pub payment: Payment,
}

/// What was ordered.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    #[schema(example = "o-ada-25")]
    pub id: String,
    /// One line for each product.
    pub items: Vec<Line>,
    /// What all of it costs.
    pub total: Money,
    /// When, in RFC 3339.
    pub placed_at: String,
}

/// Some pieces of one product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Of what.
    #[schema(example = "p-1")]
    pub product_id: String,
    /// How many.
    pub quantity: u32,
    /// What one piece costs.
    pub price: Money,
}

/// What paid for it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Payment {
    /// Its id.
    #[schema(example = "pay-ada-1")]
    pub id: String,
    /// How far it has come.
    #[schema(example = "captured")]
    pub status: String,
    /// The last four digits of the card.
    #[schema(example = "1111")]
    pub last4: String,
}

impl Checkout {
    /// Orders what is in the cart and pays for it.
    pub async fn run(
        cx: &RequestContext,
        up: &Upstreams,
        run: &WriteAttempt,
        input: CheckoutInput,
    ) -> Result<Self, Failure> {
        let till = (&up.order, &up.payment);
        let done = check_out(cx, till, run, input.card.into()).await?;
        Ok(Self {
            order: Order::from_wire(&done.order),
            payment: Payment::from_wire(&done.payment),
        })
    }
}

impl From<CardInput> for Card {
    fn from(input: CardInput) -> Self {
        Self {
            number: input.number,
            expiry: input.expiry,
            cvc: input.cvc,
        }
    }
}

impl Order {
    fn from_wire(wire: &order::Order) -> Self {
        let line = |line: &order::OrderItem| Line {
            product_id: line.product_id.to_string(),
            quantity: line.quantity,
            price: Money::from(&line.price),
        };
        Self {
            id: wire.id.to_string(),
            items: wire.items.iter().map(line).collect(),
            total: Money::from(&wire.total),
            placed_at: wire.placed_at.to_string(),
        }
    }
}

impl Payment {
    fn from_wire(wire: &payment::Payment) -> Self {
        Self {
            id: wire.id.to_string(),
            status: wire.status.as_str().to_owned(),
            last4: wire.last4.clone(),
        }
    }
}
