//! Slow clients and endless backend responses: their cost is bounded.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestFleet, instant, resident_kib, runs_in_own_process};

/// Longer than any of the configured timeouts on a busy machine. Only a failure reaches it.
const TIMEOUT: Duration = Duration::from_secs(20);

async fn start_with_short_timeouts() -> TestFleet {
    TestFleet::start_with(|fleet| {
        let limits = "[server]\nheader_read_timeout = \"300ms\"\n\
                      [inbound]\nbody_timeout = \"300ms\"\ndeadline = \"120s\"\n";
        fleet.overlays.insert("web".into(), limits.into());
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn connect(fleet: &TestFleet) -> TcpStream {
    let address = fleet.running.url("web").replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the gateway closes the connection or has sent a complete head.
async fn read_response(client: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match tokio::time::timeout(TIMEOUT, client.read(&mut chunk))
            .await
            .unwrap()
        {
            Ok(0) | Err(_) => break,
            Ok(n) => reply.extend_from_slice(&chunk[..n]),
        }
        if reply.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn a_slow_request_head_is_aborted() {
    let fleet = start_with_short_timeouts().await;
    let mut client = connect(&fleet).await;
    let started = instant();
    client
        .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx: ")
        .await
        .unwrap();
    // One byte at a time, until the gateway closes the connection.
    while started.elapsed() < TIMEOUT && client.write_all(b"a").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_stops_in_its_head_gets_408() {
    let fleet = start_with_short_timeouts().await;
    let mut client = connect(&fleet).await;
    let health = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(health).await.unwrap();
    let reply = read_response(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    client.write_all(&health[..14]).await.unwrap();
    let mut reply = String::new();
    let end = tokio::time::timeout(TIMEOUT, client.read_to_string(&mut reply));
    end.await.unwrap().unwrap();
    // The body of the first response may come in a packet of its own.
    let reply = reply.trim_start_matches(r#"{"status":"ok"}"#);
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert!(reply.contains("connection: close"), "{reply}");
}

#[tokio::test]
async fn an_idle_connection_may_last_longer_than_a_head() {
    let fleet = TestFleet::start_with(|fleet| {
        let limits = "[server]\nheader_read_timeout = \"1500ms\"\n".to_owned();
        fleet.overlays.insert("web".into(), limits);
    })
    .await;
    let mut client = connect(&fleet).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1700)).await;
        let (head, rest) = ("GET /health HTTP/1.1\r\nho", "st: a\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(rest.as_bytes()).await.unwrap();
        let reply = read_response(&mut client).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_every_protocol() {
    let fleet = TestFleet::start_with(|fleet| {
        let limits = "[server]\nidle_timeout = \"300ms\"\nheader_read_timeout = \"400ms\"\n";
        fleet.overlays.insert("web".into(), limits.into());
    })
    .await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let request = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    for bytes in [&b""[..], preface, request] {
        let started = instant();
        let mut client = connect(&fleet).await;
        client.write_all(bytes).await.unwrap();
        let mut received = Vec::new();
        let reading = client.read_to_end(&mut received);
        let _ = tokio::time::timeout(TIMEOUT, reading).await.unwrap();
        let elapsed = started.elapsed();
        assert!(elapsed >= Duration::from_millis(290), "{elapsed:?}");
    }
}

#[tokio::test]
async fn a_stalled_request_body_is_rejected() {
    let fleet = start_with_short_timeouts().await;
    let mut client = connect(&fleet).await;
    let head = "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"que";
    client.write_all(head.as_bytes()).await.unwrap();
    let reply = read_response(&mut client).await;
    assert!(
        reply.starts_with("HTTP/1.1 4") || reply.starts_with("HTTP/1.1 504"),
        "{reply}"
    );
    assert!(
        reply.contains("application/problem+json") || reply.contains("graphql"),
        "{reply}"
    );
}

/// Without a limit, one endless body alone needs 500 MiB in one second.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn endless_and_compressed_bodies_use_bounded_memory() {
    if runs_in_own_process("slow::endless_and_compressed_bodies_use_bounded_memory") {
        return;
    }
    let fleet = TestFleet::start_without_circuit_breakers().await;
    let page = "/api/product-details/p-1?fields=product,reviews";
    fleet.get("web", page).await;
    let before = resident_kib();
    for fault in [Mode::Endless, Mode::GzipBomb] {
        fleet
            .running
            .mocks()
            .set_fault(Backend::Review, Fault::mode(fault))
            .unwrap();
        for _ in 0..20 {
            let page = fleet.get("web", page).await;
            assert_eq!(page.section("reviews")["reason"], "bad_response");
        }
        fleet.running.mocks().clear_faults(None);
    }
    let growth = resident_kib().saturating_sub(before);
    assert!(growth < 64 << 10, "{growth} KiB more");
}

#[tokio::test]
async fn a_disconnect_is_counted_as_499() {
    let fleet = TestFleet::start().await;
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let mut client = connect(&fleet).await;
    client
        .write_all(b"GET /api/product-details/p-1 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Product).in_flight > 0)
        .await;
    drop(client);
    crate::support::wait_until(|| fleet.running.mocks().stats(Backend::Product).in_flight == 0)
        .await;
    let metrics = fleet
        .http
        .get(format!("{}/metrics", fleet.running.admin_url("web")));
    let metrics = crate::support::send(metrics).await.text().await.unwrap();
    assert!(
        metrics.contains(r#"http_response_status_code="499""#),
        "{metrics}"
    );
}
