//! The HTTP fields and bodies that a proxy route forwards, changes or removes.

use std::time::Duration;

use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::echo::start;
use super::{connect, echoed, send_raw};
use crate::support::{JsonResponse, TestFleet, send};

/// A client for HTTP/2 without TLS.
#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
fn http2_client() -> Client {
    bff_core::auth::install_crypto();
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .http2_prior_knowledge();
    client.build().unwrap()
}

async fn read(request: reqwest::RequestBuilder) -> JsonResponse {
    let response = send(request).await;
    JsonResponse {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.json().await.unwrap(),
    }
}

#[tokio::test]
async fn http_2_requests_are_forwarded_like_http_1_1() {
    let fleet = start("forward_credentials = [\"cookie\"]\nmax_body_bytes = 3000000").await;
    let (http, url) = (http2_client(), fleet.running.url("web"));
    let request = (http.get(format!("{url}/echo/a?b=c")))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers");
    let response = read(request).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        (&response.body["uri"], &response.body["method"]),
        (&"/a?b=c".into(), &"GET".into())
    );
    let authority = url.replace("http://", "");
    for (name, value) in [
        ("cookie", "a=1; b=2"),
        ("te", ""),
        ("via", "2 web"),
        ("x-forwarded-host", authority.as_str()),
    ] {
        assert_eq!(echoed(&response, name), value, "{name}");
    }
    assert_ne!(
        echoed(&response, "host"),
        authority,
        "the backend's own host"
    );
    let upload = http
        .post(format!("{url}/echo/count"))
        .body(vec![1; 2_000_000]);
    assert_eq!(send(upload).await.text().await.unwrap(), "2000000");
    let download = send(http.get(format!("{url}/echo/flood"))).await;
    assert_eq!(download.bytes().await.unwrap().len(), 100 << 20);
    let read_head = send(http.head(format!("{url}/echo/tagged"))).await;
    assert_eq!(read_head.headers()["content-length"], "4");
    assert!(read_head.bytes().await.unwrap().is_empty());
    // The body that GET has is of unknown length.
    let stream_head = send(http.head(format!("{url}/echo/flood"))).await;
    assert_eq!(stream_head.status(), 200);
    assert!(!stream_head.headers().contains_key("content-length"));
}

#[tokio::test]
async fn the_host_header_follows_the_route_option() {
    for (route, is_upstream_host) in [("", true), ("host_header = \"client\"", false)] {
        let fleet = start(route).await;
        let response = fleet
            .get_with("web", "/echo/a", &[("host", "shop.example:81")])
            .await;
        assert_eq!(echoed(&response, "x-forwarded-host"), "shop.example:81");
        assert_eq!(
            echoed(&response, "host") != "shop.example:81",
            is_upstream_host,
            "{route}"
        );
        let url = fleet.running.url("web");
        let response = read(http2_client().get(format!("{url}/echo/a"))).await;
        assert_eq!(
            echoed(&response, "host") != url.replace("http://", ""),
            is_upstream_host,
            "{route}"
        );
    }
}

#[tokio::test]
async fn a_query_arrives_byte_for_byte() {
    let fleet = start("").await;
    for query in [
        "?",
        "?a=%2F%2f&b=a+b&c=%zz&&=&d",
        "?a=../..//x;y&b=%00&c=%2e%2e%252e",
        "?not_found=1&perPage=2&a[]=1&a[]=2&x='(~)*!",
    ] {
        let reply = send_raw(
            &fleet,
            &format!("GET /echo/a{query} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1,
        )
        .await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{query}: {reply}");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["uri"], format!("/a{query}"));
    }
}

#[tokio::test]
async fn etags_and_conditions_pass_unchanged() {
    let fleet = start("").await;
    for etag in ["W/\"b\"", "\"b\"", "*"] {
        let response = fleet
            .get_with("web", "/echo/weak", &[("if-none-match", etag)])
            .await;
        // The backend compares; a weak ETag stays weak.
        let expected = if etag == "W/\"b\"" { 304 } else { 200 };
        assert_eq!(
            (response.status.as_u16(), response.header("etag")),
            (expected, "W/\"b\"")
        );
    }
    let request = "GET /echo/weak HTTP/1.1\r\nhost: a\r\nif-none-match: W/\"b\"\r\n\r\n";
    let reply = send_raw(&fleet, &request.repeat(2), 2).await;
    assert_eq!(
        reply.matches("HTTP/1.1 304").count(),
        2,
        "a 304 has no body: {reply}"
    );
}

#[tokio::test]
async fn credentials_are_forwarded_only_if_the_route_names_them() {
    let headers = [
        ("authorization", "Bearer x"),
        ("cookie", "session=1"),
        ("x-api-key", "bffp_a_b"),
        ("proxy-authorization", "Basic x"),
    ];
    let forwarded = |fleet: TestFleet| async move {
        let response = fleet.get_with("web", "/echo/a", &headers).await;
        let back = fleet.get_with("web", "/echo/tagged", &[]).await;
        let arrived = headers.map(|(name, value)| echoed(&response, name) == value);
        (
            response.status.as_u16(),
            arrived,
            back.header("set-cookie").to_owned(),
        )
    };
    let none = [false; 4];
    // A credential that the gateway checks itself must be valid.
    assert_eq!(forwarded(start("").await).await.0, 401);
    let forwarding = start("forward_credentials = [\"authorization\", \"cookie\"]").await;
    let expected = (200, [true, true, false, false], "a=b".to_owned());
    assert_eq!(forwarded(forwarding).await, expected);
    let ada = start("").await;
    let bearer = ada.bearer("ada");
    let response = ada
        .get_with("web", "/echo/a", &[("authorization", &bearer), headers[1]])
        .await;
    let arrived = headers.map(|(name, _)| !echoed(&response, name).is_empty());
    assert_eq!((response.status.as_u16(), arrived), (200, none));
    assert_eq!(echoed(&response, "x-user-id"), "ada");
}

/// Reads up to the first blank line.
async fn read_head(client: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(20), client.read_u8());
        reply.push(byte.await.unwrap().unwrap());
    }
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test]
async fn expect_continue_is_answered_by_the_backend() {
    let fleet = start("").await;
    let request = |path: &str| {
        format!(
            "POST /echo/{path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 30000\r\n\r\n"
        )
    };
    let mut client = connect(&fleet).await;
    client.write_all(request("count").as_bytes()).await.unwrap();
    let reply = read_head(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 100"), "{reply}");
    client.write_all(&vec![1; 30_000]).await.unwrap();
    let reply = read_head(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let mut count = [0; 5];
    client.read_exact(&mut count).await.unwrap();
    assert_eq!(&count, b"30000");
    // The backend rejects the head, so no 100 (Continue) is sent.
    let mut client = connect(&fleet).await;
    client
        .write_all(request("refuse").as_bytes())
        .await
        .unwrap();
    let reply = read_head(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
}

#[tokio::test]
async fn trailers_are_not_forwarded() {
    let fleet = start("").await;
    let reply = send_raw(
        &fleet,
        "GET /echo/trailed HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n",
        1,
    )
    .await;
    assert!(
        reply.contains("abcd") && reply.ends_with("0\r\n\r\n"),
        "{reply}"
    );
    assert!(!reply.to_lowercase().contains("x-sum"), "{reply}");
    let headers = "POST /echo/count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                4\r\nabcd\r\n0\r\nx-sum: 1\r\n\r\n";
    let reply = send_raw(&fleet, headers, 1).await;
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.ends_with("\r\n4"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_stream_permit_is_held_to_the_end_of_the_body() {
    let fleet = start("[upstreams.order.bulkhead]\nmax_streams = 1").await;
    let url = format!("{}/echo/flood", fleet.running.url("web"));
    let mut stream = send(fleet.http.get(url)).await;
    stream.chunk().await.unwrap().unwrap();
    let rejected = fleet.get("web", "/echo/a").await;
    assert_eq!(
        (rejected.status.as_u16(), &rejected.body["code"]),
        (503, &"overloaded".into())
    );
    while stream.chunk().await.unwrap().is_some() {}
    let released = async {
        while fleet.get("web", "/echo/a").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), released)
        .await
        .unwrap();
}
