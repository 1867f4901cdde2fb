//! Clients that disconnect during a request: the gateway cancels the backend call at once.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{connect, echo};
use crate::support::{TestFleet, wait_until};

/// Starts web with timeouts that no test reaches, so that only a disconnect can end a call.
async fn start() -> TestFleet {
    let timeouts =
        "timeout = \"120s\"\nattempt_timeout = \"120s\"\nidle_timeout = \"120s\"\n".to_owned();
    let config = format!(
        "[inbound]\ndeadline = \"120s\"\n[routes.products]\n{timeouts}[routes.orders]\n{timeouts}"
    );
    TestFleet::start_with(|fleet| {
        fleet.overlays.insert("web".into(), config);
    })
    .await
}

/// Sends a request and disconnects while the backend call is in flight; with `reads`, after a part of the response.
/// Asserts that the call ends.
async fn assert_cancelled(fleet: &TestFleet, backend: Backend, request: &str, reads: bool) {
    let stats = || fleet.running.mocks().stats(backend);
    let mut client = connect(fleet).await;
    client.write_all(request.as_bytes()).await.unwrap();
    wait_until(|| stats().in_flight == 1).await;
    if reads {
        client.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
    }
    drop(client);
    wait_until(|| stats().in_flight == 0).await;
    assert_eq!(stats().calls, 1);
}

#[tokio::test]
async fn a_disconnect_before_the_response_cancels_the_call() {
    let fleet = start().await;
    let hang = Fault::mode(Mode::Hang);
    (fleet.running.mocks())
        .set_fault(Backend::Product, hang)
        .unwrap();
    let request = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_cancelled(&fleet, Backend::Product, request, false).await;
    assert_eq!(fleet.running.mocks().stats(Backend::Product).cancelled, 1);
}

#[tokio::test]
async fn a_disconnect_during_the_response_cancels_the_call() {
    let fleet = start().await;
    let endless = Fault::mode(Mode::Endless);
    (fleet.running.mocks())
        .set_fault(Backend::Product, endless)
        .unwrap();
    let request = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_cancelled(&fleet, Backend::Product, request, true).await;
}

#[tokio::test]
async fn a_disconnect_during_the_request_cancels_the_call() {
    let fleet = start().await;
    let ada = fleet.bearer("ada");
    let request = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\n{{\"a\"\r\n"
    );
    assert_cancelled(&fleet, Backend::Order, &request, false).await;
}

/// The body has a length or chunks, and is buffered or streamed.
#[tokio::test]
async fn a_fully_received_write_completes_after_a_disconnect() {
    for buffer_bytes in [0, 1000] {
        let fleet = TestFleet::start_with(|fleet| {
            let route = format!("[routes.orders]\nretry_buffer_bytes = {buffer_bytes}\n");
            fleet.overlays.insert("web".into(), route);
        })
        .await;
        for (key, body) in [
            ("k-1", "content-length: 2\r\n\r\n{}"),
            (
                "k-2",
                "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            ),
        ] {
            let before = latest_order(&fleet).await;
            order_and_disconnect(&fleet, &format!("idempotency-key: {key}\r\n{body}")).await;
            assert_ne!(latest_order(&fleet).await, before, "{buffer_bytes} {body}");
        }
    }
}

async fn latest_order(fleet: &TestFleet) -> String {
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let orders = fleet.get_with("web", "/api/orders", &headers).await;
    orders.body["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Orders ada's cart, and disconnects while the backend works on it.
async fn order_and_disconnect(fleet: &TestFleet, rest: &str) {
    let (mocks, ada) = (fleet.running.mocks(), fleet.bearer("ada"));
    fleet.fill_cart("ada").await;
    mocks.clear_stats();
    let slow = Fault::latency(Duration::from_millis(300));
    mocks.set_fault(Backend::Order, slow).unwrap();
    let request = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n{rest}"
    );
    let mut client = connect(fleet).await;
    client.write_all(request.as_bytes()).await.unwrap();
    wait_until(|| mocks.stats(Backend::Order).calls == 1).await;
    // Time to forward the rest of the body.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    wait_until(|| mocks.stats(Backend::Order).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Order).cancelled, 0, "{rest}");
    mocks.clear_faults(None);
}

/// The gateway aborts the client's connection, which must not end the body at the backend.
#[tokio::test]
async fn a_partial_body_is_never_forwarded_as_complete() {
    let backend = echo::RecordingBackend::default();
    let url = format!("url = \"{}\"", backend.listen().await);
    let config = "timeout = \"20s\"\n[server]\ndrain_timeout = \"200ms\"";
    let fleet = echo::start_with_upstream(&url, config).await;
    let mut client = connect(&fleet).await;
    let partial =
        "POST /echo/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    client.write_all(partial.as_bytes()).await.unwrap();
    wait_until(|| backend.received_text().ends_with("4\r\nhalf\r\n")).await;
    // The drain timeout aborts the request.
    fleet.running.stop().await;
    wait_until(|| backend.is_closed()).await;
    let received = backend.received_text();
    assert!(received.ends_with("4\r\nhalf\r\n"), "{received}");
}
