//! Checkout: orders the cart and pays for it.

use bff_core::action::WriteAttempt;
use bff_core::{Failure, RequestContext};
use bff_services::Money;
use bff_services::actions::checkout::{CheckoutInput, check_out};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Upstreams;

/// A placed and paid order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// The order's id.
    #[schema(example = "o-ada-25")]
    pub order_id: String,
    /// The price of all items.
    pub total: Money,
    /// The last four digits of the card that paid.
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
            order_id: checkout.order.id.to_string(),
            total: checkout.order.total.clone(),
            last4: checkout.payment.last4.clone(),
        })
    }
}
