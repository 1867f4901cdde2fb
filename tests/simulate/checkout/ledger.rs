//! The orders and payments of one buyer, read from the backends directly.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use services_mock::Backend;

use crate::sim_fleet::{SimFleet, address};

/// The request id of the ledger's own calls, which the upstream invariants skip.
pub(in crate::simulate) const LEDGER_REQUEST_ID: &str = "ledger";

/// One buyer's orders and payments.
pub(super) struct Ledger {
    /// The status of each order, without the orders from before the schedule.
    pub(super) orders: BTreeMap<String, String>,
    /// The order and the status of each payment.
    pub(super) payments: Vec<(String, String)>,
}

impl Ledger {
    /// Reads the ledger without the orders in `earlier`.
    pub(super) async fn read(fleet: &SimFleet, buyer: &str, earlier: &BTreeSet<String>) -> Self {
        let orders = "GET /orders?limit=50";
        let list = call_backend(fleet, Backend::Order, orders, buyer, &Value::Null).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let orders = list["items"].as_array().unwrap().iter();
        let orders = orders.map(|order| (text(&order["id"]), text(&order["status"])));
        let mut payments = Vec::new();
        for n in 1.. {
            let line = format!("GET /payments/pay-{buyer}-{n}");
            let payment = call_backend(fleet, Backend::Payment, &line, buyer, &Value::Null).await;
            let Some(order) = payment["orderId"].as_str() else {
                break;
            };
            payments.push((order.to_owned(), text(&payment["status"])));
        }
        Self {
            orders: orders.filter(|(id, _)| !earlier.contains(id)).collect(),
            payments,
        }
    }

    /// The orders of the captured payments.
    pub(super) fn captured(&self) -> impl Iterator<Item = &str> {
        let payments = self.payments.iter();
        let captured = payments.filter(|(_, status)| status == "captured");
        captured.map(|(order, _)| order.as_str())
    }

    /// The violations that do not depend on any response.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let mut paid = BTreeSet::new();
        for order in self.captured() {
            if !paid.insert(order) {
                violations.push(format!("{order} is paid twice"));
            }
            let status = self.orders.get(order).map(String::as_str);
            if !matches!(status, Some("paid" | "shipped")) {
                violations.push(format!("{order} is paid, but its status is {status:?}"));
            }
        }
        violations
    }
}

/// Puts a product into a buyer's cart.
pub(super) async fn fill_cart(fleet: &SimFleet, buyer: &str) {
    let item = json!({"quantity": 2});
    let line = "PUT /cart/items/p-1";
    call_backend(fleet, Backend::Order, line, buyer, &item).await;
}

async fn call_backend(
    fleet: &SimFleet,
    backend: Backend,
    line: &str,
    user: &str,
    body: &Value,
) -> Value {
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
        .header("x-request-id", LEDGER_REQUEST_ID)
        .body(body)
        .unwrap();
    let response = fleet.send_to_backend(backend, request).await;
    serde_json::from_slice(response.body()).unwrap()
}
