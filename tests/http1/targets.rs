//! The request target and `Host` (RFC 9112 §3.2), and transfer codings (§6.1).

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

use super::{calls, connect, exchange, read_to_end, start};
use crate::routes::echo;

#[tokio::test]
async fn a_malformed_target_or_host_is_rejected() {
    let fleet = start("").await;
    for (line, hosts, status) in [
        ("GET /health HTTP/1.1", &["a"][..], 200),
        ("GET http://other.example/health HTTP/1.1", &["a"], 200),
        (
            "GET HTTPS://other.example:8443/health HTTP/1.1",
            &["a"],
            200,
        ),
        ("GET /health HTTP/1.0", &[], 200),
        ("GET http://other.example/health HTTP/1.0", &[], 200),
        ("OPTIONS * HTTP/1.1", &["a"], 204),
        ("CONNECT other.example:443 HTTP/1.1", &["a"], 404),
        ("CONNECT other.example:443 HTTP/1.1", &[], 400),
        ("GET /health HTTP/1.1", &[], 400),
        ("GET http://other.example/health HTTP/1.1", &[], 400),
        ("GET http://other.example/health HTTP/1.1", &["a", "a"], 400),
        ("GET http://other.example/health HTTP/1.1", &["a b"], 400),
        ("GET http://user@other.example/health HTTP/1.1", &["a"], 400),
        ("GET http://u:p@other.example/health HTTP/1.1", &["a"], 400),
        ("GET http://other.example:x/health HTTP/1.1", &["a"], 400),
        ("GET http:///health HTTP/1.1", &["a"], 400),
        ("GET ftp://other.example/health HTTP/1.1", &["a"], 400),
        ("GET other.example HTTP/1.1", &["a"], 400),
        ("GET other.example:80 HTTP/1.1", &["a"], 400),
        ("POST other.example:80 HTTP/1.1", &["a"], 400),
        ("GET * HTTP/1.1", &["a"], 400),
        ("POST * HTTP/1.1", &["a"], 400),
        ("OPTIONS * HTTP/1.1", &[], 400),
        ("GET /health HTTP/1.1", &["a", "b"], 400),
        ("GET /health HTTP/1.1", &[""], 400),
        ("GET /health HTTP/1.1", &["a/b"], 400),
        ("GET /health HTTP/1.1", &["user@a"], 400),
        ("GET /health HTTP/1.1", &["a:70000"], 400),
        ("GET /health HTTP/1.1", &["a:b"], 400),
        ("GET /health HTTP/1.0", &["a", "b"], 400),
    ] {
        let hosts = hosts.iter().map(|host| format!("host: {host}\r\n"));
        let hosts = hosts.collect::<Vec<_>>().concat();
        let request = format!("{line}\r\n{hosts}connection: close\r\n\r\n");
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), status, "{request}{response:?}");
        let closes = response.header("connection") == "close";
        assert!(closes || line.ends_with("1.0"), "{request}{response:?}");
    }
}

#[tokio::test]
async fn the_admin_port_rejects_them_too() {
    let fleet = start("").await;
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\nhost: a", 200),
        ("GET http://other.example/livez HTTP/1.1\r\nhost: a", 200),
        ("GET /livez HTTP/1.1", 400),
        ("GET http://user@a/livez HTTP/1.1\r\nhost: a", 400),
        ("GET a:80 HTTP/1.1\r\nhost: a", 400),
        ("GET /livez HTTP/1.1\r\nhost: a\r\nhost: a", 400),
        (
            "POST /cache/purge HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked",
            501,
        ),
    ] {
        let mut client = connect(&fleet.running.admin_url("web")).await;
        let request = format!("{head}\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(&mut client).await;
        assert_eq!(response.status(), status, "{head}: {response:?}");
    }
}

#[tokio::test]
async fn the_authority_of_the_target_replaces_host() {
    let fleet = echo::start("host_header = \"client\"").await;
    let request =
        "GET http://other.example/echo/a?b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let response = exchange(&fleet, request).await.0;
    for expected in [
        r#""uri":"/a?b""#,
        r#""host":"other.example""#,
        r#""x-forwarded-host":"other.example""#,
    ] {
        assert!(response.contains(expected), "{expected}: {response}");
    }
    assert!(response.contains(r#"host=\"other.example\""#), "{response}");
}

#[tokio::test]
async fn an_http2_request_has_one_authority() {
    let fleet = start("").await;
    for (uri, host, status) in [
        ("http://a/health", None, 200),
        ("http://a/health", Some("A:80"), 200),
        ("http://a/health", Some("b"), 400),
        ("http://a:81/health", Some("a"), 400),
        ("http://user@a/health", None, 400),
    ] {
        let io = TokioIo::new(connect(&fleet.running.url("web")).await);
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{uri} {host:?}");
    }
}

#[tokio::test]
async fn a_transfer_coding_other_than_one_chunked_is_not_forwarded() {
    let fleet = start("").await;
    let ada = fleet.bearer("ada");
    // Fetches the issuer's keys.
    let session = [("authorization", ada.as_str())];
    assert_eq!(
        fleet.get_with("web", "/api/cart", &session).await.status,
        200
    );
    fleet.running.mocks().clear_stats();
    for (version, framing, status) in [
        ("1.1", "transfer-encoding: gzip, chunked", 501),
        ("1.1", "transfer-encoding: foo, chunked", 501),
        (
            "1.1",
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
            501,
        ),
        ("1.1", "transfer-encoding: identity, chunked", 501),
        ("1.1", "transfer-encoding: chunked, chunked", 400),
        (
            "1.1",
            "transfer-encoding: chunked\r\ntransfer-encoding: Chunked",
            400,
        ),
        ("1.1", "transfer-encoding: chunked, gzip", 400),
        ("1.1", "transfer-encoding: gzip", 400),
        ("1.1", "transfer-encoding: chunked;a=b", 400),
        ("1.1", "transfer-encoding:", 400),
        ("1.0", "transfer-encoding: chunked", 400),
    ] {
        for target in ["/api/orders", "/graphql"] {
            let request = format!(
                "POST {target} HTTP/{version}\r\nhost: a\r\nauthorization: {ada}\r\nidempotency-key: k\r\n\
                 content-type: application/json\r\n{framing}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            );
            let response = exchange(&fleet, &request).await;
            assert_eq!(response.status(), status, "{framing}: {response:?}");
            assert_eq!(response.header("connection"), "close", "{framing}");
        }
    }
    assert_eq!(calls(&fleet.running), 0);
}

/// RFC 9112 §6.3: the length counts for nothing, and the connection ends.
#[tokio::test]
async fn a_chunked_body_with_a_length_ends_the_connection() {
    let fleet = echo::start("").await;
    for framing in [
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 3",
    ] {
        let request = format!(
            "POST /echo/count HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n2\r\nab\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"
        );
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.header("connection"), "close", "{response:?}");
        assert!(response.0.ends_with("\r\n\r\n2"), "{response:?}");
    }
}
