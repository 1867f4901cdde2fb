//! Clients that are slow on purpose, and backends that never end: what they cost is bounded.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestFleet, instant, resident_kib, runs_in_own_process};

const SOON: Duration = Duration::from_millis(2500);

async fn impatient() -> TestFleet {
    TestFleet::start_with(|fleet| {
        let limits = "[server]\nhead_timeout = \"300ms\"\n[inbound]\nbody_timeout = \"300ms\"\n";
        fleet.overlays.insert("web".into(), limits.into());
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn dial(fleet: &TestFleet) -> TcpStream {
    let address = fleet.running.url("web").replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the other side closes or has said a whole head.
async fn response(client: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match tokio::time::timeout(SOON, client.read(&mut piece))
            .await
            .unwrap()
        {
            Ok(0) | Err(_) => break,
            Ok(n) => said.extend_from_slice(&piece[..n]),
        }
        if said.windows(4).any(|four| four == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_that_dribbles_is_cut() {
    let fleet = impatient().await;
    let mut client = dial(&fleet).await;
    let began = instant();
    client
        .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx: ")
        .await
        .unwrap();
    // A byte at a time, for as long as the other side takes them.
    while began.elapsed() < SOON && client.write_all(b"a").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_may_be_silent_for_longer_than_a_head_may_take() {
    let fleet = impatient().await;
    let mut client = dial(&fleet).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(450)).await;
        let (head, rest) = ("GET /health HTTP/1.1\r\nho", "st: a\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(rest.as_bytes()).await.unwrap();
        let said = response(&mut client).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

#[tokio::test]
async fn who_asks_nothing_is_shown_out_whatever_they_speak() {
    let fleet = TestFleet::start_with(|fleet| {
        let limits = "[server]\nidle_timeout = \"300ms\"\nhead_timeout = \"400ms\"\n";
        fleet.overlays.insert("web".into(), limits.into());
    })
    .await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let kept = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    for said in [&b""[..], preface, kept] {
        let mut client = dial(&fleet).await;
        client.write_all(said).await.unwrap();
        let began = instant();
        let mut heard = Vec::new();
        let reading = client.read_to_end(&mut heard);
        let _ = tokio::time::timeout(SOON, reading).await.unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(290), "{took:?}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_refused() {
    let fleet = impatient().await;
    let mut client = dial(&fleet).await;
    let head = "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"que";
    let began = instant();
    client.write_all(head.as_bytes()).await.unwrap();
    let said = response(&mut client).await;
    assert!(
        said.starts_with("HTTP/1.1 4") || said.starts_with("HTTP/1.1 504"),
        "{said}"
    );
    assert!(
        said.contains("application/problem+json") || said.contains("graphql"),
        "{said}"
    );
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}

/// Without the bound one endless body alone grows by some 500 MiB within its second.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn endless_bodies_and_bombs_leave_memory_flat() {
    if runs_in_own_process("slow::endless_bodies_and_bombs_leave_memory_flat") {
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
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[tokio::test]
async fn a_hang_up_is_counted_as_499() {
    let fleet = TestFleet::start().await;
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Hang))
        .unwrap();
    let mut client = dial(&fleet).await;
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
