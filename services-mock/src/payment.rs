//! The payment backend (3004): authorise, capture, void. Requires `X-User-Id` (401). Private: `no-store`.
//!
//! - `POST /payments` with `Idempotency-Key` (400 without)
//!   `{"orderId","amount":Money,"card":{"number","expiry":"12/30","cvc"}}` → 201 Payment;
//!   402 `{"error":"payment_declined","reason":"insufficient_funds|expired_card","message","paymentId"}`
//!   (card 4000000000000002, an expired card); 422 for an invalid card or amount, and for a reused key with another
//!   body
//! - `GET /payments/{id}` → Payment; 404, also for a payment of another user
//! - `POST /payments/{id}/capture` → Payment; 409 unless authorised (or captured already)
//! - `POST /payments/{id}/void` → Payment; 409 unless authorised (or voided already)
//!
//! Payment: `{"id","orderId","amount","status":"authorized|captured|declined|voided","last4"}`.
//! A card number is neither stored nor returned, not even in an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as SharedState};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::catalogue::Money;
use crate::clock::{Clock, Time};
use crate::idempotency::{IdempotencyKey, StoredResponses};
use crate::order;
use crate::response::{HandlerResult, Problem, private, to_bytes};

/// The card that is always declined.
const DECLINED_CARD: &str = "4000000000000002";

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/payments", post(authorise))
        .route("/payments/{id}", get(show))
        .route("/payments/{id}/capture", post(capture))
        .route("/payments/{id}/void", post(void))
        .with_state(state)
}

/// Payments of all users, and the orders that they pay.
pub(crate) struct State {
    clock: Clock,
    orders: Arc<order::State>,
    payments: Mutex<UserPayments>,
}

#[derive(Default)]
struct UserPayments {
    /// By user, oldest first.
    payments: BTreeMap<String, Vec<Payment>>,
    responses: StoredResponses,
}

impl State {
    pub(crate) fn new(clock: Clock, orders: Arc<order::State>) -> Self {
        Self {
            clock,
            orders,
            payments: Mutex::default(),
        }
    }

    pub(crate) fn reset(&self) {
        *self.payments.lock() = UserPayments::default();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Authorized,
    Captured,
    Declined,
    Voided,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    id: String,
    order_id: String,
    amount: Money,
    status: Status,
    last4: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    order_id: String,
    amount: Money,
    card: Card,
}

/// It has no `Debug`, so it cannot be printed by accident.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    number: String,
    expiry: String,
    cvc: String,
}

impl Card {
    fn digits(&self) -> String {
        self.number
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .collect()
    }

    /// The reason to decline the card, if there is one. Fails with 422 if the card is invalid.
    fn decline_reason(&self, now: Time) -> Result<Option<&'static str>, Problem> {
        let digits = self.digits();
        let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !(12..=19).contains(&digits.len()) || !all_digits(&digits) {
            return Err(Problem::invalid("card.number must have 12 to 19 digits"));
        }
        if !(3..=4).contains(&self.cvc.len()) || !all_digits(&self.cvc) {
            return Err(Problem::invalid("card.cvc must have 3 or 4 digits"));
        }
        let expiry = self
            .expiry
            .split_once('/')
            .and_then(|(m, y)| Some((m.parse().ok()?, y.parse().ok()?)));
        let Some((month @ 1..=12_u8, year @ 0..=99_i32)) = expiry else {
            return Err(Problem::invalid("card.expiry must be MM/YY"));
        };
        let today = (now.0.year(), u8::from(now.0.month()));
        Ok(match digits.as_str() {
            DECLINED_CARD => Some("insufficient_funds"),
            _ if (2000 + year, month) < today => Some("expired_card"),
            _ => None,
        })
    }
}

async fn authorise(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    key: IdempotencyKey,
    body: Bytes,
) -> HandlerResult {
    let key = key.required()?;
    let mut users = state.payments.lock();
    if let Some(stored) = users.responses.find(&caller.id, &key, &body)? {
        return Ok(stored);
    }
    let request = parse_request(&body)?;
    let decline_reason = request.card.decline_reason(state.clock.now())?;
    if request.amount.amount == 0 || request.amount.currency.len() != 3 {
        return Err(Problem::invalid(
            "amount must be greater than zero, with a currency of three letters",
        ));
    }
    let digits = request.card.digits();
    let payments = users.payments.entry(caller.id.clone()).or_default();
    let payment = Payment {
        id: format!("pay-{}-{}", caller.id, payments.len() + 1),
        order_id: request.order_id,
        amount: request.amount,
        status: if decline_reason.is_some() {
            Status::Declined
        } else {
            Status::Authorized
        },
        last4: digits[digits.len() - 4..].to_owned(),
    };
    payments.push(payment.clone());
    let (status, response) = match decline_reason {
        None => (StatusCode::CREATED, to_bytes(&payment)),
        Some(reason) => (StatusCode::PAYMENT_REQUIRED, decline_body(&payment, reason)),
    };
    Ok(users
        .responses
        .store(&caller.id, &key, &body, status, response))
}

/// Serde's own messages may quote a card number, so they are not returned.
fn parse_request(body: &[u8]) -> Result<Request, Problem> {
    serde_json::from_slice(body).map_err(|e| {
        let position = format!("at line {} column {}", e.line(), e.column());
        if e.is_data() {
            Problem::invalid(format!("invalid payment, {position}"))
        } else {
            Problem::bad_request(format!("invalid JSON, {position}"))
        }
    })
}

fn decline_body(payment: &Payment, reason: &str) -> Bytes {
    let message = "the card was declined";
    let body = serde_json::json!({
        "error": "payment_declined", "reason": reason, "message": message, "paymentId": payment.id,
    });
    to_bytes(&body)
}

async fn show(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let mut users = state.payments.lock();
    Ok(private(StatusCode::OK, find(&mut users, &caller, &id)?))
}

async fn capture(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    let payment = transition(&state, &caller, &id, Status::Captured)?;
    state.orders.mark_paid(&caller.id, &payment.order_id);
    Ok(private(StatusCode::OK, &payment))
}

async fn void(
    SharedState(state): SharedState<Arc<State>>,
    caller: Caller,
    Path(id): Path<String>,
) -> HandlerResult {
    Ok(private(
        StatusCode::OK,
        &transition(&state, &caller, &id, Status::Voided)?,
    ))
}

/// Changes the status from authorised to `to`. The change is idempotent.
fn transition(state: &State, caller: &Caller, id: &str, to: Status) -> Result<Payment, Problem> {
    let mut users = state.payments.lock();
    let payment = find(&mut users, caller, id)?;
    if payment.status != Status::Authorized && payment.status != to {
        return Err(Problem::conflict("the payment is not authorised"));
    }
    payment.status = to;
    Ok(payment.clone())
}

fn find<'a>(
    users: &'a mut UserPayments,
    caller: &Caller,
    id: &str,
) -> Result<&'a mut Payment, Problem> {
    let payments = users.payments.get_mut(&caller.id).into_iter().flatten();
    payments
        .into_iter()
        .find(|p| p.id == id)
        .ok_or_else(|| Problem::not_found("payment", id))
}
