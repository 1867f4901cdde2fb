//! Responses to requests whose body the gateway does not read. A client that sends its whole request before it reads
//! receives them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{MAX_TIME, RawResponse, connect, exchange, read_to_end, start};
use crate::support::{TestFleet, instant};

/// More than the buffers of a connection hold.
const LARGE: usize = 4 << 20;

/// Writes the whole request before it reads. Every write must succeed.
async fn write_then_read(fleet: &TestFleet, head: &str, framing: &str) -> RawResponse {
    let mut client = connect(&fleet.running.url("web")).await;
    let (first, last) = match framing {
        "chunked" => (
            "transfer-encoding: chunked\r\n\r\n400000\r\n".to_owned(),
            "\r\n0\r\n\r\n",
        ),
        _ => (format!("content-length: {LARGE}\r\n\r\n"), ""),
    };
    client
        .write_all(format!("{head}{first}").as_bytes())
        .await
        .unwrap();
    client.write_all(&vec![b' '; LARGE]).await.unwrap();
    client.write_all(last.as_bytes()).await.unwrap();
    read_to_end(&mut client).await
}

#[tokio::test]
async fn a_client_that_writes_first_receives_every_early_response() {
    let limit = "[inbound.rate_limits.policies.home]\npaths = [\"/api/home\"]\nlimit = 1\nperiod = \"1h\"\n";
    let fleet = start(limit).await;
    assert_eq!(fleet.get("web", "/api/home").await.status, 200);
    let ada = fleet.bearer("ada");
    let json = "content-type: application/json\r\n";
    let signed_in = format!("authorization: {ada}\r\nidempotency-key: k\r\n{json}");
    for (target, headers, status) in [
        ("POST /graphql", json.to_owned(), 413),
        ("POST /api/orders", signed_in.clone(), 413),
        ("POST /api/checkout", signed_in.clone(), 413),
        ("POST /api/orders", json.to_owned(), 401),
        (
            "POST /api/checkout",
            "authorization: Bearer x\r\n".to_owned(),
            401,
        ),
        ("GET /api/admin/users", signed_in, 403),
        ("POST /nowhere", String::new(), 404),
        ("POST /api/products/p-1", json.to_owned(), 405),
        ("POST /graphql", String::new(), 415),
        ("GET /api/home", String::new(), 429),
        (
            "POST /graphql",
            format!("{json}x: {}\r\n", "x".repeat(17 << 10)),
            431,
        ),
        ("POST /graphql", "x: 1\r\n".repeat(300), 431),
        ("POST user@a", String::new(), 400),
    ] {
        let head = format!("{target} HTTP/1.1\r\nhost: a\r\n{headers}");
        for framing in ["length", "chunked"] {
            let response = write_then_read(&fleet, &head, framing).await;
            let case = format!("{target} {framing}: {response:?}");
            assert_eq!(response.status(), status, "{case}");
            assert_eq!(response.header("connection"), "close", "{case}");
        }
    }
}

#[tokio::test]
async fn no_413_is_lost() {
    let fleet = start("").await;
    let head = "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    for _ in 0..20 {
        let response = write_then_read(&fleet, head, "length").await;
        assert_eq!((response.status(), &*response.code()), (413, "too_large"));
    }
}

#[tokio::test]
async fn a_503_before_authentication_is_received() {
    let fleet = start("[auth]\njwks.url = \"http://127.0.0.1:9\"\n").await;
    let ada = fleet.bearer("ada");
    let head = format!("POST /graphql HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\n");
    let response = write_then_read(&fleet, &head, "length").await;
    assert_eq!(response.status(), 503, "{response:?}");
    assert_eq!(response.header("connection"), "close");
}

/// The next request on the connection is not taken for a part of the body.
#[tokio::test]
async fn a_short_unread_body_does_not_end_the_connection() {
    let fleet = start("").await;
    for body in [
        "content-length: 9\r\n\r\nsome text",
        "transfer-encoding: chunked\r\n\r\n9\r\nsome text\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST /nowhere HTTP/1.1\r\nhost: a\r\n{body}GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let responses = exchange(&fleet, &request).await.0;
        let health = responses.find("HTTP/1.1 200").unwrap_or_default();
        assert!(
            responses.starts_with("HTTP/1.1 404") && health > 0,
            "{responses}"
        );
        assert!(!responses[..health].contains("connection"), "{responses}");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_gets_the_final_response_instead() {
    let fleet = start("").await;
    let request = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {LARGE}\r\n\r\n"
    );
    let response = exchange(&fleet, &request).await;
    assert_eq!(response.status(), 401, "{response:?}");
    assert_eq!(response.header("connection"), "close", "{response:?}");
}

#[tokio::test]
async fn a_client_that_never_closes_is_left_after_the_linger_timeout() {
    let fleet = start("[server]\nlinger_timeout = \"300ms\"\n").await;
    let mut client = connect(&fleet.running.url("web")).await;
    let head = format!(
        "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        u64::MAX / 2
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let started = instant();
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
    // The gateway reads on, until the time is over.
    let write = async {
        while client.write_all(&[0; 1 << 10]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(MAX_TIME, write).await.unwrap();
    assert!(started.elapsed() > Duration::from_millis(200));
}
