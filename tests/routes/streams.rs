//! Bodies that are larger than any buffer, and `WebSocket`s.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connect;
use super::echo::{CHUNK_BYTES, start};
use crate::support::{instant, resident_kib, runs_in_own_process, send};

const UPGRADE_REQUEST: &str = "GET /echo/tunnel HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The chunks of the large body: 100 MiB in total.
const CHUNKS: usize = 100;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn large_bodies_stream_in_constant_memory() {
    if runs_in_own_process("routes::streams::large_bodies_stream_in_constant_memory") {
        return;
    }
    let fleet = start("timeout = \"60s\"\nmax_body_bytes = 200000000").await;
    let url = |path: &str| format!("{}/echo/{path}", fleet.running.url("web"));
    send(fleet.http.get(url("warm"))).await;
    let before = resident_kib();
    let mut peak = 0;
    let mut download = send(fleet.http.get(url("flood"))).await;
    let mut received = 0;
    while let Some(chunk) = download.chunk().await.unwrap() {
        received += chunk.len();
        peak = peak.max(resident_kib());
    }
    assert_eq!(received, CHUNKS * CHUNK_BYTES);
    let chunk = Bytes::from(vec![1; CHUNK_BYTES]);
    let chunks = stream::iter(0..CHUNKS).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let body = reqwest::Body::wrap_stream(Body::from_stream(chunks).into_data_stream());
    let upload = send(fleet.http.post(url("count")).body(body)).await;
    assert_eq!(
        upload.text().await.unwrap(),
        (CHUNKS * CHUNK_BYTES).to_string()
    );
    peak = peak.max(resident_kib());
    let growth = peak.saturating_sub(before);
    assert!(growth < 64 << 10, "{growth} KiB more");
}

/// A client that does not read its response holds the stream permit only until the write timeout.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_unread_response_is_aborted_in_constant_memory() {
    if runs_in_own_process("routes::streams::an_unread_response_is_aborted_in_constant_memory") {
        return;
    }
    let config = "[server]\nwrite_timeout = \"3s\"\n[upstreams.order.bulkhead]\nmax_streams = 1";
    let fleet = start(config).await;
    let page = || fleet.get("web", "/echo/page");
    assert_eq!(page().await.status, 200);
    let before = resident_kib();
    let mut client = connect(&fleet).await;
    let request = b"GET /echo/flood HTTP/1.1\r\nhost: a\r\n\r\n";
    let started = instant();
    client.write_all(request).await.unwrap();
    // This client holds the only stream permit. It reads no more than the status.
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    assert_eq!(page().await.status, 503, "the permit is in use");
    let mut peak = resident_kib();
    while page().await.status != 200 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the permit is still in use"
        );
        peak = peak.max(resident_kib());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(started.elapsed() > Duration::from_secs(2));
    let growth = peak.saturating_sub(before);
    assert!(growth < 64 << 10, "{growth} KiB more");
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received).await;
    assert!(
        received.len() < CHUNKS * CHUNK_BYTES / 2,
        "{} bytes",
        received.len()
    );
}

#[tokio::test]
async fn a_stalled_request_body_is_aborted() {
    let fleet = start("idle_timeout = \"300ms\"\ntimeout = \"120s\"").await;
    let mut client = connect(&fleet).await;
    let head = "POST /echo/count HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let end = timeout(Duration::from_secs(20), client.read_to_end(&mut reply)).await;
    assert!(end.is_ok(), "the request is not aborted");
    let reply = String::from_utf8_lossy(&reply);
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 4"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_websocket_is_forwarded_both_ways_if_the_route_allows_it() {
    // A quiet WebSocket is not a stalled response, so this write timeout must not end it.
    let server = "[server]\nwrite_timeout = \"100ms\"\ndrain_timeout = \"120s\"";
    let with_websocket = start(&format!(
        "websocket = true\nidle_timeout = \"3s\"\n{server}"
    ))
    .await;
    let mut client = connect(&with_websocket).await;
    client.write_all(UPGRADE_REQUEST.as_bytes()).await.unwrap();
    let head = until_blank_line(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // Every message restarts the idle timeout: together they last longer than it.
    for word in ["one", "another", "third"] {
        client.write_all(word.as_bytes()).await.unwrap();
        let mut echo = vec![0; word.len()];
        client.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, word.as_bytes());
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    // The idle timeout ends it.
    let mut rest = Vec::new();
    let end = timeout(Duration::from_secs(20), client.read_to_end(&mut rest));
    assert!(end.await.is_ok() && rest.is_empty());
    let mut draining = connect(&with_websocket).await;
    draining
        .write_all(UPGRADE_REQUEST.as_bytes())
        .await
        .unwrap();
    until_blank_line(&mut draining).await;
    // Draining does not wait for a WebSocket.
    let stop = timeout(Duration::from_secs(20), with_websocket.running.stop());
    assert!(stop.await.is_ok(), "the gateway waits for the WebSocket");
    let without_websocket = start("").await;
    let mut client = connect(&without_websocket).await;
    client.write_all(UPGRADE_REQUEST.as_bytes()).await.unwrap();
    let head = until_blank_line(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

/// A WebSocket counts against `max_connections`.
#[tokio::test]
async fn a_websocket_counts_as_a_connection_until_it_ends() {
    let config = "websocket = true\nidle_timeout = \"3s\"\n[server]\nmax_connections = 1";
    let fleet = start(config).await;
    let mut websocket = connect(&fleet).await;
    websocket
        .write_all(UPGRADE_REQUEST.as_bytes())
        .await
        .unwrap();
    let head = until_blank_line(&mut websocket).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // The kernel accepts the next connection, but the gateway does not.
    let mut next = connect(&fleet).await;
    let request = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    next.write_all(request).await.unwrap();
    let waiting = timeout(Duration::from_millis(300), next.read_u8());
    assert!(waiting.await.is_err(), "only one connection is allowed");
    websocket.write_all(b"still there").await.unwrap();
    websocket.read_exact(&mut [0; 11]).await.unwrap();
    // The idle timeout ends the WebSocket, and the gateway accepts the next connection.
    let started = instant();
    let head = until_blank_line(&mut next).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(started.elapsed() > Duration::from_secs(2));
    // A disconnect ends it too.
    next.write_all(UPGRADE_REQUEST.as_bytes()).await.unwrap();
    drop(next);
    let mut last = connect(&fleet).await;
    last.write_all(request).await.unwrap();
    let head = until_blank_line(&mut last).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

async fn until_blank_line(client: &mut tokio::net::TcpStream) -> String {
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        reply.push(client.read_u8().await.unwrap());
    }
    String::from_utf8_lossy(&reply).into_owned()
}
