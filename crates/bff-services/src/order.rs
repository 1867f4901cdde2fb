//! The order backend: the caller's cart and orders. Nothing is cached.

use bff_core::error::codes;
use bff_core::outbound::{Call, Upstream};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext, UpstreamClient};
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::product::ProductId;
use crate::wire::error_mapping::{map_idempotency_errors, map_status};
use crate::wire::open_enum::open_enum;
use crate::{CursorPage, Money, Timestamp};

/// The order was rejected.
pub const ORDER_REFUSED: Code = Code::new(
    "order_refused",
    422,
    "Order refused",
    "The order was rejected: it has no items, or one of its items cannot be ordered.",
    "The client can fix it: change the items of the order.",
);

/// The order has been shipped and cannot be cancelled.
pub const ORDER_SHIPPED: Code = Code::new(
    "order_shipped",
    409,
    "Order shipped",
    "The order has been shipped and can no longer be cancelled.",
    "It cannot be fixed: the same request fails again.",
);

/// The order of this idempotency key was cancelled.
pub const ORDER_CANCELLED: Code = Code::new(
    "order_cancelled",
    409,
    "Order cancelled",
    "The order with this Idempotency-Key was cancelled, and nothing was charged.",
    "The client can fix it: order again with a new Idempotency-Key.",
);

bff_core::id! {
    /// The id of an order.
    OrderId
}

open_enum! {
    /// The status of an order.
    Status {
        /// Placed and not yet paid.
        Placed = "placed",
        /// Paid.
        Paid = "paid",
        /// Sent to the customer.
        Shipped = "shipped",
        /// Cancelled.
        Cancelled = "cancelled",
        ..
        /// A status that this gateway does not know.
        Other = "other"
    }
}

/// The caller's cart.
#[derive(Clone, Debug, Deserialize)]
pub struct Cart {
    /// One item for each product. It is complete, because `total` is their sum.
    pub items: Vec<OrderItem>,
    /// The price of all items.
    pub total: Money,
}

/// A quantity of one product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// The product.
    pub product_id: ProductId,
    /// The number of pieces.
    pub quantity: u32,
    /// The price of one piece.
    pub price: Money,
}

/// An order.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Its status.
    pub status: Status,
    /// One item for each product. It is complete, because `total` is their sum.
    pub items: Vec<OrderItem>,
    /// The price of all items.
    pub total: Money,
    /// The time at which it was placed.
    pub placed_at: Timestamp,
}

/// A product to order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// The product.
    pub product_id: ProductId,
    /// The number of pieces, 1 to 99.
    pub quantity: u32,
}

#[derive(Serialize)]
struct Quantity {
    quantity: u32,
}

#[derive(Serialize)]
struct PlaceOrder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a [OrderLine]>,
}

/// The client of the order backend.
#[derive(Clone, Debug)]
pub struct OrderClient(Upstream);

impl UpstreamClient for OrderClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl OrderClient {
    /// Returns the caller's cart.
    pub async fn cart(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Cart, Caller>, Failure> {
        self.0.send(cx, Call::get(caller.clone(), "/cart")).await
    }

    /// Sets the quantity of a product in the cart to `quantity` (1 to 99).
    pub async fn put_item(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
        quantity: u32,
    ) -> Result<Fetched<Cart, Caller>, Failure> {
        let call = Call::new(caller.clone(), Method::PUT, "/cart/items/{id}")
            .path_id(id)
            .json(&Quantity { quantity });
        let outcome = self.0.send(cx, call).await;
        let outcome = map_status(outcome, 404, codes::NOT_FOUND);
        map_status(outcome, 422, ORDER_REFUSED)
    }

    /// Removes a product from the cart. It succeeds if the product is not in the cart.
    pub async fn remove_item(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
    ) -> Result<Fetched<Cart, Caller>, Failure> {
        let call = Call::new(caller.clone(), Method::DELETE, "/cart/items/{id}").path_id(id);
        self.0.send(cx, call).await
    }

    /// Orders `items`, or the cart. Calls with the same key place one order.
    pub async fn place(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        key: HeaderValue,
        items: Option<&[OrderLine]>,
    ) -> Result<Fetched<Order, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/orders")
            .idempotency_key(key)
            .json(&PlaceOrder { items });
        let outcome = self.0.send(cx, call).await;
        let outcome = map_status(outcome, 404, codes::NOT_FOUND);
        map_idempotency_errors(map_status(outcome, 422, ORDER_REFUSED))
    }

    /// Cancels an order. It succeeds if the order is already cancelled.
    pub async fn cancel(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &OrderId,
    ) -> Result<Fetched<Order, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/orders/{id}/cancel")
            .path_id(id)
            .idempotent();
        let outcome = self.0.send(cx, call).await;
        let outcome = map_status(outcome, 404, codes::NOT_FOUND);
        map_status(outcome, 409, ORDER_SHIPPED)
    }

    /// The caller's orders, newest first.
    pub async fn history(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Fetched<CursorPage<Order>, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/orders")
            .query("limit", limit)
            .query_opt("cursor", cursor);
        self.0.send(cx, call).await
    }

    /// One of the caller's orders.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &OrderId,
    ) -> Result<Fetched<Order, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/orders/{id}").path_id(id);
        self.0.send(cx, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn orders_decode_with_unknown_statuses() {
        let price = json!({"amount": 1299, "currency": "EUR"});
        let item = json!({"productId": "p-1", "quantity": 2, "price": price});
        let order = json!({
            "id": "o-ada-24", "status": "returned", "items": [item], "placedAt": "2026-06-01T12:00:00Z",
            "total": {"amount": 2598, "currency": "EUR"}
        });
        let history = json!({"items": [order], "nextCursor": null});
        let history: CursorPage<Order> = from_value(history).unwrap();
        assert_eq!(history.items[0].status, Status::Other);
        let cart = json!({"items": [], "total": {"amount": 0, "currency": "EUR"}});
        assert!(from_value::<Cart>(cart).unwrap().items.is_empty());
    }

    #[test]
    fn an_order_of_the_cart_sends_no_items() {
        let cart = to_value(PlaceOrder { items: None }).unwrap();
        assert_eq!(cart, json!({}));
        let lines = [OrderLine {
            product_id: "p-1".parse().unwrap(),
            quantity: 2,
        }];
        let wire = to_value(PlaceOrder {
            items: Some(&lines),
        });
        let expected = json!({"items": [{"productId": "p-1", "quantity": 2}]});
        assert_eq!(wire.unwrap(), expected);
    }
}
