//! The payment backend (3004): authorise, capture, void. Needs `X-User-Id` (401). Private: never kept.
//!
//! - `POST /payments` with `Idempotency-Key` (400 without)
//!   `{"orderId","amount":Money,"card":{"number","expiry":"12/30","cvc"}}` → 201 Payment;
//!   402 `{"error":"payment_declined","reason":"insufficient_funds|expired_card","message","paymentId"}`
//!   (card 4000000000000002, a card past its expiry); 422 for a malformed card or amount, and for a used key
//!   with another body
//! - `GET /payments/{id}` → Payment; 404, also for another user's
//! - `POST /payments/{id}/capture` → Payment; 409 unless authorised (or captured already)
//! - `POST /payments/{id}/void` → Payment; 409 unless authorised (or voided already)
//!
//! Payment: `{"id","orderId","amount","status":"authorized|captured|declined|voided","last4"}`.
//! A card number is neither kept nor echoed, in errors either.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State as Of};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::catalogue::Money;
use crate::clock::Time;
use crate::idempotency::{Answers, IdempotencyKey};
use crate::response::{Answer, Problem, private, to_bytes};
use crate::world::MockState;

/// The card that is always refused.
const DECLINED: &str = "4000000000000002";

pub(crate) fn routes() -> Router<Arc<MockState>> {
    Router::new()
        .route("/payments", post(authorise))
        .route("/payments/{id}", get(show))
        .route("/payments/{id}/capture", post(capture))
        .route("/payments/{id}/void", post(void))
}

/// Payments of all users.
#[derive(Default)]
pub(crate) struct State(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// By user, oldest first.
    payments: BTreeMap<String, Vec<Payment>>,
    answers: Answers,
}

impl State {
    pub(crate) fn reset(&self) {
        *self.0.lock() = Books::default();
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

/// Has no `Debug`, so that it cannot be printed by accident.
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

    /// Why the card is refused, if it is; 422 if it is no card.
    fn refusal(&self, now: Time) -> Result<Option<&'static str>, Problem> {
        let digits = self.digits();
        let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !(12..=19).contains(&digits.len()) || !all_digits(&digits) {
            return Err(Problem::invalid("card.number has 12 to 19 digits"));
        }
        if !(3..=4).contains(&self.cvc.len()) || !all_digits(&self.cvc) {
            return Err(Problem::invalid("card.cvc has 3 or 4 digits"));
        }
        let expiry = self
            .expiry
            .split_once('/')
            .and_then(|(m, y)| Some((m.parse().ok()?, y.parse().ok()?)));
        let Some((month @ 1..=12_u8, year @ 0..=99_i32)) = expiry else {
            return Err(Problem::invalid("card.expiry is MM/YY"));
        };
        let today = (now.0.year(), u8::from(now.0.month()));
        Ok(match digits.as_str() {
            DECLINED => Some("insufficient_funds"),
            _ if (2000 + year, month) < today => Some("expired_card"),
            _ => None,
        })
    }
}

async fn authorise(
    Of(world): Of<Arc<MockState>>,
    caller: Caller,
    key: IdempotencyKey,
    body: Bytes,
) -> Answer {
    let key = key.required()?;
    let mut books = world.payment.0.lock();
    if let Some(kept) = books.answers.kept(&caller.id, &key, &body)? {
        return Ok(kept);
    }
    let request = read(&body)?;
    let refusal = request.card.refusal(world.clock.now())?;
    if request.amount.amount == 0 || request.amount.currency.len() != 3 {
        return Err(Problem::invalid(
            "amount is more than nothing, in a currency of three letters",
        ));
    }
    let digits = request.card.digits();
    let payments = books.payments.entry(caller.id.clone()).or_default();
    let payment = Payment {
        id: format!("pay-{}-{}", caller.id, payments.len() + 1),
        order_id: request.order_id,
        amount: request.amount,
        status: if refusal.is_some() {
            Status::Declined
        } else {
            Status::Authorized
        },
        last4: digits[digits.len() - 4..].to_owned(),
    };
    payments.push(payment.clone());
    let (status, answer) = match refusal {
        None => (StatusCode::CREATED, to_bytes(&payment)),
        Some(reason) => (StatusCode::PAYMENT_REQUIRED, declined(&payment, reason)),
    };
    Ok(books.answers.keep(&caller.id, &key, &body, status, answer))
}

/// Serde's own messages quote what they could not read, which may be a card number: they stay here.
fn read(body: &[u8]) -> Result<Request, Problem> {
    serde_json::from_slice(body).map_err(|e| {
        let place = format!("at line {} column {}", e.line(), e.column());
        if e.is_data() {
            Problem::invalid(format!("not a payment, {place}"))
        } else {
            Problem::bad_request(format!("not JSON, {place}"))
        }
    })
}

fn declined(payment: &Payment, reason: &str) -> Bytes {
    let message = "the card was declined";
    let body = serde_json::json!({
        "error": "payment_declined", "reason": reason, "message": message, "paymentId": payment.id,
    });
    to_bytes(&body)
}

async fn show(Of(world): Of<Arc<MockState>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let mut books = world.payment.0.lock();
    Ok(private(StatusCode::OK, find(&mut books, &caller, &id)?))
}

async fn capture(Of(world): Of<Arc<MockState>>, caller: Caller, Path(id): Path<String>) -> Answer {
    let payment = advance(&world, &caller, &id, Status::Captured)?;
    world
        .order
        .mark_paid(&caller.id, &payment.order_id, world.clock.now());
    Ok(private(StatusCode::OK, &payment))
}

async fn void(Of(world): Of<Arc<MockState>>, caller: Caller, Path(id): Path<String>) -> Answer {
    Ok(private(
        StatusCode::OK,
        &advance(&world, &caller, &id, Status::Voided)?,
    ))
}

/// From authorised to `to`; a second time finds what it wants.
fn advance(world: &MockState, caller: &Caller, id: &str, to: Status) -> Result<Payment, Problem> {
    let mut books = world.payment.0.lock();
    let payment = find(&mut books, caller, id)?;
    if payment.status != Status::Authorized && payment.status != to {
        return Err(Problem::conflict("the payment is not authorised"));
    }
    payment.status = to;
    Ok(payment.clone())
}

fn find<'a>(books: &'a mut Books, caller: &Caller, id: &str) -> Result<&'a mut Payment, Problem> {
    let payments = books.payments.get_mut(&caller.id).into_iter().flatten();
    payments
        .into_iter()
        .find(|p| p.id == id)
        .ok_or_else(|| Problem::not_found("payment", id))
}
