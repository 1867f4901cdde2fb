//! Ordering what is in the cart, and paying for it: what a phone sends and is told.

use bff_core::action::WriteAttempt;
use bff_core::{Failure, RequestContext};
use bff_services::checkout::check_out;
use bff_services::payment::{Card, CardNumber, Cvc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Upstreams;
use crate::screens::product::Money;

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
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    /// The order.
    #[schema(example = "o-ada-25")]
    pub order_id: String,
    /// What all of it cost.
    pub total: Money,
    /// The last four digits of the card that paid.
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
            order_id: done.order.id.to_string(),
            total: Money::from(&done.order.total),
            last4: done.payment.last4.clone(),
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
