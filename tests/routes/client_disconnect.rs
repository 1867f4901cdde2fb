//! Clients who hang up in the middle of something: the backend learns it at once.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{dial, echo};
use crate::support::{TestFleet, instant, wait_until};

/// How often each is tried: the machine may be busy elsewhere, hence the middle one counts.
const TRIES: u64 = 5;
const AT_ONCE: Duration = Duration::from_millis(50);

/// How long after a hang-up nothing is under way any more at a backend that was sent this.
async fn noticed(fleet: &TestFleet, backend: Backend, sent: &str, hears: bool) -> Duration {
    let waiting = || fleet.running.mocks().stats(backend).in_flight;
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let mut client = dial(fleet).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        wait_until(|| waiting() == 1).await;
        if hears {
            client.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        }
        let left = instant();
        drop(client);
        wait_until(|| waiting() == 0).await;
        took.push(left.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test]
async fn who_hangs_up_while_waiting_ends_the_call_at_once() {
    let fleet = TestFleet::start().await;
    let hang = Fault::mode(Mode::Hang);
    (fleet.running.mocks())
        .set_fault(Backend::Product, hang)
        .unwrap();
    let sent = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let took = noticed(&fleet, Backend::Product, sent, false).await;
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(
        fleet.running.mocks().stats(Backend::Product).cancelled,
        TRIES
    );
}

#[tokio::test]
async fn who_hangs_up_while_an_answer_comes_ends_it_at_once() {
    let fleet = TestFleet::start().await;
    let endless = Fault::mode(Mode::Endless);
    (fleet.running.mocks())
        .set_fault(Backend::Product, endless)
        .unwrap();
    let sent = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let took = noticed(&fleet, Backend::Product, sent, true).await;
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn who_hangs_up_while_sending_ends_the_call_at_once() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let sent = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\n{{\"a\"\r\n"
    );
    let took = noticed(&fleet, Backend::Order, &sent, false).await;
    assert!(took < AT_ONCE, "{took:?}");
}

/// Announced or in pieces, kept or streamed through: what counts is that all of it has come.
#[tokio::test]
async fn a_write_that_has_come_is_done_though_its_client_leaves() {
    for kept in [0, 1000] {
        let fleet = TestFleet::start_with(|fleet| {
            let route = format!("[routes.orders]\nretry_buffer_bytes = {kept}\n");
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
            order_and_leave(&fleet, &format!("idempotency-key: {key}\r\n{body}")).await;
            assert_ne!(latest_order(&fleet).await, before, "{kept} {body}");
        }
    }
}

async fn latest_order(fleet: &TestFleet) -> String {
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let orders = fleet.get_with("web", "/api/orders", &headers).await;
    orders.body["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Ada orders what is in her cart, and hangs up while the backend is about it.
async fn order_and_leave(fleet: &TestFleet, rest: &str) {
    let (mocks, ada) = (fleet.running.mocks(), fleet.bearer("ada"));
    fleet.fill_cart("ada").await;
    mocks.clear_stats();
    let slow = Fault::latency(Duration::from_millis(300));
    mocks.set_fault(Backend::Order, slow).unwrap();
    let sent = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n{rest}"
    );
    let mut client = dial(fleet).await;
    client.write_all(sent.as_bytes()).await.unwrap();
    wait_until(|| mocks.stats(Backend::Order).in_flight == 1).await;
    // Time for the rest to be passed on.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    wait_until(|| mocks.stats(Backend::Order).in_flight == 0).await;
    assert_eq!(mocks.stats(Backend::Order).cancelled, 0, "{rest}");
    mocks.clear_faults(None);
}

/// It ends because its client was cut, which is no end of what it says.
#[tokio::test]
async fn half_a_body_is_never_taken_for_a_whole_one() {
    let heard = echo::Heard::default();
    let url = format!("url = \"{}\"", heard.listen().await);
    let brief = "timeout = \"20s\"\n[server]\ndrain_timeout = \"200ms\"";
    let fleet = echo::shop_of(&url, brief).await;
    let mut client = dial(&fleet).await;
    let half =
        "POST /echo/a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    client.write_all(half.as_bytes()).await.unwrap();
    wait_until(|| heard.so_far().ends_with("4\r\nhalf\r\n")).await;
    // Draining waits for its end, and then no longer.
    fleet.running.stop().await;
    wait_until(|| heard.is_over()).await;
    let heard = heard.so_far();
    assert!(heard.ends_with("4\r\nhalf\r\n"), "{heard}");
}
