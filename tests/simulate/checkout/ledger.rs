//! What stands at the backends: the orders and payments of one buyer, read past every gateway.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use services_mock::Backend;

use crate::sim_fleet::{SimFleet, address};

/// What reads the books says that it belongs to.
pub(in crate::simulate) const BOOKS: &str = "books";

/// One buyer's orders and payments.
pub(super) struct Books {
    /// How far each order has come, those of the past left out.
    pub(super) orders: BTreeMap<String, String>,
    /// The order and the status of each payment.
    pub(super) payments: Vec<(String, String)>,
}

impl Books {
    /// Reads them; `past` are orders to leave out.
    pub(super) async fn read(town: &SimFleet, buyer: &str, past: &BTreeSet<String>) -> Self {
        let orders = "GET /orders?limit=50";
        let listed = look(town, Backend::Order, orders, buyer, &Value::Null).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let listed = listed["items"].as_array().unwrap().iter();
        let listed = listed.map(|order| (text(&order["id"]), text(&order["status"])));
        let mut payments = Vec::new();
        for n in 1.. {
            let line = format!("GET /payments/pay-{buyer}-{n}");
            let payment = look(town, Backend::Payment, &line, buyer, &Value::Null).await;
            let Some(order) = payment["orderId"].as_str() else {
                break;
            };
            payments.push((order.to_owned(), text(&payment["status"])));
        }
        Self {
            orders: listed.filter(|(id, _)| !past.contains(id)).collect(),
            payments,
        }
    }

    /// The orders of the payments that were taken.
    pub(super) fn captured(&self) -> impl Iterator<Item = &str> {
        let payments = self.payments.iter();
        let captured = payments.filter(|(_, status)| status == "captured");
        captured.map(|(order, _)| order.as_str())
    }

    /// What is wrong whatever anybody was told.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut said = Vec::new();
        let mut paid = BTreeSet::new();
        for order in self.captured() {
            if !paid.insert(order) {
                said.push(format!("{order} is paid twice"));
            }
            let status = self.orders.get(order).map(String::as_str);
            if !matches!(status, Some("paid" | "shipped")) {
                said.push(format!("{order} is paid, and {status:?}"));
            }
        }
        said
    }
}

/// Puts something into a buyer's cart.
pub(super) async fn fill_cart(town: &SimFleet, buyer: &str) {
    let item = json!({"quantity": 2});
    look(town, Backend::Order, "PUT /cart/items/p-1", buyer, &item).await;
}

async fn look(town: &SimFleet, backend: Backend, line: &str, user: &str, body: &Value) -> Value {
    let (method, path) = line.split_once(' ').unwrap();
    let body = if body.is_null() {
        Full::default()
    } else {
        Full::from(Bytes::from(body.to_string()))
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address(backend.name()))
        .header("x-user-id", user)
        .header("x-request-id", BOOKS)
        .body(body)
        .unwrap();
    let answer = town.look(backend, request).await;
    serde_json::from_slice(answer.body()).unwrap()
}
