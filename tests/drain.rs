//! Stopping: what is in progress is answered, what is new is refused, and operators see it coming.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};

use crate::support::{Shop, instant, send, try_send};

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";

async fn draining(config: &str) -> Shop {
    Shop::with(|fleet| {
        fleet.overlays.insert("web".into(), config.into());
    })
    .await
}

#[tokio::test]
async fn a_request_in_progress_is_answered_in_full() {
    let shop = draining("").await;
    let slow = Fault::latency(Duration::from_millis(300));
    shop.fleet.mocks().set_fault(Backend::Review, slow).unwrap();
    let url = format!("{}{PAGE}", shop.fleet.url("web"));
    let asked = tokio::spawn(send(shop.http.get(&url)));
    crate::support::until(|| shop.fleet.mocks().stats(Backend::Review).in_flight == 1).await;
    shop.fleet.stop().await;
    let answer = asked.await.unwrap();
    assert_eq!(answer.status(), 200);
    let page: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(page["_meta"]["complete"], true, "{page}");
    let late = try_send(shop.http.get(&url)).await;
    assert!(late.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn readiness_says_no_while_the_listener_still_takes_requests() {
    let shop = draining("[server]\ndrain_delay = \"700ms\"\n").await;
    let (http, url) = (shop.http.clone(), shop.fleet.url("web"));
    let admin = shop.fleet.admin_url("web");
    let stopping = tokio::spawn(shop.fleet.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    for no in [format!("{url}/health"), format!("{admin}/readyz")] {
        assert_eq!(send(http.get(&no)).await.status(), 503, "{no}");
    }
    assert_eq!(send(http.get(format!("{url}{PAGE}"))).await.status(), 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_backend_that_hangs_does_not_hold_the_stop_up() {
    let shop = draining("[server]\ndrain_timeout = \"300ms\"\n").await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let url = format!("{}{PAGE}", shop.fleet.url("web"));
    let asked = tokio::spawn(try_send(
        shop.http.get(url).header("request-timeout", "9000"),
    ));
    crate::support::until(|| shop.fleet.mocks().stats(Backend::Product).in_flight == 1).await;
    let began = instant();
    shop.fleet.stop().await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1200), "{took:?}");
    let cut = asked.await.unwrap();
    assert!(cut.is_err(), "what has not ended is cut: {cut:?}");
}
