//! Each option of a proxy route, by its effect.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{connect, echo, echoed, send_raw};
use crate::sim_fleet::SimFleet;
use crate::support::{JsonResponse, TestFleet, instant, send};

const PROXIED: &str = "/api/products/p-1";

/// Starts web with this configuration.
async fn start(overlay: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay.into());
    })
    .await
}

fn calls(fleet: &TestFleet, backend: Backend) -> u64 {
    fleet.running.mocks().stats(backend).calls
}

fn set_fault(fleet: &TestFleet, backend: Backend, fault: Fault) {
    fleet.running.mocks().set_fault(backend, fault).unwrap();
}

fn status_and_code(response: &JsonResponse) -> (u16, &str) {
    let code = response.body["code"].as_str().unwrap_or_default();
    (response.status.as_u16(), code)
}

#[tokio::test]
async fn a_route_timeout_applies_to_that_route_only() {
    let config = "[routes.products]\ntimeout = \"300ms\"\nattempt_timeout = \"5s\"\n";
    let fleet = SimFleet::start_web(config);
    for backend in [Backend::Product, Backend::Auth] {
        let latency = Fault::latency(Duration::from_millis(700));
        fleet.mocks.set_fault(backend, latency).unwrap();
    }
    let started = Instant::now();
    assert_eq!(
        status_and_code(&fleet.get("web", PROXIED).await),
        (504, "deadline")
    );
    // Before the response of the backend.
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(700), "{elapsed:?}");
    let keys = fleet.get("web", "/api/auth/jwks").await;
    assert_eq!(status_and_code(&keys), (200, ""));
}

#[tokio::test]
async fn an_attempt_timeout_leads_to_a_retry() {
    let fleet = SimFleet::start_web("[routes.products]\nattempt_timeout = \"150ms\"\n");
    let hang = Fault::mode(Mode::Hang).times(1);
    fleet.mocks.set_fault(Backend::Product, hang).unwrap();
    let started = Instant::now();
    assert_eq!(status_and_code(&fleet.get("web", PROXIED).await), (200, ""));
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    assert_eq!(fleet.mocks.stats(Backend::Product).calls, 2);
}

#[tokio::test]
async fn a_route_without_retries_makes_none() {
    let fleet = start("[routes.products]\nretries = false").await;
    set_fault(&fleet, Backend::Product, Fault::status(500).times(1));
    assert_eq!(fleet.get("web", PROXIED).await.status, 500);
    assert_eq!(calls(&fleet, Backend::Product), 1);
}

#[tokio::test]
async fn only_bodies_within_the_retry_buffer_are_retried() {
    let fleet = start("[routes.orders]\nretry_buffer_bytes = 2").await;
    fleet.fill_cart("ada").await;
    let ada = fleet.bearer("ada");
    let place = async |key: &str, body: &serde_json::Value| {
        fleet.running.mocks().clear_stats();
        set_fault(&fleet, Backend::Order, Fault::status(500).times(1));
        let headers = [("authorization", ada.as_str()), ("idempotency-key", key)];
        let placed = fleet.post_with("web", "/api/orders", &headers, body).await;
        (placed.status.as_u16(), calls(&fleet, Backend::Order))
    };
    let long = json!({"items": [{"productId": "p-1", "quantity": 1}]});
    assert_eq!(place("k-1", &long).await, (500, 1));
    assert_eq!(place("k-2", &json!({})).await, (201, 2));
}

#[tokio::test]
async fn any_of_the_roles_is_sufficient() {
    let fleet = start("[routes.admin]\nroles = [\"AUDITOR\", \"ADMIN\"]").await;
    for (user, status) in [("root", 200), ("ada", 403)] {
        let bearer = fleet.bearer(user);
        let headers = [("authorization", bearer.as_str())];
        let response = fleet.get_with("web", "/api/admin/users", &headers).await;
        assert_eq!(response.status, status, "{user}");
    }
    let config = "[routes.admin]\nroles = [\"AUDITOR\"]";
    let fleet = start(config).await;
    let root = fleet.bearer("root");
    let headers = [("authorization", root.as_str())];
    let response = fleet.get_with("web", "/api/admin/users", &headers).await;
    assert_eq!(status_and_code(&response), (403, "forbidden"));
}

#[tokio::test]
async fn a_media_range_accepts_every_subtype() {
    let fleet = echo::start("content_types = [\"image/*\", \"text/plain\"]").await;
    for (media, status) in [
        ("image/png", 200),
        ("IMAGE/SVG+xml; charset=utf-8", 200),
        ("text/plain", 200),
        ("text/html", 415),
        ("imagery/png", 415),
        ("image", 415),
        ("", 415),
    ] {
        let url = format!("{}/echo/count", fleet.running.url("web"));
        let request = fleet.http.post(url).header("content-type", media);
        assert_eq!(send(request.body("a")).await.status(), status, "{media}");
    }
    // A request without a body needs no media type.
    assert_eq!(fleet.get("web", "/echo/a").await.status, 200);
    let empty = fleet
        .http
        .post(format!("{}/echo/count", fleet.running.url("web")));
    assert_eq!(send(empty).await.status(), 200);
}

#[tokio::test]
async fn forwarded_headers_of_a_trusted_proxy_are_extended() {
    let trusted = "[inbound]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let headers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("forwarded", "for=203.0.113.9;proto=https"),
    ];
    for (config, is_trusted) in [(trusted, true), ("", false)] {
        let fleet = echo::start(config).await;
        let response = fleet.get_with("web", "/echo/a", &headers).await;
        let forwarded = headers.map(|(name, _)| echoed(&response, name));
        let [addresses, scheme, host, element] = &forwarded;
        if is_trusted {
            assert_eq!(addresses, "203.0.113.9, 127.0.0.1");
            assert_eq!((scheme.as_str(), host.as_str()), ("https", "shop.example"));
            let expected = "for=203.0.113.9;proto=https, for=127.0.0.1;proto=http";
            assert!(element.starts_with(expected), "{element}");
        } else {
            assert_eq!((addresses.as_str(), scheme.as_str()), ("127.0.0.1", "http"));
            assert!(!forwarded.concat().contains("203.0.113.9"), "{forwarded:?}");
            assert_ne!(host, "shop.example");
        }
    }
}

#[tokio::test]
async fn an_idle_response_is_aborted_and_releases_its_permit() {
    let fleet =
        echo::start("idle_timeout = \"300ms\"\n[upstreams.order.bulkhead]\nmax_streams = 1").await;
    let started = instant();
    let mut response = send(
        fleet
            .http
            .get(format!("{}/echo/silent", fleet.running.url("web"))),
    )
    .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
    // Without the timeout, the backend would never end the response.
    let end = timeout(Duration::from_secs(20), response.chunk()).await;
    assert!(end.unwrap().is_err(), "the response is incomplete");
    assert!(started.elapsed() >= Duration::from_millis(290));
    assert_eq!(fleet.get("web", "/echo/a").await.status, 200);
}

/// The gateway's stream limit is independent of a backend's.
#[tokio::test]
async fn the_gateway_limits_the_number_of_streams() {
    let fleet = echo::start("[inbound.load_shedding]\nmax_streams = 1").await;
    let url = format!("{}/echo/flood", fleet.running.url("web"));
    let mut stream = send(fleet.http.get(url)).await;
    stream.chunk().await.unwrap().unwrap();
    let rejected = fleet.get("web", "/echo/a").await;
    assert_eq!(status_and_code(&rejected), (503, "overloaded"));
    assert!(!rejected.header("retry-after").is_empty());
    assert_eq!(fleet.get("web", "/api/home").await.status, 200);
    drop(stream);
    // The shipped write timeout would release the permit after 30 s.
    let released = async {
        while fleet.get("web", "/echo/a").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), released).await.unwrap();
}

const WEBSOCKET: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n";

#[tokio::test]
async fn a_backend_may_reject_a_websocket() {
    let fleet = echo::start("websocket = true").await;
    let request =
        |path: &str, more: &str| format!("GET /echo/{path} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    let requests = request("refuse", WEBSOCKET) + &request("a", "");
    let reply = send_raw(&fleet, &requests, 2).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    // The connection is still usable.
    assert_eq!(reply.matches("HTTP/1.1 200").count(), 1, "{reply}");
    let echo_response = &reply[reply.find("HTTP/1.1 200").unwrap()..];
    assert!(!echo_response.contains("upgrade"), "{reply}");
    // A client that requested no WebSocket gets none.
    let without_upgrade = fleet.get("web", "/echo/tunnel").await;
    assert_eq!(without_upgrade.status.as_u16() / 100, 5);
    assert!(!without_upgrade.body["code"].is_null());
}

/// Some clients offer h2c with the first request of a connection. The gateway ignores the offer.
#[tokio::test]
async fn unknown_upgrades_are_ignored() {
    let fleet = echo::start("").await;
    for (version, headers) in [
        (
            "1.1",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        ),
        // HTTP/1.0 has no upgrade, and an upgrade needs the `Connection` field (RFC 9110 §7.8).
        ("1.0", WEBSOCKET),
        ("1.1", "upgrade: websocket\r\n"),
    ] {
        let request = format!("GET /echo/a HTTP/{version}\r\nhost: a\r\n{headers}\r\n");
        let reply = send_raw(&fleet, &request, 1).await;
        assert!(reply.starts_with(&format!("HTTP/{version} 200")), "{reply}");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(body["headers"][name].is_null(), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn max_forwards_limits_options() {
    let fleet = echo::start("[routes.all]\nprefixes = [\"/all\"]\nupstream = \"order\"\nallow_anonymous = true\nmethods = [\"GET\", \"OPTIONS\"]").await;
    let request = async |max_forwards: &str| {
        let url = format!("{}/all/a", fleet.running.url("web"));
        let request = fleet.http.request(Method::OPTIONS, url);
        send(request.header("max-forwards", max_forwards)).await
    };
    for (max_forwards, forwarded) in [("5", "4"), ("1", "0"), ("often", "often")] {
        let response = request(max_forwards).await;
        assert_eq!(response.status(), 200);
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["headers"]["max-forwards"], forwarded);
        assert_eq!(body["method"], "OPTIONS");
    }
    let own = request("0").await;
    assert_eq!(
        (own.status().as_u16(), &own.headers()["allow"]),
        (204, &"GET, OPTIONS, HEAD".parse().unwrap())
    );
    // Max-Forwards applies to no other method here (RFC 9110 §7.6.2).
    let other = fleet
        .get_with("web", "/all/a", &[("max-forwards", "0")])
        .await;
    assert_eq!(echoed(&other, "max-forwards"), "0");
}

/// An overloaded backend can use the priority and the client to choose the requests that it serves.
#[tokio::test]
async fn backends_get_the_priority_and_the_client() {
    let fleet = echo::start("").await;
    for (headers, expected) in [
        (&[][..], "u=3"),
        (&[("priority", "u=6, i")], "u=6"),
        (&[("priority", "u=0")], "u=3"),
    ] {
        let proxied = fleet.get_with("web", "/echo/a", headers).await;
        assert_eq!(echoed(&proxied, "priority"), expected, "{headers:?}");
        let home = fleet.get_with("web", "/api/home", headers).await;
        assert_eq!(home.status, 200);
        let received = fleet.running.mocks().stats(Backend::Product).last_headers;
        assert_eq!(
            (received["priority"].as_str(), received["x-client"].as_str()),
            (expected, "web")
        );
    }
}

/// The gateway does not wait for the rest of an upload once the backend has responded.
#[tokio::test]
async fn a_response_before_the_end_of_the_request_body_is_forwarded_at_once() {
    let long = "max_body_bytes = 1000000\ntimeout = \"120s\"\nidle_timeout = \"120s\"";
    let fleet = echo::start(long).await;
    let mut client = connect(&fleet).await;
    let head = "POST /echo/refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\nabc";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    let read = client.read_exact(&mut status);
    timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 403");
}
