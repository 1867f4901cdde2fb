//! Checkout: orders the cart and pays for it.

use bff_core::action::WriteAttempt;
use bff_core::{Failure, RequestContext};
use bff_services::actions::checkout::{CheckoutInput, check_out};
use bff_services::{Money, order, payment};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Upstreams;

/// A placed and paid order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Checkout {
    /// The order.
    pub order: Order,
    /// The payment.
    pub payment: Payment,
}

/// An order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    #[schema(example = "o-ada-25")]
    pub id: String,
    /// One item for each product.
    pub items: Vec<Line>,
    /// The price of all items.
    pub total: Money,
    /// The time of the order, RFC 3339.
    pub placed_at: String,
}

/// A quantity of one product.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The product's id.
    #[schema(example = "p-1")]
    pub product_id: String,
    /// The number of pieces.
    pub quantity: u32,
    /// The price of one piece.
    pub price: Money,
}

/// A payment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Payment {
    /// Its id.
    #[schema(example = "pay-ada-1")]
    pub id: String,
    /// Its status.
    #[schema(example = "captured")]
    pub status: String,
    /// The last four digits of the card.
    #[schema(example = "1111")]
    pub last4: String,
}

impl Checkout {
    /// Orders the cart and pays for it.
    pub async fn run(
        cx: &RequestContext,
        up: &Upstreams,
        attempt: &WriteAttempt,
        input: CheckoutInput,
    ) -> Result<Self, Failure> {
        let clients = (&up.order, &up.payment);
        let checkout = check_out(cx, clients, attempt, input.card).await?;
        Ok(Self {
            order: Order::from_wire(&checkout.order),
            payment: Payment::from_wire(&checkout.payment),
        })
    }
}

impl Order {
    fn from_wire(wire: &order::Order) -> Self {
        let item = |item: &order::OrderItem| Line {
            product_id: item.product_id.to_string(),
            quantity: item.quantity,
            price: item.price.clone(),
        };
        Self {
            id: wire.id.to_string(),
            items: wire.items.iter().map(item).collect(),
            total: wire.total.clone(),
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
