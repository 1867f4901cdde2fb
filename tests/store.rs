//! What becomes of a gateway whose Redis goes away: it answers all the same, says so to operators, and comes back.

use std::time::Duration;

use crate::support::redis::Redis;
use crate::support::{Shop, send};

const PAGE: &str = "/api/product-details/p-1";

async fn with(config: String) -> Shop {
    Shop::with(|fleet| {
        fleet.only = vec!["web".to_owned()];
        fleet.overlays.insert("web".to_owned(), config);
    })
    .await
}

async fn ready(shop: &Shop) -> (u16, String) {
    let url = format!("{}/readyz", shop.fleet.admin_url("web"));
    let answer = send(shop.http.get(url)).await;
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Asks until operators are told so.
async fn until(shop: &Shop, wanted: &str) {
    for _ in 0..500 {
        assert!(shop.get("web", PAGE).await.status.is_success());
        if ready(shop).await == (200, format!("ready, store: {wanted}")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {wanted}: {:?}", ready(shop).await);
}

#[tokio::test]
async fn redis_may_be_killed_and_started_under_load() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let shop = with(redis.config()).await;
    until(&shop, "redis").await;
    let load = async {
        let mut statuses = Vec::new();
        let begun = crate::support::instant();
        while begun.elapsed() < Duration::from_secs(3) {
            for user in ["u-1", "u-2"] {
                let bearer = shop.bearer(user);
                let headers = [("authorization", bearer.as_str())];
                statuses.push(shop.get_with("web", PAGE, &headers).await.status.as_u16());
            }
        }
        statuses
    };
    let mishap = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.kill();
        until(&shop, "away").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.run();
        until(&shop, "redis").await;
    };
    let (statuses, ()) = futures_util::future::join(load, mishap).await;
    assert!(statuses.len() > 10);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn a_gateway_starts_without_its_redis() {
    // Nothing listens there.
    let shop = with("[store]\nurl = \"redis://127.0.0.1:1\"\n".to_owned()).await;
    until(&shop, "away").await;
}

#[tokio::test]
async fn a_policy_may_close_while_redis_is_away() {
    let config = "[store]\nurl = \"redis://127.0.0.1:1\"\n\
                  [inbound.limits.policies.screens]\naway = \"closed\"\n";
    let shop = with(config.to_owned()).await;
    let refused = shop.get("web", PAGE).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body["code"], "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    // What is not counted by it is answered.
    assert_eq!(shop.get("web", "/health").await.status, 200);
}
