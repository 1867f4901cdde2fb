//! A gateway whose Redis becomes unavailable: it still responds, reports the store in its readiness, and recovers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use services_mock::Backend;

use crate::support::{TestFleet, send};
use test_servers::RedisServer;

const PAGE: &str = "/api/product-details/p-1";

async fn start_with(config: String) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        fleet.overlays.insert("web".to_owned(), config);
    })
    .await
}

async fn get_readiness(fleet: &TestFleet) -> (u16, String) {
    let url = format!("{}/readyz", fleet.running.admin_url("web"));
    let response = send(fleet.http.get(url)).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Sends requests until the readiness reports this state of the store.
async fn wait_for_readiness(fleet: &TestFleet, state: &str) {
    for _ in 0..500 {
        assert!(fleet.get("web", PAGE).await.status.is_success());
        if get_readiness(fleet).await == (200, format!("ready, store: {state}")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not {state}: {:?}", get_readiness(fleet).await);
}

/// The users, and the quantity in each user's cart.
const USERS: [(&str, u64); 3] = [("ada", 1), ("ben", 2), ("kim", 3)];

/// Sends requests as each user until `done`: a shared page, the user's profile and the user's cart. Returns the number of
/// requests.
async fn send_load(fleet: &TestFleet, done: &AtomicBool) -> usize {
    let users = USERS.map(|(user, quantity)| (user, quantity, fleet.bearer(user)));
    let clients = users.iter().flat_map(|user| [user; 3]);
    let loops = clients.map(async |(user, quantity, bearer)| {
        let headers = [("authorization", bearer.as_str())];
        let mut requests = 0;
        while !done.load(Ordering::Relaxed) {
            let page = fleet.get_with("web", PAGE, &headers).await;
            let profile = fleet.get_with("web", "/api/me", &headers).await;
            let cart = fleet.get_with("web", "/api/cart", &headers).await;
            let statuses = [page.status, profile.status, cart.status].map(|s| s.as_u16());
            assert_eq!(
                statuses, [200; 3],
                "{} {} {}",
                page.body, profile.body, cart.body
            );
            assert_eq!(page.body["product"]["id"], "p-1");
            assert_eq!(profile.body["profile"]["id"], *user);
            assert_eq!(cart.body["items"][0]["quantity"], *quantity, "{user}");
            requests += 3;
        }
        requests
    });
    futures_util::future::join_all(loops)
        .await
        .into_iter()
        .sum()
}

#[tokio::test]
async fn a_redis_restart_under_load_costs_no_response() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    // Caches and single-flight are on. The requests have time for a busy machine.
    let config =
        "[cache]\n[inbound]\ndeadline = \"30s\"\n[upstream_defaults]\nattempt_timeout = \"20s\"\n";
    let fleet = start_with(redis.config() + config).await;
    for (user, quantity) in USERS {
        let url = format!(
            "{}/cart/items/p-1",
            fleet.running.backend_url(Backend::Order)
        );
        let put = fleet.http.put(url).header("x-user-id", user);
        let put = put.json(&serde_json::json!({ "quantity": quantity }));
        assert_eq!(send(put).await.status(), 200);
    }
    wait_for_readiness(&fleet, "redis").await;
    let done = AtomicBool::new(false);
    let outages = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis.kill();
            wait_for_readiness(&fleet, "unavailable").await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis.restart();
            wait_for_readiness(&fleet, "redis").await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let (requests, ()) = futures_util::future::join(send_load(&fleet, &done), outages).await;
    assert!(requests >= 27, "only {requests} requests");
}

#[tokio::test]
async fn a_gateway_starts_without_redis() {
    // No server listens there.
    let fleet = start_with("[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned()).await;
    wait_for_readiness(&fleet, "unavailable").await;
}

#[tokio::test]
async fn a_policy_may_fail_closed_while_redis_is_unavailable() {
    let config = "[store]\nurl = \"redis://127.0.0.1:1\"\n\
                  [inbound.rate_limits.policies.screens]\non_store_failure = \"fail_closed\"\n";
    let fleet = start_with(config.to_owned()).await;
    let rejected = fleet.get("web", PAGE).await;
    assert_eq!(rejected.status, 503);
    assert_eq!(rejected.body["code"], "unavailable");
    assert_eq!(rejected.header("retry-after"), "1");
    // Requests that the policy does not count are answered.
    assert_eq!(fleet.get("web", "/health").await.status, 200);
}

#[tokio::test]
async fn a_fail_closed_policy_recovers_with_redis() {
    let Some(mut redis) = RedisServer::start() else {
        return;
    };
    let config = "timeout = \"5s\"\n[inbound.rate_limits.policies.screens]\non_store_failure = \"fail_closed\"\n";
    let fleet = start_with(redis.config() + config).await;
    let status = async || fleet.get("web", PAGE).await.status.as_u16();
    assert_eq!(status().await, 200);
    redis.kill();
    assert_eq!(status().await, 503);
    redis.restart();
    let mut attempts = 0;
    while status().await == 503 {
        attempts += 1;
        assert!(attempts < 500, "the policy does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status().await, 200);
}
