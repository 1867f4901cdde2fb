//! The doors that sell, through real sockets: what a client is told that asks twice, at once, or of another replica.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use services_mock::{Backend, Fault};

use super::harness::{BROKE, GOOD};
use crate::support::redis::Redis;
use crate::support::{Answer, Shop, try_send, until};

/// What a failure is told as.
fn told_of(answer: &Answer) -> (u16, &str) {
    let code = answer.body["code"].as_str().unwrap_or_default();
    (answer.status.as_u16(), code)
}

fn order(number: &str) -> Value {
    json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}})
}

/// Ada orders through the web.
async fn buy(shop: &Shop, key: &str, number: &str) -> Answer {
    let bearer = shop.bearer("ada");
    let headers = [("authorization", &*bearer), ("idempotency-key", key)];
    let door = ("web", "/api/checkout");
    shop.post_with(door.0, door.1, &headers, &order(number))
        .await
}

/// How often a route of a backend was called.
fn calls(shop: &Shop, backend: Backend, route: &str) -> u64 {
    let stats = shop.fleet.mocks().stats(backend);
    stats.routes.get(route).copied().unwrap_or_default()
}

/// A web gateway, with more configuration.
async fn web(config: String) -> Shop {
    Shop::with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        fleet.overlays.insert("web".to_owned(), config);
    })
    .await
}

/// The shared store, which answers in time on a busy machine too.
fn on(redis: &Redis) -> String {
    let key = "A".repeat(43);
    format!(
        "{}timeout = \"2s\"\nencryption_keys = [\"{key}\"]\n",
        redis.config()
    )
}

#[tokio::test]
async fn a_cart_is_ordered_and_paid_through_each_door_that_sells() {
    let shop = Shop::open().await;
    let pay = async |(gateway, path): (&str, &str), headers: &[(&str, &str)], number: &str| {
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        shop.post_with(gateway, path, headers, &body).await
    };
    for (n, door) in [("web", "/api/checkout"), ("mobile", "/v1/checkout")]
        .into_iter()
        .enumerate()
    {
        let (bearer, key) = (shop.bearer("ada"), format!("k-{n}"));
        let headers = [("authorization", &*bearer), ("idempotency-key", &*key)];
        for (missing, status) in [(0, 401), (1, 400)] {
            let answer = pay(door, &headers[1 - missing..2 - missing], GOOD).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
        let mistaken = pay(door, &headers, "4111x").await;
        assert_eq!(mistaken.status, 422);
        assert_eq!(mistaken.body["errors"][0]["pointer"], "/card/number");
        assert!(
            !mistaken.body.to_string().contains("4111"),
            "{}",
            mistaken.body
        );
        let empty = pay(door, &[headers[0], ("idempotency-key", "empty")], GOOD).await;
        assert_eq!(empty.body["code"], "order_refused");
        assert_eq!(empty.body["steps"], json!({"order": "refused"}));
        shop.fill_cart("ada").await;
        let declined = pay(door, &[headers[0], ("idempotency-key", "broke")], BROKE).await;
        assert_eq!(
            (declined.status.as_u16(), &declined.body["code"]),
            (402, &"payment_declined".into())
        );
        assert_eq!(declined.body["steps"]["order"], "cancelled");
        let again = pay(door, &[headers[0], ("idempotency-key", "broke")], BROKE).await;
        assert_eq!(told_of(&again), (402, "payment_declined"));
        assert_eq!(again.body["steps"], declined.body["steps"]);
        assert_eq!(again.body["detail"], declined.body["detail"]);
        shop.fleet.mocks().reset();
        shop.fill_cart("ada").await;
        let done = pay(door, &headers, GOOD).await;
        assert_eq!(done.status, 201, "{}", done.body);
        assert_eq!(done.header("cache-control"), "no-store");
        assert!(
            done.body.to_string().contains("\"last4\":\"1111\""),
            "{}",
            done.body
        );
        let again = pay(door, &headers, GOOD).await;
        let told = (again.status.as_u16(), &again.body);
        assert_eq!(told, (201, &done.body), "once");
        let other = pay(door, &headers, BROKE).await;
        assert_eq!(told_of(&other), (422, "key_reused"));
        // Another's key of the same name is another key.
        shop.fill_cart("ben").await;
        let bens = shop.bearer("ben");
        let ben = pay(door, &[("authorization", &*bens), headers[1]], GOOD).await;
        assert_eq!(ben.status, 201, "{}", ben.body);
        assert_ne!(ben.body, done.body);
        shop.fleet.mocks().reset();
    }
}

#[tokio::test]
async fn nothing_is_ordered_whose_answer_may_not_be_sent() {
    let shop = Shop::open().await;
    shop.fill_cart("ada").await;
    let before = calls(&shop, Backend::Order, "/orders");
    let bearer = shop.bearer("ada");
    let headers = [
        ("authorization", &*bearer),
        ("idempotency-key", "k-1"),
        ("accept-encoding", "identity;q=0"),
    ];
    let answer = shop
        .post_with("web", "/api/checkout", &headers, &order(GOOD))
        .await;
    assert_eq!(told_of(&answer), (406, "not_acceptable"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(calls(&shop, Backend::Order, "/orders"), before);
    assert_eq!(buy(&shop, "k-1", GOOD).await.status, 201);
    assert_eq!(calls(&shop, Backend::Order, "/orders"), before + 1);
}

#[tokio::test]
async fn who_asks_again_too_soon_is_told_to_wait() {
    let shop = Shop::open().await;
    shop.fill_cart("ada").await;
    let mocks = shop.fleet.mocks();
    mocks
        .set_fault(Backend::Payment, Fault::latency(Duration::from_millis(150)))
        .unwrap();
    let first = async { buy(&shop, "k-1", GOOD).await };
    let soon = async {
        until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
        let early = buy(&shop, "k-1", GOOD).await;
        assert_eq!(told_of(&early), (409, "in_progress"));
        assert_eq!(early.header("retry-after"), "1");
    };
    let (first, ()) = futures_util::future::join(first, soon).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(buy(&shop, "k-1", GOOD).await.body, first.body);
}

#[tokio::test]
async fn a_buyer_who_hangs_up_has_bought() {
    let shop = Shop::open().await;
    shop.fill_cart("ada").await;
    let mocks = shop.fleet.mocks();
    let slow = Fault::latency(Duration::from_millis(150));
    mocks.set_fault(Backend::Payment, slow).unwrap();
    let body = json!({"card": {"number": GOOD, "expiry": "12/99", "cvc": "987"}});
    let asked = (shop
        .http
        .post(format!("{}/api/checkout", shop.fleet.url("web"))))
    .header("authorization", shop.bearer("ada"))
    .header("idempotency-key", "k-1")
    .json(&body);
    let asked = tokio::spawn(try_send(asked));
    until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
    asked.abort();
    until(|| {
        mocks.stats(Backend::Payment).calls == 2 && mocks.stats(Backend::Payment).in_flight == 0
    })
    .await;
    assert_eq!(mocks.stats(Backend::Payment).cancelled, 0);
}

#[tokio::test]
async fn two_replicas_asked_at_once_order_and_charge_once() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let one = web(on(&redis)).await;
    // The other replica has the same backends.
    let url = |backend| one.fleet.backend_url(backend);
    let (orders, payments) = (url(Backend::Order), url(Backend::Payment));
    let auth = url(Backend::Auth);
    let same = format!(
        "[upstreams.order]\nurl = \"{orders}\"\n[upstreams.payment]\nurl = \"{payments}\"\n\
         [auth]\nissuer = \"{auth}\"\n[auth.jwks]\nurl = \"{auth}\"\n"
    );
    let two = web(on(&redis) + &same).await;
    one.fill_cart("ada").await;
    let bearer = one.bearer("ada");
    for round in ["k-1", "k-2"] {
        one.fleet.mocks().clear_stats();
        one.fill_cart("ada").await;
        let headers = [("authorization", &*bearer), ("idempotency-key", round)];
        let body = order(GOOD);
        let ask = |shop| Shop::post_with(shop, "web", "/api/checkout", &headers, &body);
        let answers = join_all((0..20).map(|n| ask([&one, &two][n % 2]))).await;
        let done: Vec<&Answer> = answers.iter().filter(|a| a.status == 201).collect();
        assert!(!done.is_empty());
        for answer in &answers {
            let good = answer.status == 201 || told_of(answer) == (409, "in_progress");
            assert!(good, "{}", answer.body);
        }
        // Whoever asks later is told the same, wherever.
        for shop in [&one, &two] {
            let later = ask(shop).await;
            assert_eq!((later.status.as_u16(), &later.body), (201, &done[0].body));
        }
        assert!(done.iter().all(|answer| answer.body == done[0].body));
        for (backend, route) in [
            (Backend::Order, "/orders"),
            (Backend::Payment, "/payments"),
            (Backend::Payment, "/payments/{id}/capture"),
        ] {
            assert_eq!(calls(&one, backend, route), 1, "{round} {route}");
        }
    }
}

#[tokio::test]
async fn with_its_memory_away_nothing_is_ordered() {
    // Nothing listens there.
    let shop = web("[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned()).await;
    shop.fill_cart("ada").await;
    shop.fleet.mocks().clear_stats();
    let away = buy(&shop, "k-1", GOOD).await;
    assert_eq!(told_of(&away), (503, "unavailable"));
    assert_eq!(away.header("retry-after"), "1");
    assert_eq!(away.body["steps"], Value::Null);
    for backend in [Backend::Order, Backend::Payment] {
        assert_eq!(shop.fleet.mocks().stats(backend).calls, 0, "{backend:?}");
    }
}

#[tokio::test]
async fn an_order_outlives_the_memory_that_began_it() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let shop = web(on(&redis)).await;
    shop.fill_cart("ada").await;
    let mocks = shop.fleet.mocks();
    mocks
        .set_fault(Backend::Payment, Fault::latency(Duration::from_millis(150)))
        .unwrap();
    let gone = async {
        until(|| mocks.stats(Backend::Payment).in_flight == 1).await;
        redis.kill();
    };
    let (first, ()) = futures_util::future::join(buy(&shop, "k-1", GOOD), gone).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(
        told_of(&buy(&shop, "k-1", GOOD).await),
        (503, "unavailable")
    );
    redis.run();
    mocks.clear_faults(None);
    // It knows nothing any more, but the backends do.
    let mut again = buy(&shop, "k-1", GOOD).await;
    for _ in 0..500 {
        if again.status == 201 {
            break;
        }
        assert_eq!(told_of(&again), (503, "unavailable"));
        tokio::time::sleep(Duration::from_millis(20)).await;
        again = buy(&shop, "k-1", GOOD).await;
    }
    assert_eq!(again.body["order"]["id"], first.body["order"]["id"]);
    assert_eq!(again.body["payment"], first.body["payment"]);
}
