//! The order backend: the caller's cart and orders. Nothing is kept.

use bff_core::error::codes;
use bff_core::outbound::{Call, Upstream, send};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext};
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::product::ProductId;
use crate::{CursorPage, Money, Timestamp, error_mapping};

/// The order was not accepted.
pub const ORDER_REFUSED: Code = Code::new(
    "order_refused",
    422,
    "Order refused",
    "The order was not accepted: there is nothing to order, or something in it cannot be ordered like this.",
    "The caller can mend it by changing what is ordered.",
);

/// The order is on its way and cannot be cancelled.
pub const ORDER_SHIPPED: Code = Code::new(
    "order_shipped",
    409,
    "Order shipped",
    "The order is on its way and can no longer be cancelled.",
    "Nobody can mend it; the same request again fails again.",
);

/// The order that this key placed was given up.
pub const ORDER_CANCELLED: Code = Code::new(
    "order_cancelled",
    409,
    "Order cancelled",
    "The order placed under this Idempotency-Key was given up, and nothing was charged for it.",
    "The caller can mend it by ordering again under a new Idempotency-Key.",
);

bff_core::id! {
    /// An order.
    OrderId
}

open_enum! {
    /// How far an order has come.
    Status {
        /// Not paid yet.
        Placed = "placed",
        /// Paid.
        Paid = "paid",
        /// On its way.
        Shipped = "shipped",
        /// Given up.
        Cancelled = "cancelled",
        ..
        /// A step newer than this gateway.
        Other = "other"
    }
}

/// What the caller is about to order.
#[derive(Clone, Debug, Deserialize)]
pub struct Cart {
    /// One line for each product.
    pub items: Vec<OrderItem>,
    /// What all of it costs.
    pub total: Money,
}

/// Some pieces of one product.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    /// Of what.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// What one piece costs.
    pub price: Money,
}

/// An order.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// How far it has come.
    pub status: Status,
    /// One line for each product.
    pub items: Vec<OrderItem>,
    /// What all of it costs.
    pub total: Money,
    /// When it was placed.
    pub placed_at: Timestamp,
}

/// Something to order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// What.
    pub product_id: ProductId,
    /// How many: 1 to 99.
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

/// The calls about the caller's cart and orders.
#[derive(Clone, Debug)]
pub struct OrderClient(Upstream);

impl OrderClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// What the caller is about to order.
    pub async fn cart(
        &self,
        cx: &RequestContext,
        caller: &Caller,
    ) -> Result<Fetched<Cart, Caller>, Failure> {
        send(cx, &self.0, Call::get(caller.clone(), "/cart")).await
    }

    /// Makes the cart hold `quantity` (1 to 99) pieces of a product.
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
        let outcome = send(cx, &self.0, call).await;
        let outcome = error_mapping::map_status(outcome, 404, codes::NOT_FOUND);
        error_mapping::map_status(outcome, 422, ORDER_REFUSED)
    }

    /// Takes a product out of the cart; it need not be there.
    pub async fn remove_item(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &ProductId,
    ) -> Result<Fetched<Cart, Caller>, Failure> {
        let call = Call::new(caller.clone(), Method::DELETE, "/cart/items/{id}").path_id(id);
        send(cx, &self.0, call).await
    }

    /// Orders `items`, or what is in the cart. The same key places the same order once.
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
        let outcome = send(cx, &self.0, call).await;
        let outcome = error_mapping::map_status(outcome, 404, codes::NOT_FOUND);
        error_mapping::map_idempotency_errors(error_mapping::map_status(
            outcome,
            422,
            ORDER_REFUSED,
        ))
    }

    /// Gives an order up, which undoes placing it; a second time finds it given up.
    pub async fn cancel(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &OrderId,
    ) -> Result<Fetched<Order, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/orders/{id}/cancel")
            .path_id(id)
            .idempotent();
        let outcome = send(cx, &self.0, call).await;
        let outcome = error_mapping::map_status(outcome, 404, codes::NOT_FOUND);
        error_mapping::map_status(outcome, 409, ORDER_SHIPPED)
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
        send(cx, &self.0, call).await
    }

    /// One of the caller's orders.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &OrderId,
    ) -> Result<Fetched<Order, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/orders/{id}").path_id(id);
        send(cx, &self.0, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn orders_decode_and_bear_new_steps() {
        let price = json!({"amount": 1299, "currency": "EUR"});
        let line = json!({"productId": "p-1", "quantity": 2, "price": price});
        let order = json!({
            "id": "o-ada-24", "status": "returned", "items": [line], "placedAt": "2026-06-01T12:00:00Z",
            "total": {"amount": 2598, "currency": "EUR"}
        });
        let history = json!({"items": [order], "nextCursor": null});
        let history: CursorPage<Order> = from_value(history).unwrap();
        assert_eq!(history.items[0].status, Status::Other);
        let cart = json!({"items": [], "total": {"amount": 0, "currency": "EUR"}});
        assert!(from_value::<Cart>(cart).unwrap().items.is_empty());
    }

    #[test]
    fn ordering_the_cart_names_no_items() {
        let cart = to_value(PlaceOrder { items: None }).unwrap();
        assert_eq!(cart, json!({}));
        let wanted = [OrderLine {
            product_id: "p-1".parse().unwrap(),
            quantity: 2,
        }];
        let wire = to_value(PlaceOrder {
            items: Some(&wanted),
        });
        let expected = json!({"items": [{"productId": "p-1", "quantity": 2}]});
        assert_eq!(wire.unwrap(), expected);
    }
}
