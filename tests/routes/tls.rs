//! Backends behind TLS with HTTP/2 and a private certificate authority.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect;
use super::echo::{CHUNK_BYTES, backend, start_with_upstream};
use super::echoed;
use crate::support::{TestFleet, send, tls};

/// Starts the echo backend behind TLS. Returns its URL.
async fn start_backend() -> String {
    tls::start_server(|stream| async move {
        let service = TowerToHyperService::new(backend());
        let http = auto::Builder::new(TokioExecutor::new());
        let io = TokioIo::new(stream);
        http.serve_connection_with_upgrades(io, service).await.ok();
    })
    .await
}

/// Starts web with a route to this backend.
async fn start(route: &str) -> TestFleet {
    let (url, ca) = (start_backend().await, tls::ca_file());
    let order = format!("url = \"{url}\"\nca_file = \"{}\"", ca.display());
    start_with_upstream(&order, route).await
}

#[tokio::test]
async fn http_2_backends_get_http_2_requests() {
    let fleet =
        start("forward_credentials = [\"cookie\"]\nmax_body_bytes = 200000000\ntimeout = \"20s\"")
            .await;
    let headers = [
        ("cookie", "a=1; b=2"),
        ("te", "trailers"),
        ("connection", "x-own"),
        ("x-own", "1"),
    ];
    let response = fleet.get_with("web", "/echo/a?b=%2F", &headers).await;
    assert_eq!(response.body["version"], "HTTP/2.0", "{}", response.body);
    assert!(response.body["uri"].as_str().unwrap().ends_with("/a?b=%2F"));
    for (name, value) in [
        ("cookie", "a=1; b=2"),
        ("te", ""),
        ("x-own", ""),
        ("connection", ""),
    ] {
        assert_eq!(echoed(&response, name), value, "{name}");
    }
    let url = |path: &str| format!("{}/echo/{path}", fleet.running.url("web"));
    let download = send(fleet.http.get(url("flood"))).await;
    assert_eq!(download.bytes().await.unwrap().len(), 100 * CHUNK_BYTES);
    let chunk = Bytes::from(vec![1; CHUNK_BYTES]);
    let chunks = stream::iter(0..20).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
    let upload = fleet
        .http
        .post(url("count"))
        .body(reqwest::Body::wrap_stream(chunks));
    assert_eq!(
        send(upload).await.text().await.unwrap(),
        (20 * CHUNK_BYTES).to_string()
    );
    let unchanged = fleet
        .get_with("web", "/echo/tagged", &[("if-none-match", "\"a\"")])
        .await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.header("etag")),
        (304, "\"a\"")
    );
    let head = send(fleet.http.head(url("tagged"))).await;
    assert_eq!(head.headers()["content-length"], "4");
}

#[tokio::test]
async fn a_client_host_header_needs_http_1_1() {
    let fleet = start("host_header = \"client\"").await;
    let response = fleet
        .get_with("web", "/echo/a", &[("host", "shop.example")])
        .await;
    assert_eq!(response.body["version"], "HTTP/1.1", "{}", response.body);
    assert_eq!(echoed(&response, "host"), "shop.example");
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_gateway_for_http_2_backends() {
    let fleet = start("timeout = \"60s\"").await;
    let mut client = connect(&fleet).await;
    let request = "POST /echo/count HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\n\
               content-length: 4\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    let read = client.read_exact(&mut interim);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    read.unwrap().unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abcd").await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.ends_with('4'),
        "{reply}"
    );
}

#[tokio::test]
async fn an_unknown_certificate_authority_is_not_trusted() {
    let order = format!("url = \"{}\"", start_backend().await);
    let fleet = start_with_upstream(&order, "").await;
    let rejected = fleet.get("web", "/echo/a").await;
    assert_eq!(
        (rejected.status.as_u16(), &rejected.body["code"]),
        (503, &"unavailable".into())
    );
    let mut fleet = fleet::Fleet {
        ports: fleet::Ports::Free,
        only: vec!["web".into()],
        ..fleet::Fleet::default()
    };
    let config = "[upstreams.order]\nca_file = \"/nowhere.pem\"\n";
    fleet.overlays.insert("web".into(), config.into());
    let line = fleet::start(fleet).await.err().unwrap();
    assert!(
        line.contains("upstreams.order.ca_file") && line.lines().count() == 1,
        "{line}"
    );
}
