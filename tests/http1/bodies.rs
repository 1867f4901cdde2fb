//! Clients that do not send their whole body: one response, 408, whatever the route does with bodies.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

use super::{RawResponse, calls, connect, exchange, read_to_end, start};
use crate::routes::echo;
use crate::support::TestFleet;

/// A way not to finish a body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The client sends no more.
    Silence,
    /// The client closes its direction of the connection.
    Close,
    /// The client sends an invalid chunk.
    Garbage,
}

/// The deadline is shorter than `body_timeout`, and the client's own one is longer.
const CONFIG: &str =
    "[inbound]\ndeadline = \"500ms\"\nmax_deadline = \"20s\"\nbody_timeout = \"800ms\"\n";

/// Sends a head and a part of its body.
async fn send_partial(fleet: &TestFleet, head: &str, chunked: bool, end: End) -> RawResponse {
    let mut client = connect(&fleet.running.url("web")).await;
    let body = match (chunked, end) {
        (true, End::Garbage) => "transfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\nxyz\r\n",
        (true, _) => "transfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n",
        (false, _) => "content-length: 100\r\n\r\n{\"a\"",
    };
    let request = format!("{head}{body}");
    client.write_all(request.as_bytes()).await.unwrap();
    if end == End::Close {
        client.shutdown().await.unwrap();
    }
    read_to_end(&mut client).await
}

async fn assert_request_timeouts(fleet: &TestFleet, targets: &[&str]) {
    let ada = fleet.bearer("ada");
    for target in targets {
        for timeout in ["", "request-timeout: 10000\r\n"] {
            for (chunked, end) in [
                (false, End::Silence),
                (true, End::Silence),
                (false, End::Close),
                (true, End::Close),
                (true, End::Garbage),
            ] {
                let head = format!(
                    "{target} HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\nidempotency-key: k\r\n\
                     content-type: application/json\r\n{timeout}"
                );
                let response = send_partial(fleet, &head, chunked, end).await;
                let case = format!("{target} {timeout} {chunked} {end:?}: {response:?}");
                assert_eq!(response.status(), 408, "{case}");
                assert_eq!(response.code(), "request_timeout", "{case}");
                assert_eq!(response.header("connection"), "close", "{case}");
            }
        }
    }
}

#[tokio::test]
async fn an_unfinished_body_is_408_on_every_kind_of_route() {
    // A buffered body is retried, so the route gets no idle timeout of its own.
    let config = format!("{CONFIG}[routes.orders]\nidle_timeout = \"700ms\"\n");
    let fleet = start(&config).await;
    let ada = fleet.bearer("ada");
    let session = [("authorization", ada.as_str())];
    assert_eq!(
        fleet.get_with("web", "/api/cart", &session).await.status,
        200
    );
    fleet.running.mocks().clear_stats();
    assert_request_timeouts(&fleet, &["POST /graphql", "POST /api/checkout"]).await;
    assert_eq!(calls(&fleet.running), 0);
    assert_request_timeouts(&fleet, &["POST /api/orders"]).await;
}

/// The backend reads the body and waits for its end.
#[tokio::test]
async fn an_unfinished_streamed_body_is_408() {
    let config = format!("idle_timeout = \"700ms\"\nretry_buffer_bytes = 0\n{CONFIG}");
    let fleet = echo::start(&config).await;
    assert_request_timeouts(
        &fleet,
        &["POST /echo/count", "PUT /echo/count", "GET /echo/count"],
    )
    .await;
    // None of them counts against the backend.
    let healthy = fleet.get("web", "/echo/a").await;
    assert_eq!(healthy.status, 200, "{}", healthy.body);
}

#[tokio::test]
async fn an_unfinished_body_is_408_over_http2() {
    let fleet = start(CONFIG).await;
    let io = TokioIo::new(connect(&fleet.running.url("web")).await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let frames = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("{")))]);
    let body = StreamBody::new(frames.chain(stream::pending()));
    let request = Request::post("http://a/graphql").header("content-type", "application/json");
    let response = client
        .send_request(request.body(body).unwrap())
        .await
        .unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (head.status.as_u16(), &problem["code"]),
        (408, &"request_timeout".into())
    );
    assert!(!head.headers.contains_key("connection"));
}

/// A whole body reaches the backend, with a length or in chunks.
#[tokio::test]
async fn a_safe_request_has_its_body_at_the_backend() {
    let fleet = echo::start("").await;
    for framing in [
        "content-length: 2\r\n\r\nab",
        "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ] {
        let request =
            format!("GET /echo/count HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{framing}");
        let response = exchange(&fleet, &request).await;
        assert!(response.0.ends_with("\r\n\r\n2"), "{response:?}");
    }
}
