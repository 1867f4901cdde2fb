//! The order backend (3003): carts and orders. Requires `X-User-Id` (401). Private: `no-store`.
//!
//! - `GET /cart` → `{"items":[{"productId","quantity","price":Money}],"total":Money}`; `price` is the price of one piece
//! - `PUT /cart/items/{productId}` `{"quantity":1..99}` → the cart; 404 unknown product, 422
//! - `DELETE /cart/items/{productId}` → the cart; `DELETE /cart` → 204
//! - `POST /orders` with `Idempotency-Key` (400 without) → 201 Order. The body is empty or `{}` to
//!   order the cart, or `{"items":[{"productId","quantity"}]}`; ordered products are removed from the cart. 422 for an
//!   order without items, and for a reused key with another body
//! - `GET /orders?cursor=&limit=20` → `{"items":[Order],"nextCursor"}`, newest first
//! - `GET /orders/{id}` → Order; 404, also for an order of another user
//! - `POST /orders/{id}/cancel` → Order; 409 if the order has been shipped
//! - `GET /orders/{id}/events` → `text/event-stream`: one `event: status` with data
//!   `{"orderId","status","at"}` for each past and future status; the stream ends after `shipped` or `cancelled`;
//!   `Last-Event-ID` resumes it
//!
//! Order: `{"id","status":"placed|paid|shipped|cancelled","items":[{"productId","quantity","price"}],
//! "total":Money,"placedAt"}`. Capturing a payment makes an order `paid`. Three seconds later it is `shipped`.

mod account;
mod events;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as SharedState};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::idempotency::IdempotencyKey;
use crate::paging::by_cursor;
use crate::response::{HandlerResult, Json, Problem, Query, no_content, parse, private, to_bytes};

use account::{Line, Order, Status};

pub(crate) use state::State;

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/cart", get(cart).delete(clear_cart))
        .route("/cart/items/{productId}", put(put_item).delete(remove_item))
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/orders/{id}/events", get(events::events))
        .with_state(state)
}

async fn cart(SharedState(state): SharedState<Arc<State>>, caller: Caller) -> HandlerResult {
    let mut orders = state.orders.lock();
    Ok(private(StatusCode::OK, &orders.account(&caller.id).cart()))
}

async fn clear_cart(SharedState(state): SharedState<Arc<State>>, caller: Caller) -> HandlerResult {
    state.orders.lock().account(&caller.id).lines.clear();
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    quantity: u32,
}

async fn put_item(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(product): Path<String>,
    Json(input): Json<Quantity>,
) -> HandlerResult {
    let line = Line::new(&product, input.quantity)?;
    let mut orders = state.orders.lock();
    let account = orders.account(&caller.id);
    account.put(line);
    Ok(private(StatusCode::OK, &account.cart()))
}

async fn remove_item(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(product): Path<String>,
) -> HandlerResult {
    let mut orders = state.orders.lock();
    let account = orders.account(&caller.id);
    account.lines.retain(|line| line.product_id != product);
    Ok(private(StatusCode::OK, &account.cart()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    items: Option<Vec<OrderLine>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OrderLine {
    product_id: String,
    quantity: u32,
}

async fn place(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    key: IdempotencyKey,
    body: Bytes,
) -> HandlerResult {
    let key = key.required()?;
    let mut orders = state.orders.lock();
    if let Some(stored) = orders.responses.find(&caller.id, &key, &body)? {
        return Ok(stored);
    }
    let input: PlaceOrder = if body.is_empty() {
        PlaceOrder::default()
    } else {
        parse(&body)?
    };
    let account = orders.account(&caller.id);
    let lines = match input.items {
        Some(items) => parse_lines(items)?,
        None => account.lines.clone(),
    };
    if lines.is_empty() {
        let message = "the cart is empty";
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "cart_empty",
            message,
        ));
    }
    // The cart changes only after validation: a rejected order leaves it unchanged.
    account
        .lines
        .retain(|line| !lines.iter().any(|l| l.product_id == line.product_id));
    let order = Order::new(account.next_id(&caller.id), lines, state.clock.now());
    let response = to_bytes(&order.view());
    account.orders.push(order);
    Ok(orders
        .responses
        .store(&caller.id, &key, &body, StatusCode::CREATED, response))
}

fn parse_lines(items: Vec<OrderLine>) -> Result<Vec<Line>, Problem> {
    let lines = items
        .into_iter()
        .map(|item| Line::new(&item.product_id, item.quantity));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let is_duplicate =
        |(i, line): (usize, &Line)| lines[..i].iter().any(|l| l.product_id == line.product_id);
    if lines.iter().enumerate().any(is_duplicate) {
        return Err(Problem::invalid("duplicate product in items"));
    }
    Ok(lines)
}

#[derive(Deserialize)]
struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    items: Vec<account::OrderView<'a>>,
    next_cursor: Option<String>,
}

async fn list(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> HandlerResult {
    let now = state.clock.now();
    let mut orders = state.orders.lock();
    let account_orders = &mut orders.account(&caller.id).orders;
    for order in account_orders.iter_mut() {
        order.apply_due_changes(now);
    }
    let newest_first: Vec<&Order> = account_orders.iter().rev().collect();
    let (page_orders, next_cursor) =
        by_cursor(&newest_first, query.cursor.as_deref(), query.limit, 20)?;
    let items = page_orders.iter().map(|order| order.view()).collect();
    Ok(private(StatusCode::OK, &List { items, next_cursor }))
}

async fn show(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let mut orders = state.orders.lock();
    let order = orders.order(&caller.id, &id, state.clock.now());
    let order = order.ok_or_else(|| Problem::not_found("order", &id))?;
    Ok(private(StatusCode::OK, &order.view()))
}

async fn cancel(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let now = state.clock.now();
    let mut orders = state.orders.lock();
    let order = orders.order(&caller.id, &id, now);
    let order = order.ok_or_else(|| Problem::not_found("order", &id))?;
    match order.status() {
        Status::Shipped => return Err(Problem::conflict("the order has been shipped")),
        // Cancelling is idempotent.
        Status::Cancelled => {}
        Status::Placed | Status::Paid => {
            order.history.push((Status::Cancelled, now));
            state.changed.notify_waiters();
        }
    }
    Ok(private(StatusCode::OK, &order.view()))
}
