//! Carts, orders and payments: state, idempotency, events.

use super::*;

const ADA: (&str, &str) = ("x-user-id", "ada");
const CARD: &str = r#"{"number":"4242 4242 4242 4242","expiry":"12/30","cvc":"123"}"#;

async fn order(mocks: &Mocks, key: &str, body: &str) -> TestResponse {
    call(
        mocks,
        Backend::Order,
        "POST /orders",
        &[ADA, ("idempotency-key", key)],
        body,
    )
    .await
}

async fn pay(mocks: &Mocks, key: &str, card: &str) -> TestResponse {
    let body = format!(
        r#"{{"orderId":"o-ada-24","amount":{{"amount":1299,"currency":"EUR"}},"card":{card}}}"#
    );
    call(
        mocks,
        Backend::Payment,
        "POST /payments",
        &[ADA, ("idempotency-key", key)],
        &body,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_cart_becomes_an_order_once() {
    let mocks = mocks();
    assert_eq!(get(&mocks, Backend::Order, "/cart").await.status, 401);
    assert_eq!(order(&mocks, "k-1", "").await.json()["error"], "cart_empty");
    let put = call(
        &mocks,
        Backend::Order,
        "PUT /cart/items/p-1",
        &[ADA],
        r#"{"quantity":2}"#,
    )
    .await
    .json();
    let price = put["items"][0]["price"]["amount"].as_u64().unwrap();
    assert_eq!(put["total"]["amount"], price * 2);
    assert_eq!(
        call(
            &mocks,
            Backend::Order,
            "PUT /cart/items/p-999",
            &[ADA],
            r#"{"quantity":2}"#
        )
        .await
        .status,
        404
    );
    assert_eq!(
        call(
            &mocks,
            Backend::Order,
            "PUT /cart/items/p-1",
            &[ADA],
            r#"{"quantity":0}"#
        )
        .await
        .status,
        422
    );
    assert_eq!(
        call(&mocks, Backend::Order, "POST /orders", &[ADA], "{}")
            .await
            .status,
        400
    );

    let huge = " ".repeat((1 << 20) + 1);
    assert_eq!(order(&mocks, "k-0", &huge).await.status, 413);
    let first = order(&mocks, "k-1", "").await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["id"]),
        (201, &Value::from("o-ada-24"))
    );
    let retry = order(&mocks, "k-1", "").await;
    assert_eq!((retry.status, &retry.body), (first.status, &first.body));
    let other = order(
        &mocks,
        "k-1",
        r#"{"items":[{"productId":"p-2","quantity":1}]}"#,
    )
    .await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["error"]),
        (422, &Value::from("idempotency_key_reused"))
    );
    let cart = call(&mocks, Backend::Order, "GET /cart", &[ADA], "")
        .await
        .json();
    assert_eq!(cart["items"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn history_is_paged_by_cursor_newest_first() {
    let mocks = mocks();
    let first = call(&mocks, Backend::Order, "GET /orders?limit=20", &[ADA], "")
        .await
        .json();
    assert_eq!(texts(&first, "items", "id")[0], "o-ada-23");
    let line = format!(
        "GET /orders?limit=20&cursor={}",
        first["nextCursor"].as_str().unwrap()
    );
    let rest = call(&mocks, Backend::Order, &line, &[ADA], "").await.json();
    assert_eq!(
        (texts(&rest, "items", "id").len(), &rest["nextCursor"]),
        (3, &Value::Null)
    );
    let others = call(&mocks, Backend::Order, "GET /orders/o-ben-1", &[ADA], "").await;
    assert_eq!(others.status, 404);
}

#[tokio::test(start_paused = true)]
async fn events_follow_an_order_until_it_ships() {
    let mocks = mocks();
    order(
        &mocks,
        "k-1",
        r#"{"items":[{"productId":"p-1","quantity":1}]}"#,
    )
    .await;
    let events = {
        let mocks = mocks.clone();
        tokio::spawn(async move {
            call(
                &mocks,
                Backend::Order,
                "GET /orders/o-ada-24/events",
                &[ADA],
                "",
            )
            .await
        })
    };
    tokio::time::sleep(Duration::from_secs(40)).await;
    let paid = pay(&mocks, "k-2", CARD).await.json();
    let capture = format!("POST /payments/{}/capture", paid["id"].as_str().unwrap());
    assert_eq!(
        call(&mocks, Backend::Payment, &capture, &[ADA], "")
            .await
            .json()["status"],
        "captured"
    );
    let text = events.await.unwrap();
    assert_eq!(text.header("content-type"), "text/event-stream");
    let text = String::from_utf8(text.body.to_vec()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let statuses: Vec<Value> = data
        .map(|json| serde_json::from_str(json).unwrap())
        .collect();
    let statuses: Vec<&str> = statuses
        .iter()
        .map(|change| change["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["placed", "paid", "shipped"]);
    assert!(text.contains("event: status\nid: 2"), "{text}");
    let cancel = call(
        &mocks,
        Backend::Order,
        "POST /orders/o-ada-24/cancel",
        &[ADA],
        "",
    )
    .await;
    assert_eq!(cancel.status, 409);
}

#[tokio::test(start_paused = true)]
async fn cancelling_an_order_is_idempotent() {
    let mocks = mocks();
    order(
        &mocks,
        "k-1",
        r#"{"items":[{"productId":"p-1","quantity":1}]}"#,
    )
    .await;
    for _ in 0..2 {
        let response = call(
            &mocks,
            Backend::Order,
            "POST /orders/o-ada-24/cancel",
            &[ADA],
            "",
        )
        .await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["status"]),
            (200, &Value::from("cancelled"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn payments_are_declined_or_stored_and_never_contain_a_card_number() {
    let mocks = mocks();
    let declined = pay(
        &mocks,
        "k-1",
        &CARD.replace("4242 4242 4242 4242", "4000000000000002"),
    )
    .await;
    assert_eq!(
        (declined.status.as_u16(), &declined.json()["error"]),
        (402, &Value::from("payment_declined"))
    );
    let old = pay(&mocks, "k-2", &CARD.replace("12/30", "10/26")).await;
    assert_eq!(
        (old.status.as_u16(), &old.json()["reason"]),
        (402, &Value::from("expired_card"))
    );
    for invalid in [
        CARD.replace("123", "1"),
        CARD.replace("12/30", "13/30"),
        CARD.replace("\"4242 4242 4242 4242\"", "4242424242424242"),
    ] {
        let response = pay(&mocks, "k-3", &invalid).await;
        assert_eq!(response.status, 422);
        assert!(!String::from_utf8_lossy(&response.body).contains("4242"));
    }
    let first = pay(&mocks, "k-3", CARD).await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["last4"]),
        (201, &Value::from("4242"))
    );
    assert!(!String::from_utf8_lossy(&first.body).contains("42424242"));
    assert_eq!(pay(&mocks, "k-3", CARD).await.body, first.body);
    let void = format!(
        "POST /payments/{}/void",
        first.json()["id"].as_str().unwrap()
    );
    assert_eq!(
        call(&mocks, Backend::Payment, &void, &[ADA], "")
            .await
            .json()["status"],
        "voided"
    );
    let capture = void.replace("void", "capture");
    assert_eq!(
        call(&mocks, Backend::Payment, &capture, &[ADA], "")
            .await
            .status,
        409
    );
}
