//! The payment backend: authorise, capture and void payments of the caller. Nothing is cached.

use bff_core::error::codes;
use bff_core::outbound::{Call, Upstream};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext, UpstreamClient};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::Money;
use crate::order::OrderId;
use crate::wire::error_mapping::{has_status, map_idempotency_errors, map_status, map_status_with};
use crate::wire::open_enum::open_enum;

pub use card::{Card, CardNumber, Cvc, Digits, NotDigits};

mod card;

/// The bank declined the payment.
pub const PAYMENT_DECLINED: Code = Code::new(
    "payment_declined",
    402,
    "Payment declined",
    "The card was declined; nothing was charged.",
    "The client can fix it: use another card and a new Idempotency-Key.",
);

/// The payment was rejected.
pub const PAYMENT_REFUSED: Code = Code::new(
    "payment_refused",
    422,
    "Payment refused",
    "The payment was rejected: its card or its amount is not valid.",
    "The client can fix it; the same request fails again.",
);

/// The payment is not authorized any more.
pub const PAYMENT_SETTLED: Code = Code::new(
    "payment_settled",
    409,
    "Payment settled",
    "The payment can be neither captured nor voided in its present status.",
    "It cannot be fixed: the same request fails again.",
);

bff_core::id! {
    /// The id of a payment.
    PaymentId
}

open_enum! {
    /// The status of a payment.
    Status {
        /// The amount is reserved.
        Authorized = "authorized",
        /// The amount is charged.
        Captured = "captured",
        /// The bank declined it.
        Declined = "declined",
        /// The reserved amount was released.
        Voided = "voided",
        ..
        /// A status that this gateway does not know.
        Other = "other"
    }
}

open_enum! {
    /// The reason for which the bank declined a payment.
    DeclineReason {
        /// The balance is too low.
        InsufficientFunds = "insufficient_funds",
        /// The card has expired.
        ExpiredCard = "expired_card",
        ..
        /// No reason, or one that this gateway does not know.
        Other = "other"
    }
}

impl DeclineReason {
    /// The text for the cardholder.
    fn text(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "The card was declined: there is not enough money on it.",
            Self::ExpiredCard => "The card was declined: it has expired.",
            Self::Other => PAYMENT_DECLINED.meaning(),
        }
    }
}

/// The reason for which the bank declined, if `failure` is a declined payment.
pub fn decline_reason(failure: &Failure) -> Option<DeclineReason> {
    #[derive(Deserialize)]
    struct DeclineBody {
        reason: DeclineReason,
    }
    let reason = || {
        failure
            .error_body::<DeclineBody>()
            .map_or(DeclineReason::Other, |body| body.reason)
    };
    has_status(failure, 402).then(reason)
}

/// A payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// The order it pays.
    pub order_id: OrderId,
    /// The amount.
    pub amount: Money,
    /// Its status.
    pub status: Status,
    /// The last four digits of the card.
    pub last4: String,
}

/// A payment to authorise.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// The order it pays.
    pub order_id: OrderId,
    /// The amount, greater than zero.
    pub amount: Money,
    /// The card to charge.
    pub card: Card,
}

/// The client of the payment backend.
#[derive(Clone, Debug)]
pub struct PaymentClient(Upstream);

impl UpstreamClient for PaymentClient {
    type Upstream = Upstream;

    fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl PaymentClient {
    /// Reserves the amount. Calls with the same key do so once. A declined card fails with [`PAYMENT_DECLINED`].
    pub async fn authorize(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        key: HeaderValue,
        authorization: &Authorization,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments")
            .idempotency_key(key)
            .json(authorization);
        let outcome = self.0.send(cx, call).await;
        let detail = |failure: &Failure| {
            decline_reason(failure)
                .unwrap_or(DeclineReason::Other)
                .text()
        };
        let outcome = map_status_with(outcome, 402, PAYMENT_DECLINED, detail);
        map_idempotency_errors(map_status(outcome, 422, PAYMENT_REFUSED))
    }

    /// One of the caller's payments.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/payments/{id}").path_id(id);
        self.0.send(cx, call).await
    }

    /// Charges the reserved amount. It succeeds if the payment is already captured.
    pub async fn capture(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments/{id}/capture")
            .path_id(id)
            .idempotent();
        map_settlement_errors(self.0.send(cx, call).await)
    }

    /// Releases the reserved amount. It succeeds if the payment is already voided.
    pub async fn void(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments/{id}/void")
            .path_id(id)
            .idempotent();
        map_settlement_errors(self.0.send(cx, call).await)
    }
}

fn map_settlement_errors<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    let outcome = map_status(outcome, 404, codes::NOT_FOUND);
    map_status(outcome, 409, PAYMENT_SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_core::Reason;
    use http::StatusCode;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn only_a_declined_payment_has_a_decline_reason() {
        let failure = |status, body: &str| {
            Failure::new(Reason::BadResponse).with_response(status, body.to_owned().into())
        };
        let reason_in = |body| decline_reason(&failure(StatusCode::PAYMENT_REQUIRED, body));
        let funds = r#"{"error":"payment_declined","reason":"insufficient_funds"}"#;
        assert_eq!(reason_in(funds), Some(DeclineReason::InsufficientFunds));
        for other in [r#"{"reason":"moon"}"#, "{}", "", "<html>"] {
            assert_eq!(reason_in(other), Some(DeclineReason::Other), "{other}");
        }
        assert_eq!(decline_reason(&failure(StatusCode::CONFLICT, funds)), None);
    }

    #[test]
    fn a_payment_decodes_with_an_unknown_status() {
        let wire = json!({
            "id": "pay-ada-1", "orderId": "o-ada-24", "amount": {"amount": 2598, "currency": "EUR"},
            "status": "refunded", "last4": "1111"
        });
        let payment: Payment = from_value(wire).unwrap();
        assert_eq!((payment.status, &*payment.last4), (Status::Other, "1111"));
    }

    #[test]
    fn an_authorization_is_sent_unmasked_and_printed_masked() {
        let authorization = Authorization {
            order_id: "o-ada-24".parse().unwrap(),
            amount: Money {
                amount: 2598,
                currency: "EUR".into(),
            },
            card: Card {
                number: "4111 1111 1111 1111".parse().unwrap(),
                expiry: "12/30".into(),
                cvc: "987".parse().unwrap(),
            },
        };
        let printed = format!("{authorization:?} {authorization:#?}");
        assert!(
            !printed.contains("1111") && !printed.contains("987"),
            "{printed}"
        );
        let card = json!({"number": "4111111111111111", "expiry": "12/30", "cvc": "987"});
        assert_eq!(to_value(authorization).unwrap()["card"], card);
    }
}
