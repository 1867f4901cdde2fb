//! The checkout endpoints over real sockets: retries, concurrent requests, and two replicas.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use services_mock::{Backend, Fault};

use super::harness::{DECLINED_CARD, GOOD_CARD};
use crate::support::{JsonResponse, TestFleet, try_send, wait_until};
use test_servers::RedisServer;

/// The status and the error code of a response.
fn status_and_code(response: &JsonResponse) -> (u16, &str) {
    let code = response.body["code"].as_str().unwrap_or_default();
    (response.status.as_u16(), code)
}

fn checkout_body(number: &str) -> Value {
    json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}})
}

/// Checks out ada's cart at web.
async fn check_out(fleet: &TestFleet, key: &str, number: &str) -> JsonResponse {
    let bearer = fleet.bearer("ada");
    let headers = [("authorization", &*bearer), ("idempotency-key", key)];
    fleet
        .post_with("web", "/api/checkout", &headers, &checkout_body(number))
        .await
}

/// The number of calls to a route of a backend.
fn count_calls(fleet: &TestFleet, backend: Backend, route: &str) -> u64 {
    let stats = fleet.running.mocks().stats(backend);
    stats.routes.get(route).copied().unwrap_or_default()
}

/// Starts web only, with this configuration.
async fn start_web(config: String) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        fleet.overlays.insert("web".to_owned(), config);
    })
    .await
}

/// Configures the shared store with a timeout that is long enough on a busy machine.
fn store_config(redis: &RedisServer) -> String {
    let key = "A".repeat(43);
    format!(
        "{}timeout = \"5s\"\nencryption_keys = [\"{key}\"]\n",
        redis.config()
    )
}

#[tokio::test]
async fn every_checkout_endpoint_orders_and_pays_the_cart() {
    let fleet = TestFleet::start().await;
    let pay = async |(gateway, path): (&str, &str), headers: &[(&str, &str)], number: &str| {
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        fleet.post_with(gateway, path, headers, &body).await
    };
    for (n, endpoint) in [("web", "/api/checkout"), ("mobile", "/v1/checkout")]
        .into_iter()
        .enumerate()
    {
        let (bearer, key) = (fleet.bearer("ada"), format!("k-{n}"));
        let headers = [("authorization", &*bearer), ("idempotency-key", &*key)];
        for (missing, status) in [(0, 401), (1, 400)] {
            let response = pay(endpoint, &headers[1 - missing..2 - missing], GOOD_CARD).await;
            assert_eq!(response.status, status, "{}", response.body);
        }
        let invalid = pay(endpoint, &headers, "4111x").await;
        assert_eq!(invalid.status, 422);
        assert_eq!(invalid.body["errors"][0]["pointer"], "/card/number");
        assert!(
            !invalid.body.to_string().contains("4111"),
            "{}",
            invalid.body
        );
        let empty = pay(
            endpoint,
            &[headers[0], ("idempotency-key", "empty")],
            GOOD_CARD,
        )
        .await;
        assert_eq!(empty.body["code"], "order_refused");
        assert_eq!(empty.body["steps"], json!({"order": "refused"}));
        fleet.fill_cart("ada").await;
        let declined = pay(
            endpoint,
            &[headers[0], ("idempotency-key", "broke")],
            DECLINED_CARD,
        )
        .await;
        assert_eq!(
            (declined.status.as_u16(), &declined.body["code"]),
            (402, &"payment_declined".into())
        );
        assert_eq!(declined.body["steps"]["order"], "cancelled");
        let again = pay(
            endpoint,
            &[headers[0], ("idempotency-key", "broke")],
            DECLINED_CARD,
        )
        .await;
        assert_eq!(status_and_code(&again), (402, "payment_declined"));
        assert_eq!(again.body["steps"], declined.body["steps"]);
        assert_eq!(again.body["detail"], declined.body["detail"]);
        fleet.running.mocks().reset();
        fleet.fill_cart("ada").await;
        let done = pay(endpoint, &headers, GOOD_CARD).await;
        assert_eq!(done.status, 201, "{}", done.body);
        assert_eq!(done.header("cache-control"), "no-store");
        assert!(
            done.body.to_string().contains("\"last4\":\"1111\""),
            "{}",
            done.body
        );
        let again = pay(endpoint, &headers, GOOD_CARD).await;
        let repeated = (again.status.as_u16(), &again.body);
        assert_eq!(repeated, (201, &done.body), "the checkout ran again");
        let other = pay(endpoint, &headers, DECLINED_CARD).await;
        assert_eq!(status_and_code(&other), (422, "key_reused"));
        // The same key of another caller is a different key.
        fleet.fill_cart("ben").await;
        let bens = fleet.bearer("ben");
        let ben = pay(
            endpoint,
            &[("authorization", &*bens), headers[1]],
            GOOD_CARD,
        )
        .await;
        assert_eq!(ben.status, 201, "{}", ben.body);
        assert_ne!(ben.body, done.body);
        fleet.running.mocks().reset();
    }
}

#[tokio::test]
async fn nothing_is_ordered_if_the_response_is_not_acceptable() {
    let fleet = TestFleet::start().await;
    fleet.fill_cart("ada").await;
    let before = count_calls(&fleet, Backend::Order, "/orders");
    let bearer = fleet.bearer("ada");
    let headers = [
        ("authorization", &*bearer),
        ("idempotency-key", "k-1"),
        ("accept-encoding", "identity;q=0"),
    ];
    let response = fleet
        .post_with("web", "/api/checkout", &headers, &checkout_body(GOOD_CARD))
        .await;
    assert_eq!(status_and_code(&response), (406, "not_acceptable"));
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(count_calls(&fleet, Backend::Order, "/orders"), before);
    assert_eq!(check_out(&fleet, "k-1", GOOD_CARD).await.status, 201);
    assert_eq!(count_calls(&fleet, Backend::Order, "/orders"), before + 1);
}

#[tokio::test]
async fn a_retry_during_the_first_attempt_is_rejected_as_in_progress() {
    let fleet = TestFleet::start().await;
    fleet.fill_cart("ada").await;
    let mocks = fleet.running.mocks();
    mocks
        .set_fault(Backend::Payment, Fault::latency(Duration::from_millis(150)))
        .unwrap();
    let first = async { check_out(&fleet, "k-1", GOOD_CARD).await };
    let retry = async {
        wait_until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
        let too_early = check_out(&fleet, "k-1", GOOD_CARD).await;
        assert_eq!(status_and_code(&too_early), (409, "in_progress"));
        assert_eq!(too_early.header("retry-after"), "1");
    };
    let (first, ()) = futures_util::future::join(first, retry).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(check_out(&fleet, "k-1", GOOD_CARD).await.body, first.body);
}

#[tokio::test]
async fn a_checkout_completes_after_the_client_disconnects() {
    let fleet = TestFleet::start().await;
    fleet.fill_cart("ada").await;
    let mocks = fleet.running.mocks();
    let slow = Fault::latency(Duration::from_millis(150));
    mocks.set_fault(Backend::Payment, slow).unwrap();
    let body = json!({"card": {"number": GOOD_CARD, "expiry": "12/99", "cvc": "987"}});
    let request = (fleet
        .http
        .post(format!("{}/api/checkout", fleet.running.url("web"))))
    .header("authorization", fleet.bearer("ada"))
    .header("idempotency-key", "k-1")
    .json(&body);
    let request = tokio::spawn(try_send(request));
    wait_until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
    request.abort();
    wait_until(|| {
        mocks.stats(Backend::Payment).calls == 2 && mocks.stats(Backend::Payment).in_flight == 0
    })
    .await;
    assert_eq!(mocks.stats(Backend::Payment).cancelled, 0);
}

#[tokio::test]
async fn concurrent_checkouts_at_two_replicas_order_and_charge_once() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let one = start_web(store_config(&redis)).await;
    // The other replica has the same backends.
    let url = |backend| one.running.backend_url(backend);
    let (orders, payments) = (url(Backend::Order), url(Backend::Payment));
    let auth = url(Backend::Auth);
    let same = format!(
        "[upstreams.order]\nurl = \"{orders}\"\n[upstreams.payment]\nurl = \"{payments}\"\n\
         [auth]\nissuer = \"{auth}\"\n[auth.jwks]\nurl = \"{auth}\"\n"
    );
    let two = start_web(store_config(&redis) + &same).await;
    one.fill_cart("ada").await;
    let bearer = one.bearer("ada");
    for round in ["k-1", "k-2"] {
        one.running.mocks().clear_stats();
        one.fill_cart("ada").await;
        let headers = [("authorization", &*bearer), ("idempotency-key", round)];
        let body = checkout_body(GOOD_CARD);
        let send = |fleet| TestFleet::post_with(fleet, "web", "/api/checkout", &headers, &body);
        let responses = join_all((0..20).map(|n| send([&one, &two][n % 2]))).await;
        let done: Vec<&JsonResponse> = responses.iter().filter(|a| a.status == 201).collect();
        assert!(!done.is_empty());
        for response in &responses {
            let is_expected =
                response.status == 201 || status_and_code(response) == (409, "in_progress");
            assert!(is_expected, "{}", response.body);
        }
        // A later retry gets the same response from both replicas.
        for fleet in [&one, &two] {
            let later = send(fleet).await;
            assert_eq!((later.status.as_u16(), &later.body), (201, &done[0].body));
        }
        assert!(done.iter().all(|response| response.body == done[0].body));
        for (backend, route) in [
            (Backend::Order, "/orders"),
            (Backend::Payment, "/payments"),
            (Backend::Payment, "/payments/{id}/capture"),
        ] {
            assert_eq!(count_calls(&one, backend, route), 1, "{round} {route}");
        }
    }
}

#[tokio::test]
async fn nothing_is_ordered_while_the_store_is_unavailable() {
    // No server listens there.
    let fleet = start_web("[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned()).await;
    fleet.fill_cart("ada").await;
    fleet.running.mocks().clear_stats();
    let rejected = check_out(&fleet, "k-1", GOOD_CARD).await;
    assert_eq!(status_and_code(&rejected), (503, "unavailable"));
    assert_eq!(rejected.header("retry-after"), "1");
    assert_eq!(rejected.body["steps"], Value::Null);
    for backend in [Backend::Order, Backend::Payment] {
        assert_eq!(fleet.running.mocks().stats(backend).calls, 0, "{backend:?}");
    }
}

#[tokio::test]
async fn an_order_survives_the_loss_of_the_store() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let fleet = start_web(store_config(&redis)).await;
    fleet.fill_cart("ada").await;
    let mocks = fleet.running.mocks();
    mocks
        .set_fault(Backend::Payment, Fault::latency(Duration::from_millis(150)))
        .unwrap();
    let kill = async {
        wait_until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
        redis.kill();
    };
    let (first, ()) = futures_util::future::join(check_out(&fleet, "k-1", GOOD_CARD), kill).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(
        status_and_code(&check_out(&fleet, "k-1", GOOD_CARD).await),
        (503, "unavailable")
    );
    redis.restart();
    mocks.clear_faults(None);
    // The restarted store is empty, but the backends recognize the idempotency keys of the steps.
    let mut again = check_out(&fleet, "k-1", GOOD_CARD).await;
    for _ in 0..500 {
        if again.status == 201 {
            break;
        }
        assert_eq!(status_and_code(&again), (503, "unavailable"));
        tokio::time::sleep(Duration::from_millis(20)).await;
        again = check_out(&fleet, "k-1", GOOD_CARD).await;
    }
    assert_eq!(again.body["order"]["id"], first.body["order"]["id"]);
    assert_eq!(again.body["payment"], first.body["payment"]);
}
