//! The typed clients against the mocks: a rejected write has its own error code.

use std::sync::Arc;
use std::time::Duration;

use bff_core::GatewayHandles;
use bff_core::context::Env;
use bff_core::error::codes;
use bff_core::outbound::{Config, Upstream};
use bff_core::scope::Identity;
use bff_core::{Caller, Failure, RequestContext, UpstreamClient};
use bff_services::Money;
use bff_services::order::{OrderClient, OrderLine};
use bff_services::payment::{self, Authorization, Card, DeclineReason, PaymentClient};
use http::HeaderValue;
use services_mock::Backend;

use crate::support::TestFleet;

/// A request context and clients for the backends of one fleet, without a gateway.
struct Clients {
    fleet: TestFleet,
    shared: Arc<GatewayHandles>,
    cx: RequestContext,
    ada: Caller,
}

impl Clients {
    async fn start() -> Self {
        let fleet = TestFleet::start().await;
        let shared = Arc::new(GatewayHandles::in_process("web", Env::real()));
        let identity = Identity {
            account: "ada".into(),
            ..Identity::default()
        };
        Self {
            cx: RequestContext::background(&shared.client, &shared.env, Duration::from_secs(5)),
            ada: Caller::new(identity).unwrap(),
            shared,
            fleet,
        }
    }

    fn upstream(&self, backend: Backend) -> Upstream {
        let url = self.fleet.running.backend_url(backend).parse().unwrap();
        Upstream::new(backend.name(), &Config::at(url), &self.shared).unwrap()
    }
}

fn key(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

fn one(id: &str, quantity: u32) -> [OrderLine; 1] {
    [OrderLine {
        product_id: id.parse().unwrap(),
        quantity,
    }]
}

fn authorization(number: &str, expiry: &str) -> Authorization {
    Authorization {
        order_id: "o-ada-1".parse().unwrap(),
        amount: Money {
            amount: 1299,
            currency: "EUR".into(),
        },
        card: Card {
            number: number.parse().unwrap(),
            expiry: expiry.into(),
            cvc: "987".parse().unwrap(),
        },
    }
}

#[tokio::test]
async fn a_key_reused_for_another_order_is_rejected() {
    let clients = Clients::start().await;
    let orders = OrderClient::new(clients.upstream(Backend::Order));
    let place = async |request: &[OrderLine]| {
        let placed = orders.place(&clients.cx, &clients.ada, key("k-1"), Some(request));
        placed.await.map(|placed| placed.value.id.to_string())
    };
    let first = place(&one("p-1", 1)).await.unwrap();
    assert_eq!(
        place(&one("p-1", 1)).await.unwrap(),
        first,
        "the retry placed another order"
    );
    let error = place(&one("p-1", 2)).await.unwrap_err().error();
    assert_eq!(error.code(), codes::KEY_REUSED);
    let empty = orders
        .place(&clients.cx, &clients.ada, key("k-2"), Some(&[]))
        .await;
    let error = empty.unwrap_err().error();
    assert_eq!(error.code(), bff_services::order::ORDER_REFUSED);
}

#[tokio::test]
async fn a_declined_card_has_a_reason_and_its_number_is_not_exposed() {
    let clients = Clients::start().await;
    let payments = PaymentClient::new(clients.upstream(Backend::Payment));
    let declined = async |id, request: Authorization| -> Failure {
        let response = payments.authorize(&clients.cx, &clients.ada, key(id), &request);
        response.await.unwrap_err()
    };
    for (id, number, expiry, reason, text) in [
        (
            "k-1",
            "4000000000000002",
            "12/99",
            DeclineReason::InsufficientFunds,
            "not enough money",
        ),
        (
            "k-2",
            "4111111111111111",
            "01/20",
            DeclineReason::ExpiredCard,
            "has expired",
        ),
    ] {
        let failure = declined(id, authorization(number, expiry)).await;
        assert_eq!(payment::decline_reason(&failure), Some(reason));
        let error = failure.error();
        assert_eq!(error.code(), payment::PAYMENT_DECLINED);
        assert!(error.detail().contains(text), "{}", error.detail());
        assert!(!format!("{failure:?} {error:?}").contains(number));
    }
    let reused = declined("k-2", authorization("4111111111111111", "01/21")).await;
    assert_eq!(reused.error().code(), codes::KEY_REUSED);
}
