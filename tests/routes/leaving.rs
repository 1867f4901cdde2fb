//! Clients who hang up in the middle of something: the backend learns it at once.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial;
use crate::support::{Shop, instant, until};

/// How often each is tried: the machine may be busy elsewhere, hence the middle one counts.
const TRIES: u64 = 5;
const AT_ONCE: Duration = Duration::from_millis(50);

/// How long after a hang-up nothing is under way any more at a backend that was sent this.
async fn noticed(shop: &Shop, backend: Backend, sent: &str, hears: bool) -> Duration {
    let waiting = || shop.fleet.mocks().stats(backend).in_flight;
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let mut client = dial(shop).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        until(|| waiting() == 1).await;
        if hears {
            client.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        }
        let left = instant();
        drop(client);
        until(|| waiting() == 0).await;
        took.push(left.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

#[tokio::test]
async fn who_hangs_up_while_waiting_ends_the_call_at_once() {
    let shop = Shop::open().await;
    let hang = Fault::mode(Mode::Hang);
    (shop.fleet.mocks())
        .set_fault(Backend::Product, hang)
        .unwrap();
    let sent = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let took = noticed(&shop, Backend::Product, sent, false).await;
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(shop.fleet.mocks().stats(Backend::Product).cancelled, TRIES);
}

#[tokio::test]
async fn who_hangs_up_while_an_answer_comes_ends_it_at_once() {
    let shop = Shop::open().await;
    let endless = Fault::mode(Mode::Endless);
    (shop.fleet.mocks())
        .set_fault(Backend::Product, endless)
        .unwrap();
    let sent = "GET /api/products/p-1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let took = noticed(&shop, Backend::Product, sent, true).await;
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn who_hangs_up_while_sending_ends_the_call_at_once() {
    let shop = Shop::open().await;
    let ada = shop.bearer("ada");
    let sent = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\n{{\"a\"\r\n"
    );
    let took = noticed(&shop, Backend::Order, &sent, false).await;
    assert!(took < AT_ONCE, "{took:?}");
}
