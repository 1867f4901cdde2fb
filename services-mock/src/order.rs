//! The order backend (3003): carts and orders. Needs `X-User-Id` (401). Private: never kept.
//!
//! - `GET /cart` → `{"items":[{"productId","quantity","price":Money}],"total":Money}`; `price` is of one piece
//! - `PUT /cart/items/{productId}` `{"quantity":1..99}` → the cart; 404 unknown product, 422
//! - `DELETE /cart/items/{productId}` → the cart; `DELETE /cart` → 204
//! - `POST /orders` with `Idempotency-Key` (400 without) → 201 Order. The body is empty or `{}` for what is in
//!   the cart, or `{"items":[{"productId","quantity"}]}`; what was ordered leaves the cart. 422 when there is nothing to
//!   order, and for a used key with another body
//! - `GET /orders?cursor=&limit=20` → `{"items":[Order],"nextCursor"}`, newest first
//! - `GET /orders/{id}` → Order; 404, also for another user's
//! - `POST /orders/{id}/cancel` → Order; 409 once it was shipped
//! - `GET /orders/{id}/events` → `text/event-stream`: one `event: status` with data
//!   `{"orderId","status","at"}` for each status so far and to come, ended by `shipped` or `cancelled`;
//!   `Last-Event-ID` continues
//!
//! Order: `{"id","status":"placed|paid|shipped|cancelled","items":[{"productId","quantity","price"}],
//! "total":Money,"placedAt"}`. Capturing a payment makes an order `paid`; it ships three seconds later.

mod account;
mod events;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Of};
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::caller::Caller;
use crate::clock::Time;
use crate::idempotency::{Answers, IdempotencyKey};
use crate::paging::by_cursor;
use crate::response::{Answer, Json, Problem, Query, no_content, parse, private, to_bytes};
use crate::world::MockState;

use account::{Account, Line, Order, Status};

pub(crate) fn routes() -> Router<Arc<MockState>> {
    Router::new()
        .route("/cart", get(cart).delete(clear_cart))
        .route("/cart/items/{productId}", put(put_item).delete(remove_item))
        .route("/orders", get(list).post(place))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/orders/{id}/events", get(events::events))
}

/// Carts and orders of all users.
#[derive(Default)]
pub(crate) struct State {
    books: Mutex<UserOrders>,
    /// Rings after every change of an order's status.
    changed: Notify,
}

#[derive(Default)]
struct UserOrders {
    accounts: BTreeMap<String, Account>,
    answers: Answers,
}

impl UserOrders {
    fn account(&mut self, user: &str) -> &mut Account {
        if !self.accounts.contains_key(user) {
            self.accounts.insert(user.to_owned(), Account::of(user));
        }
        self.accounts.entry(user.to_owned()).or_default()
    }

    fn order(&mut self, user: &str, id: &str, now: Time) -> Option<&mut Order> {
        let order = self.account(user).orders.iter_mut().find(|o| o.id == id)?;
        order.settle(now);
        Some(order)
    }
}

impl State {
    pub(crate) fn reset(&self) {
        *self.books.lock() = UserOrders::default();
        self.changed.notify_waiters();
    }

    /// A payment was captured. An order unknown here is another process's.
    pub(crate) fn mark_paid(&self, user: &str, id: &str, now: Time) {
        let mut books = self.books.lock();
        if let Some(order) = books.order(user, id, now)
            && order.status() == Status::Placed
        {
            order.history.push((Status::Paid, now));
            self.changed.notify_waiters();
        }
    }
}

async fn cart(Of(world): Of<Arc<MockState>>, caller: Caller) -> Answer {
    let mut books = world.order.books.lock();
    Ok(private(StatusCode::OK, &books.account(&caller.id).cart()))
}

async fn clear_cart(Of(world): Of<Arc<MockState>>, caller: Caller) -> Answer {
    world.order.books.lock().account(&caller.id).lines.clear();
    Ok(no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quantity {
    quantity: u32,
}

async fn put_item(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(product): Path<String>,
    Json(wanted): Json<Quantity>,
) -> Answer {
    let line = Line::new(&product, wanted.quantity)?;
    let mut books = world.order.books.lock();
    let account = books.account(&caller.id);
    account.put(line);
    Ok(private(StatusCode::OK, &account.cart()))
}

async fn remove_item(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Path(product): Path<String>,
) -> Answer {
    let mut books = world.order.books.lock();
    let account = books.account(&caller.id);
    account.lines.retain(|line| line.product_id != product);
    Ok(private(StatusCode::OK, &account.cart()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placement {
    items: Option<Vec<Wanted>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    product_id: String,
    quantity: u32,
}

async fn place(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    key: IdempotencyKey,
    body: Bytes,
) -> Answer {
    let key = key.required()?;
    let mut books = world.order.books.lock();
    if let Some(kept) = books.answers.kept(&caller.id, &key, &body)? {
        return Ok(kept);
    }
    let placement: Placement = if body.is_empty() {
        Placement::default()
    } else {
        parse(&body)?
    };
    let account = books.account(&caller.id);
    let lines = match placement.items {
        Some(wanted) => lines(wanted)?,
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
    // Emptied only now, so that a refused order leaves the cart as it was.
    account
        .lines
        .retain(|line| !lines.iter().any(|l| l.product_id == line.product_id));
    let order = Order::new(account.next_id(&caller.id), lines, world.clock.now());
    let answer = to_bytes(&order.view());
    account.orders.push(order);
    Ok(books
        .answers
        .keep(&caller.id, &key, &body, StatusCode::CREATED, answer))
}

fn lines(wanted: Vec<Wanted>) -> Result<Vec<Line>, Problem> {
    let lines = wanted
        .into_iter()
        .map(|w| Line::new(&w.product_id, w.quantity));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let twice =
        |(i, line): (usize, &Line)| lines[..i].iter().any(|l| l.product_id == line.product_id);
    if lines.iter().enumerate().any(twice) {
        return Err(Problem::invalid("a product is listed twice"));
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
    items: Vec<account::View<'a>>,
    next_cursor: Option<String>,
}

async fn list(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Answer {
    let now = world.clock.now();
    let mut books = world.order.books.lock();
    let orders = &mut books.account(&caller.id).orders;
    for order in orders.iter_mut() {
        order.settle(now);
    }
    let newest_first: Vec<&Order> = orders.iter().rev().collect();
    let (part, next_cursor) = by_cursor(&newest_first, query.cursor.as_deref(), query.limit, 20)?;
    let items = part.iter().map(|order| order.view()).collect();
    Ok(private(StatusCode::OK, &List { items, next_cursor }))
}

async fn show(Of(world): Of<Arc<MockState>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let mut books = world.order.books.lock();
    let order = books.order(&caller.id, &id, world.clock.now());
    let order = order.ok_or_else(|| Problem::not_found("order", &id))?;
    Ok(private(StatusCode::OK, &order.view()))
}

async fn cancel(Of(world): Of<Arc<MockState>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let now = world.clock.now();
    let mut books = world.order.books.lock();
    let order = books.order(&caller.id, &id, now);
    let order = order.ok_or_else(|| Problem::not_found("order", &id))?;
    match order.status() {
        Status::Shipped => return Err(Problem::conflict("the order was shipped")),
        // A second cancel finds what it wants.
        Status::Cancelled => {}
        Status::Placed | Status::Paid => {
            order.history.push((Status::Cancelled, now));
            world.order.changed.notify_waiters();
        }
    }
    Ok(private(StatusCode::OK, &order.view()))
}
