//! Orders the cart and pays for it, with two backends. Every gateway that sells uses it.
//!
//! The steps form a saga. Each step has a compensation, which runs if a later step is rejected:
//!
//! | step | compensation |
//! |---|---|
//! | place the order, which empties the cart | cancel the order and restore the cart |
//! | authorise the payment | void the payment |
//! | capture the payment, which pays the order | none: it is the last step |
//!
//! On a retry with the same key, an earlier attempt may have cancelled or paid the order. Checkout therefore reads the
//! order's status first: a cancelled order is not charged, and a paid order is not cancelled. If the status cannot be
//! read, nothing is charged and nothing is cancelled, and the client can retry with the same key.
//!
//! Checkout reads the status a second time before the capture. Gateways without a common store, for instance the old and
//! the new replica of a deployment, may process the same key at the same time. While one authorises the payment, the
//! other may cancel the order. A cancellation between that second read and the capture is not detected: only a common
//! store in Redis prevents it.

use std::sync::Arc;

use bff_core::action::{Saga, WriteAttempt};
use bff_core::{Caller, Error, Failure, RequestContext};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::order::{ORDER_CANCELLED, Order, OrderClient, OrderItem, Status};
use crate::payment::{Authorization, Card, Payment, PaymentClient};

/// The operation that a client's idempotency key belongs to, in every gateway that sells.
pub const CHECKOUT: &str = "checkout";

/// The body of a checkout request.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutInput {
    /// The card that pays for the order.
    #[garde(dive)]
    pub card: Card,
}

/// A placed and paid order.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The order as it was placed.
    pub order: Arc<Order>,
    /// The captured payment.
    pub payment: Arc<Payment>,
}

/// Places the order, then authorises and captures the payment. Attempts with the same key do so once.
pub async fn check_out(
    cx: &RequestContext,
    (orders, payments): (&OrderClient, &PaymentClient),
    attempt: &WriteAttempt,
    card: Card,
) -> Result<Checkout, Failure> {
    let (caller, saga) = (attempt.caller(), Saga::new(cx, attempt));
    let outcome = async {
        let place = orders.place(cx, caller, attempt.key("order"), None);
        let order = saga.step("order", "placed", place).await?;
        saga.record("cart", "emptied");
        let items = order.items.clone();
        saga.compensate_with("cart", "restored", move |cx| async move {
            restore_cart(&cx, orders, caller, &items).await
        });
        ensure_payable(cx, orders, (attempt, &saga), &order).await?;
        let id = order.id.clone();
        saga.compensate_with("order", "cancelled", move |cx| async move {
            orders.cancel(&cx, caller, &id).await
        });
        let authorization = Authorization {
            order_id: order.id.clone(),
            amount: order.total.clone(),
            card,
        };
        let authorize = payments.authorize(cx, caller, attempt.key("payment"), &authorization);
        let payment = saga.step("payment", "authorized", authorize).await?;
        let id = payment.id.clone();
        saga.compensate_with("payment", "voided", move |cx| async move {
            payments.void(&cx, caller, &id).await
        });
        ensure_payable(cx, orders, (attempt, &saga), &order).await?;
        let capture = payments.capture(cx, caller, &payment.id);
        let payment = saga.step("payment", "captured", capture).await?;
        Ok(Checkout { order, payment })
    }
    .await;
    saga.end(outcome).await
}

/// Fails if the order is cancelled or its status is unknown.
async fn ensure_payable(
    cx: &RequestContext,
    orders: &OrderClient,
    (attempt, saga): (&WriteAttempt, &Saga<'_>),
    order: &Order,
) -> Result<(), Failure> {
    match orders.by_id(cx, attempt.caller(), &order.id).await {
        Ok(current) => match current.value.status {
            Status::Placed => Ok(()),
            Status::Cancelled => {
                saga.record("order", "cancelled");
                Err(Error::new(ORDER_CANCELLED, ORDER_CANCELLED.meaning()).into())
            }
            // An earlier attempt paid it: this one has not captured anything yet.
            _ => {
                attempt.mark_retry();
                Ok(())
            }
        },
        // An order of unknown status is neither charged nor cancelled.
        Err(failure) => {
            saga.record("order", "unknown");
            saga.record("cart", "unknown");
            Err(failure.into_outcome_unknown())
        }
    }
}

/// Puts the items of an order back into the cart.
async fn restore_cart(
    cx: &RequestContext,
    orders: &OrderClient,
    caller: &Caller,
    items: &[OrderItem],
) -> Result<(), Failure> {
    for item in items {
        let put = orders.put_item(cx, caller, &item.product_id, item.quantity);
        put.await?;
    }
    Ok(())
}
