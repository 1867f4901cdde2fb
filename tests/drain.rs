//! Graceful shutdown: requests in progress complete, new ones are refused, and the readiness reports it first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{TestFleet, send, try_send};

const PAGE: &str = "/api/product-details/p-1?fields=product,reviews";

async fn start_with(config: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.overlays.insert("web".into(), config.into());
    })
    .await
}

#[tokio::test]
async fn a_request_in_progress_is_answered_in_full() {
    let fleet = start_with("").await;
    let slow = Fault::latency(Duration::from_millis(500));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Review, slow)
        .unwrap();
    let url = format!("{}{PAGE}", fleet.running.url("web"));
    let request = tokio::spawn(send(fleet.http.get(&url)));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Review).in_flight == 1)
        .await;
    fleet.running.stop().await;
    let response = request.await.unwrap();
    assert_eq!(response.status(), 200);
    let page: serde_json::Value = response.json().await.unwrap();
    assert_eq!(page["_meta"]["complete"], true, "{page}");
    let rejected = try_send(fleet.http.get(&url)).await;
    assert!(rejected.is_err(), "the listener is closed");
}

#[tokio::test]
async fn readiness_is_503_during_the_drain_delay_while_requests_are_accepted() {
    let fleet = start_with("[server]\ndrain_delay = \"4s\"\n").await;
    let (http, url) = (fleet.http.clone(), fleet.running.url("web"));
    let admin = fleet.running.admin_url("web");
    let stop = tokio::spawn(fleet.running.stop());
    let ready = format!("{admin}/readyz");
    while send(http.get(&ready)).await.status() != 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let health = format!("{url}/health");
    assert_eq!(send(http.get(&health)).await.status(), 503);
    assert_eq!(send(http.get(format!("{url}{PAGE}"))).await.status(), 200);
    stop.await.unwrap();
}

/// Sends requests on one persistent connection, one after the other, until a response closes it. It never retries.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn keep_alive_client(address: SocketAddr) -> io::Result<usize> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    for responses in 1.. {
        stream
            .write_all(b"GET /errors/not_found HTTP/1.1\r\nhost: web\r\n\r\n")
            .await?;
        let (mut length, mut closes) = (0, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", value)) => closes = value == "close",
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        if closes {
            return Ok(responses);
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_client_that_never_retries_loses_no_request() {
    let fleet = start_with("[server]\ndrain_delay = \"2s\"\n").await;
    let url = fleet.running.url("web");
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let clients: Vec<_> = (0..8)
        .map(|_| tokio::spawn(keep_alive_client(address)))
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    fleet.running.stop().await;
    for client in clients {
        let responses = client.await.unwrap().expect("a request was lost");
        assert!(responses > 1);
    }
}

#[tokio::test]
async fn the_drain_timeout_aborts_a_hanging_request() {
    // Without the drain timeout, the request would last two minutes.
    let config = "[server]\ndrain_timeout = \"300ms\"\n[inbound]\ndeadline = \"120s\"\n\
                  [upstreams.product]\nattempt_timeout = \"120s\"\n";
    let fleet = start_with(config).await;
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let url = format!("{}{PAGE}", fleet.running.url("web"));
    let request = tokio::spawn(try_send(fleet.http.get(url)));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Product).in_flight == 1)
        .await;
    stop_in_time(fleet).await;
    let result = request.await.unwrap();
    assert!(result.is_err(), "the request is not aborted: {result:?}");
}

#[tokio::test]
async fn a_write_without_a_client_completes_before_the_gateway_stops() {
    let fleet = TestFleet::start().await;
    let slow = Fault::latency(Duration::from_millis(500));
    let mocks = fleet.running.mocks().clone();
    mocks.set_fault(Backend::Playback, slow).unwrap();
    let url = format!("{}/v1/titles/p-9/heartbeat", fleet.running.url("tv"));
    let bearer = fleet.bearer("ada");
    let beat = fleet.http.post(url).header("authorization", bearer);
    let request = tokio::spawn(send(beat.json(&serde_json::json!({"positionS": 77}))));
    crate::support::wait_until(|| mocks.stats(Backend::Playback).in_flight == 1).await;
    request.abort();
    fleet.running.stop().await;
    let stats = mocks.stats(Backend::Playback);
    assert_eq!((stats.calls, stats.in_flight, stats.cancelled), (1, 0, 0));
}

/// Stops the fleet. Panics if that takes long.
async fn stop_in_time(fleet: TestFleet) {
    let stop = timeout(Duration::from_secs(20), fleet.running.stop()).await;
    assert!(stop.is_ok(), "the fleet does not stop");
}

/// A drain timeout that no test waits for.
const LONG_DRAIN: &str = "[server]\ndrain_timeout = \"120s\"\n";

/// Reads a stream to its end.
async fn read_stream(mut stream: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn playback_streams_get_a_shutdown_event() {
    let fleet = TestFleet::start_with(|fleet| {
        fleet.overlays.insert("tv".into(), LONG_DRAIN.into());
    })
    .await;
    let url = format!("{}/v1/titles/p-8/playing", fleet.running.url("tv"));
    let play = (fleet.http.post(url))
        .header("authorization", fleet.bearer("ada"))
        .json(&serde_json::json!({"positionS": 120}));
    let stream = send(play).await;
    assert_eq!(stream.status(), 200);
    let reader = tokio::spawn(read_stream(stream));
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Playback).in_flight == 1)
        .await;
    stop_in_time(fleet).await;
    let events = reader.await.unwrap();
    let (first_events, last) = events.trim_end().rsplit_once("\n\n").unwrap();
    assert!(first_events.starts_with("event: beat\n"), "{events}");
    assert_eq!(last, "event: shutdown\ndata: {}");
}

#[tokio::test]
async fn proxied_event_streams_end_at_shutdown() {
    let fleet = start_with(LONG_DRAIN).await;
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
    let reader = tokio::spawn(read_stream(events));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reader.is_finished());
    stop_in_time(fleet).await;
    assert!(reader.await.unwrap().contains("data:"));
}
