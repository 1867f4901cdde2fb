//! Stopping: what is in progress is answered, what is new is refused, and operators see it coming.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};

use crate::support::{TestFleet, instant, send, try_send};

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";

async fn draining(config: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.overlays.insert("web".into(), config.into());
    })
    .await
}

#[tokio::test]
async fn a_request_in_progress_is_answered_in_full() {
    let fleet = draining("").await;
    let slow = Fault::latency(Duration::from_millis(300));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Review, slow)
        .unwrap();
    let url = format!("{}{PAGE}", fleet.running.url("web"));
    let asked = tokio::spawn(send(fleet.http.get(&url)));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Review).in_flight == 1)
        .await;
    fleet.running.stop().await;
    let response = asked.await.unwrap();
    assert_eq!(response.status(), 200);
    let page: serde_json::Value = response.json().await.unwrap();
    assert_eq!(page["_meta"]["complete"], true, "{page}");
    let late = try_send(fleet.http.get(&url)).await;
    assert!(late.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn readiness_says_no_while_the_listener_still_takes_requests() {
    let fleet = draining("[server]\ndrain_delay = \"700ms\"\n").await;
    let (http, url) = (fleet.http.clone(), fleet.running.url("web"));
    let admin = fleet.running.admin_url("web");
    let stopping = tokio::spawn(fleet.running.stop());
    tokio::time::sleep(Duration::from_millis(200)).await;
    for no in [format!("{url}/health"), format!("{admin}/readyz")] {
        assert_eq!(send(http.get(&no)).await.status(), 503, "{no}");
    }
    assert_eq!(send(http.get(format!("{url}{PAGE}"))).await.status(), 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_backend_that_hangs_does_not_hold_the_stop_up() {
    let fleet = draining("[server]\ndrain_timeout = \"300ms\"\n").await;
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let url = format!("{}{PAGE}", fleet.running.url("web"));
    let asked = tokio::spawn(try_send(
        fleet.http.get(url).header("request-timeout", "9000"),
    ));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Product).in_flight == 1)
        .await;
    let began = instant();
    fleet.running.stop().await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(1200), "{took:?}");
    let cut = asked.await.unwrap();
    assert!(cut.is_err(), "what has not ended is cut: {cut:?}");
}

#[tokio::test]
async fn a_write_whose_client_left_is_done_before_the_gateway_is_gone() {
    let fleet = TestFleet::start().await;
    let slow = Fault::latency(Duration::from_millis(500));
    let mocks = fleet.running.mocks().clone();
    mocks.set_fault(Backend::Playback, slow).unwrap();
    let url = format!("{}/v1/titles/p-9/heartbeat", fleet.running.url("tv"));
    let bearer = fleet.bearer("ada");
    let beat = fleet.http.post(url).header("authorization", bearer);
    let saying = tokio::spawn(send(beat.json(&serde_json::json!({"positionS": 77}))));
    crate::support::wait_until(|| mocks.stats(Backend::Playback).in_flight == 1).await;
    saying.abort();
    let began = instant();
    fleet.running.stop().await;
    assert!(began.elapsed() > Duration::from_millis(200), "it waited");
    let seen = mocks.stats(Backend::Playback);
    assert_eq!((seen.calls, seen.in_flight, seen.cancelled), (1, 0, 0));
}

/// Reads a stream to its end, which comes although nobody stops listening.
async fn heard(mut stream: reqwest::Response) -> String {
    let mut heard = Vec::new();
    while let Some(piece) = stream.chunk().await.unwrap() {
        heard.extend_from_slice(&piece);
    }
    String::from_utf8(heard).unwrap()
}

#[tokio::test]
async fn a_set_that_plays_is_told_that_its_gateway_leaves() {
    let fleet = TestFleet::start().await;
    let url = format!("{}/v1/titles/p-8/playing", fleet.running.url("tv"));
    let play = (fleet.http.post(url))
        .header("authorization", fleet.bearer("ada"))
        .json(&serde_json::json!({"positionS": 120}));
    let playing = send(play).await;
    assert_eq!(playing.status(), 200);
    let listening = tokio::spawn(heard(playing));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Playback).in_flight == 1)
        .await;
    let began = instant();
    fleet.running.stop().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let heard = listening.await.unwrap();
    let (beats, last) = heard.trim_end().rsplit_once("\n\n").unwrap();
    assert!(beats.starts_with("event: beat\n"), "{heard}");
    assert_eq!(last, "event: shutdown\ndata: {}");
}

#[tokio::test]
async fn events_that_are_passed_on_end_when_the_gateway_leaves() {
    let fleet = TestFleet::start().await;
    fleet.fill_cart("ada").await;
    let bearer = fleet.bearer("ada");
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let placed = (fleet.post_with("web", "/api/orders", &headers, &serde_json::json!({}))).await;
    let id = placed.body["id"].as_str().unwrap();
    let url = format!("{}/api/orders/{id}/events", fleet.running.url("web"));
    let events = send(fleet.http.get(url).header("authorization", &bearer)).await;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let listening = tokio::spawn(heard(events));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!listening.is_finished());
    let began = instant();
    fleet.running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(listening.await.unwrap().contains("data:"));
}
