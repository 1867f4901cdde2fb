//! The payment backend: authorise, capture, void. Each call is one caller's; nothing is kept.

use bff_core::error::codes;
use bff_core::outbound::{Call, Upstream, send};
use bff_core::{Caller, Code, Failure, Fetched, RequestContext};
use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::open_enum::open_enum;
use crate::order::OrderId;
use crate::{Money, error_mapping};

pub use card::{Card, CardNumber, Cvc, Digits, NotDigits};

mod card;

/// The bank said no.
pub const PAYMENT_DECLINED: Code = Code::new(
    "payment_declined",
    402,
    "Payment declined",
    "The card was declined; nothing was charged.",
    "The caller can mend it with another card, under a new Idempotency-Key.",
);

/// The payment was not accepted.
pub const PAYMENT_REFUSED: Code = Code::new(
    "payment_refused",
    422,
    "Payment refused",
    "The payment was not accepted: its card or amount is not valid.",
    "The caller can mend it; the same request again fails again.",
);

/// The payment has come too far for this.
pub const PAYMENT_SETTLED: Code = Code::new(
    "payment_settled",
    409,
    "Payment settled",
    "The payment is not waiting to be captured or voided.",
    "Nobody can mend it; the same request again fails again.",
);

bff_core::id! {
    /// A payment.
    PaymentId
}

open_enum! {
    /// How far a payment has come.
    Status {
        /// The money is set aside.
        Authorized = "authorized",
        /// The money is ours.
        Captured = "captured",
        /// The bank said no.
        Declined = "declined",
        /// The money was let go.
        Voided = "voided",
        ..
        /// A step newer than this gateway.
        Other = "other"
    }
}

open_enum! {
    /// Why the bank said no.
    Decline {
        /// There is not enough money.
        InsufficientFunds = "insufficient_funds",
        /// The card is past its date.
        ExpiredCard = "expired_card",
        ..
        /// The bank does not say, or in a word newer than this gateway.
        Other = "other"
    }
}

impl Decline {
    /// The reason for whoever holds the card.
    fn text(self) -> &'static str {
        match self {
            Self::InsufficientFunds => "The card was declined: there is not enough money on it.",
            Self::ExpiredCard => "The card was declined: it has expired.",
            Self::Other => PAYMENT_DECLINED.meaning(),
        }
    }
}

/// Why the bank said no, if that is how `failure` came about.
pub fn decline(failure: &Failure) -> Option<Decline> {
    #[derive(Deserialize)]
    struct DeclineBody {
        reason: Decline,
    }
    let said = || {
        failure
            .error_body::<DeclineBody>()
            .map_or(Decline::Other, |s| s.reason)
    };
    error_mapping::is(failure, 402).then(said)
}

/// A payment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// For what.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// How far it has come.
    pub status: Status,
    /// The last four digits of the card.
    pub last4: String,
}

/// A payment to authorise.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// For what.
    pub order_id: OrderId,
    /// How much: more than nothing.
    pub amount: Money,
    /// From which card.
    pub card: Card,
}

/// The calls about the caller's payments.
#[derive(Clone, Debug)]
pub struct PaymentClient(Upstream);

impl PaymentClient {
    /// A client of the backend at `up`.
    pub fn new(up: Upstream) -> Self {
        Self(up)
    }

    /// Sets money aside. The same key does so once; a declined card is [`PAYMENT_DECLINED`].
    pub async fn authorize(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        key: HeaderValue,
        wanted: &Authorization,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments")
            .idempotency_key(key)
            .json(wanted);
        let outcome = send(cx, &self.0, call).await;
        let detail = |failure: &Failure| decline(failure).unwrap_or(Decline::Other).text();
        let outcome = error_mapping::map_status_with(outcome, 402, PAYMENT_DECLINED, detail);
        error_mapping::map_idempotency_errors(error_mapping::map_status(
            outcome,
            422,
            PAYMENT_REFUSED,
        ))
    }

    /// One of the caller's payments.
    pub async fn by_id(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::get(caller.clone(), "/payments/{id}").path_id(id);
        send(cx, &self.0, call).await
    }

    /// Takes the money set aside; a second time finds it taken.
    pub async fn capture(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments/{id}/capture")
            .path_id(id)
            .idempotent();
        ensure_settled(send(cx, &self.0, call).await)
    }

    /// Lets go the money set aside, which undoes authorising; a second time finds it let go.
    pub async fn void(
        &self,
        cx: &RequestContext,
        caller: &Caller,
        id: &PaymentId,
    ) -> Result<Fetched<Payment, Caller>, Failure> {
        let call = Call::post(caller.clone(), "/payments/{id}/void")
            .path_id(id)
            .idempotent();
        ensure_settled(send(cx, &self.0, call).await)
    }
}

fn ensure_settled<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    let outcome = error_mapping::map_status(outcome, 404, codes::NOT_FOUND);
    error_mapping::map_status(outcome, 409, PAYMENT_SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bff_core::Reason;
    use http::StatusCode;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn why_the_bank_said_no_is_read_of_a_declined_payment_only() {
        let failure = |status, said: &str| {
            Failure::new(Reason::BadResponse).with_response(status, said.to_owned().into())
        };
        let declined = |said| decline(&failure(StatusCode::PAYMENT_REQUIRED, said));
        let funds = r#"{"error":"payment_declined","reason":"insufficient_funds"}"#;
        assert_eq!(declined(funds), Some(Decline::InsufficientFunds));
        for other in [r#"{"reason":"moon"}"#, "{}", "", "<html>"] {
            assert_eq!(declined(other), Some(Decline::Other), "{other}");
        }
        assert_eq!(decline(&failure(StatusCode::CONFLICT, funds)), None);
    }

    #[test]
    fn a_payment_decodes_and_bears_new_steps() {
        let wire = json!({
            "id": "pay-ada-1", "orderId": "o-ada-24", "amount": {"amount": 2598, "currency": "EUR"},
            "status": "refunded", "last4": "1111"
        });
        let payment: Payment = from_value(wire).unwrap();
        assert_eq!((payment.status, &*payment.last4), (Status::Other, "1111"));
    }

    #[test]
    fn an_authorisation_goes_out_whole_and_prints_masked() {
        let wanted = Authorization {
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
        let printed = format!("{wanted:?} {wanted:#?}");
        assert!(
            !printed.contains("1111") && !printed.contains("987"),
            "{printed}"
        );
        let card = json!({"number": "4111111111111111", "expiry": "12/30", "cvc": "987"});
        assert_eq!(to_value(wanted).unwrap()["card"], card);
    }
}
