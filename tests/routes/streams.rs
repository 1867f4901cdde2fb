//! Bodies that are larger than any buffer, and connections that become something else.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial;
use super::echo::{PIECE, fleet};
use crate::support::{instant, resident_kib, runs_in_own_process, send};

const ASK: &str = "GET /echo/tunnel HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A hundred megabytes.
const PIECES: usize = 100;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hundred_megabytes_pass_either_way_in_constant_memory() {
    if runs_in_own_process(
        "routes::streams::a_hundred_megabytes_pass_either_way_in_constant_memory",
    ) {
        return;
    }
    let fleet = fleet("timeout = \"60s\"\nmax_body_bytes = 200000000").await;
    let url = |path: &str| format!("{}/echo/{path}", fleet.running.url("web"));
    send(fleet.http.get(url("warm"))).await;
    let before = resident_kib();
    let mut most = 0;
    let mut down = send(fleet.http.get(url("flood"))).await;
    let mut got = 0;
    while let Some(piece) = down.chunk().await.unwrap() {
        got += piece.len();
        most = most.max(resident_kib());
    }
    assert_eq!(got, PIECES * PIECE);
    let piece = Bytes::from(vec![1; PIECE]);
    let pieces = stream::iter(0..PIECES).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
    let body = reqwest::Body::wrap_stream(Body::from_stream(pieces).into_data_stream());
    let up = send(fleet.http.post(url("count")).body(body)).await;
    assert_eq!(up.text().await.unwrap(), (PIECES * PIECE).to_string());
    most = most.max(resident_kib());
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

/// A client that asks for a hundred megabytes and reads none of them holds its place at the backend for a while only.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_reads_nothing_is_cut_in_constant_memory() {
    if runs_in_own_process("routes::streams::whoever_reads_nothing_is_cut_in_constant_memory") {
        return;
    }
    let impatient =
        "[server]\nwrite_timeout = \"500ms\"\n[upstreams.order.bulkhead]\nmax_streams = 1";
    let fleet = fleet(impatient).await;
    let page = || fleet.get("web", "/echo/page");
    assert_eq!(page().await.status, 200);
    let before = resident_kib();
    let mut client = dial(&fleet).await;
    let ask = b"GET /echo/flood HTTP/1.1\r\nhost: a\r\n\r\n";
    client.write_all(ask).await.unwrap();
    // It has the place, and nobody who asks meanwhile; of the flood it reads no more than that.
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    let began = instant();
    while page().await.status != 503 {
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "the place is taken"
        );
    }
    let began = instant();
    let mut most = resident_kib();
    while page().await.status != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the place is free"
        );
        most = most.max(resident_kib());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(300));
    let grown = most.saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard).await;
    assert!(heard.len() < PIECES * PIECE / 2, "{} bytes", heard.len());
}

#[tokio::test]
async fn a_body_that_stalls_is_cut() {
    let fleet = fleet("idle_timeout = \"300ms\"\ntimeout = \"5s\"").await;
    let mut client = dial(&fleet).await;
    let head = "POST /echo/count HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc";
    let began = instant();
    client.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
}

#[tokio::test]
async fn a_websocket_is_carried_both_ways_where_the_route_says_so() {
    // That nothing is said is no stall.
    let quick = "[server]\nwrite_timeout = \"100ms\"";
    let open = fleet(&format!(
        "websocket = true\nidle_timeout = \"400ms\"\n{quick}"
    ))
    .await;
    let mut client = dial(&open).await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    let head = until_blank_line(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    for word in ["one", "another"] {
        client.write_all(word.as_bytes()).await.unwrap();
        let mut back = vec![0; word.len()];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(back, word.as_bytes());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Silence ends it.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(2), client.read_to_end(&mut rest));
    assert!(ended.await.is_ok() && rest.is_empty());
    let mut again = dial(&open).await;
    again.write_all(ASK.as_bytes()).await.unwrap();
    until_blank_line(&mut again).await;
    // Draining does not wait for what would never end.
    let began = instant();
    open.running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let shut = fleet("").await;
    let mut client = dial(&shut).await;
    client.write_all(ASK.as_bytes()).await.unwrap();
    let head = until_blank_line(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
}

/// A WebSocket is a connection of its client's until it ends, and takes a place as every other.
#[tokio::test]
async fn websockets_count_among_the_connections_until_they_end() {
    let few = "websocket = true\nidle_timeout = \"700ms\"\n[server]\nmax_connections = 1";
    let fleet = fleet(few).await;
    let mut tunnel = dial(&fleet).await;
    tunnel.write_all(ASK.as_bytes()).await.unwrap();
    let head = until_blank_line(&mut tunnel).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // The kernel takes the next one, and nobody answers it.
    let mut next = dial(&fleet).await;
    let ask = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    next.write_all(ask).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), next.read_u8());
    assert!(waiting.await.is_err(), "there is room for one");
    tunnel.write_all(b"still there").await.unwrap();
    tunnel.read_exact(&mut [0; 11]).await.unwrap();
    // Its silence ends it, and the next one has its place.
    let began = instant();
    let head = until_blank_line(&mut next).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(began.elapsed() > Duration::from_millis(500));
    // So it is when it hangs up.
    next.write_all(ASK.as_bytes()).await.unwrap();
    drop(next);
    let mut last = dial(&fleet).await;
    last.write_all(ask).await.unwrap();
    let head = until_blank_line(&mut last).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

async fn until_blank_line(client: &mut tokio::net::TcpStream) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        said.push(client.read_u8().await.unwrap());
    }
    String::from_utf8_lossy(&said).into_owned()
}
