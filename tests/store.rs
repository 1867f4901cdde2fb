//! What becomes of a gateway whose Redis goes away: it answers all the same, says so to operators, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use services_mock::Backend;

use crate::support::redis::Redis;
use crate::support::{TestFleet, send};

const PAGE: &str = "/api/product-details/p-1";

async fn with(config: String) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        fleet.overlays.insert("web".to_owned(), config);
    })
    .await
}

async fn ready(fleet: &TestFleet) -> (u16, String) {
    let url = format!("{}/readyz", fleet.running.admin_url("web"));
    let response = send(fleet.http.get(url)).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Asks until operators are told so.
async fn until(fleet: &TestFleet, wanted: &str) {
    for _ in 0..500 {
        assert!(fleet.get("web", PAGE).await.status.is_success());
        if ready(fleet).await == (200, format!("ready, store: {wanted}")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {wanted}: {:?}", ready(fleet).await);
}

/// Who asks, and how many pieces each has in the cart.
const PEOPLE: [(&str, u64); 3] = [("ada", 1), ("ben", 2), ("kim", 3)];

/// Asks as each of these, over and over, until it is done: a page that all share, one that is its asker's alone,
/// and what is in its asker's cart. Answers how often it asked.
async fn load(fleet: &TestFleet, done: &AtomicBool) -> usize {
    let people = PEOPLE.map(|(person, pieces)| (person, pieces, fleet.bearer(person)));
    let threefold = people.iter().flat_map(|who| [who; 3]);
    let asking = threefold.map(async |(person, pieces, bearer)| {
        let headers = [("authorization", bearer.as_str())];
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) {
            let page = fleet.get_with("web", PAGE, &headers).await;
            let own = fleet.get_with("web", "/api/me", &headers).await;
            let cart = fleet.get_with("web", "/api/cart", &headers).await;
            let statuses = [page.status, own.status, cart.status].map(|s| s.as_u16());
            assert_eq!(
                statuses, [200; 3],
                "{} {} {}",
                page.body, own.body, cart.body
            );
            assert_eq!(page.body["product"]["id"], "p-1");
            assert_eq!(own.body["profile"]["id"], *person);
            assert_eq!(cart.body["items"][0]["quantity"], *pieces, "{person}");
            asked += 3;
        }
        asked
    });
    futures_util::future::join_all(asking)
        .await
        .into_iter()
        .sum()
}

#[tokio::test]
async fn redis_may_be_killed_and_started_under_load() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    // Everything is kept and shared that can be.
    let fleet = with(format!("{}[cache]\n", redis.config())).await;
    for (person, pieces) in PEOPLE {
        let url = format!(
            "{}/cart/items/p-1",
            fleet.running.backend_url(Backend::Order)
        );
        let put = fleet.http.put(url).header("x-user-id", person);
        let put = put.json(&serde_json::json!({ "quantity": pieces }));
        assert_eq!(send(put).await.status(), 200);
    }
    until(&fleet, "redis").await;
    let done = AtomicBool::new(false);
    let mishap = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis.kill();
            until(&fleet, "unavailable").await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis.run();
            until(&fleet, "redis").await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (asked, ()) = futures_util::future::join(load(&fleet, &done), mishap).await;
    assert!(asked > 100, "only {asked}");
}

#[tokio::test]
async fn a_gateway_starts_without_its_redis() {
    // Nothing listens there.
    let fleet = with("[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned()).await;
    until(&fleet, "unavailable").await;
}

#[tokio::test]
async fn a_policy_may_close_while_redis_is_away() {
    let config = "[store]\nurl = \"redis://127.0.0.1:1\"\n\
                  [inbound.rate_limits.policies.screens]\naway = \"closed\"\n";
    let fleet = with(config.to_owned()).await;
    let refused = fleet.get("web", PAGE).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body["code"], "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    // What is not counted by it is answered.
    assert_eq!(fleet.get("web", "/health").await.status, 200);
}

#[tokio::test]
async fn a_policy_that_closed_opens_by_itself() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let closes = "timeout = \"2s\"\n[inbound.rate_limits.policies.screens]\naway = \"closed\"\n";
    let fleet = with(redis.config() + closes).await;
    let status = async || fleet.get("web", PAGE).await.status.as_u16();
    assert_eq!(status().await, 200);
    redis.kill();
    assert_eq!(status().await, 503);
    redis.run();
    let mut waited = 0;
    while status().await == 503 {
        waited += 1;
        assert!(waited < 500, "it stays closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status().await, 200);
}
