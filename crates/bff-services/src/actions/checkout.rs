//! Ordering what is in the cart, and paying for it: the steps at two backends, for every gateway that sells.
//!
//! What undoes each when a later one is refused:
//!
//! | step | undone by |
//! |---|---|
//! | the order is placed, which empties the cart | cancelling it, and filling the cart again |
//! | the payment is authorised | letting the money go |
//! | the payment is captured, which pays the order | nothing: it is the last |
//!
//! The same key finds the order it placed as it was placed then, so how it stands is asked before anything is charged: one
//! that was given up since, because an earlier try was undone, is not paid for; and one that was paid since, by a try that
//! nobody remembers, is not given up when this one fails. Where that cannot be learned nothing is charged and nothing given
//! up: the same key, asked again, learns it.
//!
//! It is asked once more before the money is taken: gateways that have no memory in common, one that leaves and one that
//! comes, may be at the same key at once, and authorising takes long enough for the other to give the order up. Between that
//! and the capture is a moment in which it still can: only what gateways have in common, a store in Redis, keeps one out.

use std::sync::Arc;

use bff_core::action::{Saga, WriteAttempt};
use bff_core::{Caller, Error, Failure, RequestContext};

use crate::order::{ORDER_CANCELLED, Order, OrderClient, OrderItem, Status};
use crate::payment::{Authorization, Card, Payment, PaymentClient};

/// What a client's key is a key of, in every gateway that sells.
pub const CHECKOUT: &str = "checkout";

/// An order that was placed and paid.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// What was ordered, as it was placed.
    pub order: Arc<Order>,
    /// What paid for it.
    pub payment: Arc<Payment>,
}

/// Places the order, authorises the payment, captures it. The same key does so once.
pub async fn check_out(
    cx: &RequestContext,
    (orders, payments): (&OrderClient, &PaymentClient),
    run: &WriteAttempt,
    card: Card,
) -> Result<Checkout, Failure> {
    let (caller, steps) = (run.caller(), Saga::of(cx, run));
    let outcome = async {
        let place = orders.place(cx, caller, run.key("order"), None);
        let order = steps.step("order", "placed", place).await?;
        steps.record("cart", "emptied");
        let lines = order.items.clone();
        steps.compensate_with("cart", "restored", move |cx| async move {
            restore_cart(&cx, orders, caller, &lines).await
        });
        ensure_payable(cx, orders, (run, &steps), &order).await?;
        let id = order.id.clone();
        steps.compensate_with("order", "cancelled", move |cx| async move {
            orders.cancel(&cx, caller, &id).await
        });
        let wanted = Authorization {
            order_id: order.id.clone(),
            amount: order.total.clone(),
            card,
        };
        let authorize = payments.authorize(cx, caller, run.key("payment"), &wanted);
        let payment = steps.step("payment", "authorized", authorize).await?;
        let id = payment.id.clone();
        steps.compensate_with("payment", "voided", move |cx| async move {
            payments.void(&cx, caller, &id).await
        });
        ensure_payable(cx, orders, (run, &steps), &order).await?;
        let capture = payments.capture(cx, caller, &payment.id);
        let payment = steps.step("payment", "captured", capture).await?;
        Ok(Checkout { order, payment })
    }
    .await;
    steps.end(outcome).await
}

/// Goes on if the order can be paid for, as far as it is known now.
async fn ensure_payable(
    cx: &RequestContext,
    orders: &OrderClient,
    (run, steps): (&WriteAttempt, &Saga<'_>),
    order: &Order,
) -> Result<(), Failure> {
    match orders.by_id(cx, run.caller(), &order.id).await {
        Ok(now) => match now.value.status {
            Status::Placed => Ok(()),
            Status::Cancelled => {
                steps.record("order", "cancelled");
                Err(Error::new(ORDER_CANCELLED, ORDER_CANCELLED.meaning()).into())
            }
            // It has come further than this try can have brought it.
            _ => {
                run.mark_retry();
                Ok(())
            }
        },
        // Not to know is no leave to charge it, nor to give up what may be paid.
        Err(failure) => {
            steps.record("order", "unknown");
            steps.record("cart", "unknown");
            Err(failure.into_outcome_unknown())
        }
    }
}

/// Puts the lines of an order back into the cart.
async fn restore_cart(
    cx: &RequestContext,
    orders: &OrderClient,
    caller: &Caller,
    lines: &[OrderItem],
) -> Result<(), Failure> {
    for line in lines {
        let put = orders.put_item(cx, caller, &line.product_id, line.quantity);
        put.await?;
    }
    Ok(())
}
