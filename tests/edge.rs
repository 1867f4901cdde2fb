//! The middleware in front of every route: request ids, limits and problem documents.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::TestFleet;

#[tokio::test]
async fn every_rejection_is_a_problem_document_with_a_request_id() {
    let fleet = TestFleet::start().await;
    let cases = [
        ("/nowhere", 404, "not_found"),
        ("/api/product-details/..%2Fp-1", 422, "validation_failed"),
        ("/api/search", 422, "validation_failed"),
        ("/api/search?q=a&limit=500", 422, "validation_failed"),
        ("/api/search?q=a&unknown=1", 422, "validation_failed"),
    ];
    for (path, status, code) in cases {
        let response = fleet
            .get_with("web", path, &[("x-request-id", "r-1")])
            .await;
        assert_eq!(
            (response.status.as_u16(), &response.body["code"]),
            (status, &code.into()),
            "{path}"
        );
        assert_eq!(
            response.header("content-type"),
            "application/problem+json",
            "{path}"
        );
        assert_eq!(
            (response.header("x-request-id"), &response.body["requestId"]),
            ("r-1", &"r-1".into())
        );
        let page = response.body["type"].as_str().unwrap();
        let page = &page[page.find("/errors/").unwrap()..];
        assert_eq!(fleet.get("web", page).await.status, 200, "{page}");
    }
    let not_allowed = fleet.post("web", "/api/home", &serde_json::json!({})).await;
    assert_eq!(
        (not_allowed.status.as_u16(), &not_allowed.body["code"]),
        (405, &"method_not_allowed".into())
    );
    assert!(not_allowed.header("allow").contains("GET"));
    for value in ["0", "-1", "1s", "x"] {
        let response = fleet
            .get_with("web", "/api/home", &[("request-timeout", value)])
            .await;
        assert_eq!(response.body["code"], "invalid_request", "{value}");
    }
}

#[tokio::test]
async fn malformed_and_oversized_heads_are_rejected() {
    let fleet = TestFleet::start().await;
    let long_field = "x".repeat(17 << 10);
    let [many_fields, most_fields] = [101, 300].map(|n| "x: 1\r\n".repeat(n));
    let cases = [
        ("GET /api/home HTTP/1.1\r\n".to_owned(), "400"),
        (
            "GET /api/home HTTP/1.1\r\nhost: a\r\nhost: b\r\n".to_owned(),
            "400",
        ),
        ("GET /api/home HTTP/1.1\r\nhost: a/b\r\n".to_owned(), "400"),
        (
            format!("GET /api/home HTTP/1.1\r\nhost: a\r\nx: {long_field}\r\n"),
            "431",
        ),
        (
            format!("GET /api/home HTTP/1.1\r\nhost: a\r\n{many_fields}"),
            "431",
        ),
        (
            format!("GET /api/home HTTP/1.1\r\nhost: a\r\n{most_fields}"),
            "431",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n", "x".repeat(70_000)),
            "414",
        ),
        ("GET /api/home HTTP/1.1\r\nhost: a\r\n".to_owned(), "200"),
    ];
    for (head, status) in cases {
        let response = send_raw(&fleet, &format!("{head}connection: close\r\n\r\n")).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {response:.200}"
        );
        // hyper rejects these itself, without a problem document.
        let rejected_by_hyper = status == "414" || head.lines().count() > 256;
        let problem = response.contains("application/problem+json");
        assert_eq!(
            problem,
            status != "200" && !rejected_by_hyper,
            "{status}: {response:.400}"
        );
    }
}

#[tokio::test]
async fn the_admin_port_serves_readiness_metrics_and_configuration() {
    let fleet = TestFleet::start().await;
    fleet.get("web", "/api/product-details/p-1").await;
    let admin = fleet.running.admin_url("web");
    let text = |path: &str| {
        let request = fleet.http.get(format!("{admin}{path}"));
        async move { crate::support::send(request).await.text().await.unwrap() }
    };
    assert_eq!(text("/readyz").await, "ready");
    let metrics = text("/metrics").await;
    assert!(metrics.contains("bff_sections_total"), "{metrics}");
    assert!(metrics.contains("http_server_request_duration_seconds"));
    assert!(text("/config").await.contains("[upstreams.product]"));
    assert_eq!(fleet.get("web", "/health").await.body["status"], "ok");
}

#[tokio::test]
async fn readiness_names_every_dependency_without_an_instance() {
    let fleet = TestFleet::start_with(|fleet| {
        // No name server listens there.
        let discovery = "kind = 'dns'\nname = 'nowhere.invalid'\nnameserver = '127.0.0.1:9'\nstart_timeout = '10ms'\n";
        let tables = ["auth.jwks", "upstreams.review", "upstreams.playback"];
        let tables = tables.map(|table| format!("[{table}.discovery]\n{discovery}"));
        fleet.overlays.insert("web".into(), tables.concat());
    })
    .await;
    let url = format!("{}/readyz", fleet.running.admin_url("web"));
    let ready = crate::support::send(fleet.http.get(url)).await;
    assert_eq!(ready.status(), 200);
    assert_eq!(
        ready.text().await.unwrap(),
        "ready, auth.jwks: no_instance, review: no_instance, playback: no_instance"
    );
}

async fn send_raw(fleet: &TestFleet, request: &str) -> String {
    let url = fleet.running.url("web");
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = connect(address).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // A server that did not read the whole request may reset the connection after the response.
    let _ = socket.read_to_end(&mut response).await;
    String::from_utf8_lossy(&response).into_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client that writes malformed requests"
)]
async fn connect(address: &str) -> tokio::net::TcpStream {
    tokio::net::TcpStream::connect(address).await.unwrap()
}
