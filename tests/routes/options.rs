//! What a route says of itself, each word by what it changes.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{dial, echo, echoed, raw};
use crate::support::{JsonResponse, TestFleet, instant, send};

const PASSED: &str = "/api/products/p-1";

/// A shop whose web passes on as shipped, but for this.
async fn fleet(overlay: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay.into());
    })
    .await
}

fn calls(fleet: &TestFleet, backend: Backend) -> u64 {
    fleet.running.mocks().stats(backend).calls
}

fn hurt(fleet: &TestFleet, backend: Backend, fault: Fault) {
    fleet.running.mocks().set_fault(backend, fault).unwrap();
}

fn told(response: &JsonResponse) -> (u16, &str) {
    let code = response.body["code"].as_str().unwrap_or_default();
    (response.status.as_u16(), code)
}

#[tokio::test]
async fn the_head_of_an_answer_comes_within_the_routes_time_and_no_other_routes() {
    let fleet = fleet("[routes.products]\ntimeout = \"300ms\"\nattempt_timeout = \"5s\"").await;
    for backend in [Backend::Product, Backend::Auth] {
        hurt(&fleet, backend, Fault::latency(Duration::from_millis(700)));
    }
    let began = instant();
    assert_eq!(told(&fleet.get("web", PASSED).await), (504, "deadline"));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    let keys = fleet.get("web", "/api/auth/jwks").await;
    assert_eq!(told(&keys), (200, ""));
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_the_route_says_and_another_is_made() {
    let fleet = fleet("[routes.products]\nattempt_timeout = \"150ms\"").await;
    hurt(&fleet, Backend::Product, Fault::mode(Mode::Hang).times(1));
    let began = instant();
    assert_eq!(told(&fleet.get("web", PASSED).await), (200, ""));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert_eq!(calls(&fleet, Backend::Product), 2);
}

#[tokio::test]
async fn a_route_without_retries_makes_none() {
    let fleet = fleet("[routes.products]\nretries = false").await;
    hurt(&fleet, Backend::Product, Fault::status(500).times(1));
    assert_eq!(fleet.get("web", PASSED).await.status, 500);
    assert_eq!(calls(&fleet, Backend::Product), 1);
}

#[tokio::test]
async fn what_may_be_repeated_is_kept_for_that_up_to_a_size() {
    let fleet = fleet("[routes.orders]\nretry_buffer_bytes = 2").await;
    fleet.fill_cart("ada").await;
    let ada = fleet.bearer("ada");
    let place = async |key: &str, body: &serde_json::Value| {
        fleet.running.mocks().clear_stats();
        hurt(&fleet, Backend::Order, Fault::status(500).times(1));
        let headers = [("authorization", ada.as_str()), ("idempotency-key", key)];
        let placed = fleet.post_with("web", "/api/orders", &headers, body).await;
        (placed.status.as_u16(), calls(&fleet, Backend::Order))
    };
    let long = json!({"items": [{"productId": "p-1", "quantity": 1}]});
    assert_eq!(place("k-1", &long).await, (500, 1));
    assert_eq!(place("k-2", &json!({})).await, (201, 2));
}

#[tokio::test]
async fn one_of_the_roles_is_enough() {
    let fleet = fleet("[routes.admin]\nroles = [\"AUDITOR\", \"ADMIN\"]").await;
    for (user, status) in [("root", 200), ("ada", 403)] {
        let bearer = fleet.bearer(user);
        let headers = [("authorization", bearer.as_str())];
        let response = fleet.get_with("web", "/api/admin/users", &headers).await;
        assert_eq!(response.status, status, "{user}");
    }
    let nobody = "[routes.admin]\nroles = [\"AUDITOR\"]";
    let fleet = self::fleet(nobody).await;
    let root = fleet.bearer("root");
    let headers = [("authorization", root.as_str())];
    let response = fleet.get_with("web", "/api/admin/users", &headers).await;
    assert_eq!(told(&response), (403, "forbidden"));
}

#[tokio::test]
async fn a_star_takes_every_kind_of_its_type() {
    let fleet = echo::fleet("content_types = [\"image/*\", \"text/plain\"]").await;
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
    // Nothing is of no type.
    assert_eq!(fleet.get("web", "/echo/a").await.status, 200);
    let empty = fleet
        .http
        .post(format!("{}/echo/count", fleet.running.url("web")));
    assert_eq!(send(empty).await.status(), 200);
}

#[tokio::test]
async fn a_proxy_that_is_trusted_is_believed_and_joins_those_before_it() {
    let trusting = "[inbound]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let said = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("forwarded", "for=203.0.113.9;proto=https"),
    ];
    for (config, believed) in [(trusting, true), ("", false)] {
        let fleet = echo::fleet(config).await;
        let response = fleet.get_with("web", "/echo/a", &said).await;
        let told = said.map(|(name, _)| echoed(&response, name));
        let [addresses, scheme, host, element] = &told;
        if believed {
            assert_eq!(addresses, "203.0.113.9, 127.0.0.1");
            assert_eq!((scheme.as_str(), host.as_str()), ("https", "shop.example"));
            let before = "for=203.0.113.9;proto=https, for=127.0.0.1;proto=http";
            assert!(element.starts_with(before), "{element}");
        } else {
            assert_eq!((addresses.as_str(), scheme.as_str()), ("127.0.0.1", "http"));
            assert!(!told.concat().contains("203.0.113.9"), "{told:?}");
            assert_ne!(host, "shop.example");
        }
    }
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_cut_and_its_place_is_free() {
    let fleet =
        echo::fleet("idle_timeout = \"300ms\"\n[upstreams.order.bulkhead]\nmax_streams = 1").await;
    let began = instant();
    let mut response = send(
        fleet
            .http
            .get(format!("{}/echo/silent", fleet.running.url("web"))),
    )
    .await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
    assert!(response.chunk().await.is_err(), "it is no end");
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(290) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(fleet.get("web", "/echo/a").await.status, 200);
}

/// How many streams the gateway bears is another number than how many a backend does.
#[tokio::test]
async fn one_stream_too_many_is_refused_at_the_edge() {
    let fleet = echo::fleet("[inbound.load_shedding]\nmax_streams = 1").await;
    let url = format!("{}/echo/flood", fleet.running.url("web"));
    let mut flood = send(fleet.http.get(url)).await;
    flood.chunk().await.unwrap().unwrap();
    let refused = fleet.get("web", "/echo/a").await;
    assert_eq!(told(&refused), (503, "overloaded"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(fleet.get("web", "/api/home").await.status, 200);
    drop(flood);
    let began = instant();
    while fleet.get("web", "/echo/a").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(2), "it hung up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const WEBSOCKET: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n";

#[tokio::test]
async fn a_backend_that_refuses_a_websocket_has_the_word() {
    let fleet = echo::fleet("websocket = true").await;
    let ask =
        |path: &str, more: &str| format!("GET /echo/{path} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    let both = ask("refuse", WEBSOCKET) + &ask("a", "");
    let said = raw(&fleet, &both).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    // The connection is one as before.
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1, "{said}");
    let asked = &said[said.find("HTTP/1.1 200").unwrap()..];
    assert!(!asked.contains("upgrade"), "{said}");
    // And nobody is given a WebSocket who asked for none.
    let unasked = fleet.get("web", "/echo/tunnel").await;
    assert_eq!(unasked.status.as_u16() / 100, 5);
    assert!(!unasked.body["code"].is_null());
}

/// Some clients offer HTTP/2 with the first request of a connection. It is not taken, and nothing else follows.
#[tokio::test]
async fn a_protocol_that_is_not_known_is_not_switched_to_and_the_request_is_answered() {
    let fleet = echo::fleet("").await;
    for (version, offer) in [
        (
            "1.1",
            "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        ),
        // Nobody switches from this version, nor where the neighbour is not told (RFC 9110 §7.8).
        ("1.0", WEBSOCKET),
        ("1.1", "upgrade: websocket\r\n"),
    ] {
        let ask = format!("GET /echo/a HTTP/{version}\r\nhost: a\r\n{offer}\r\n");
        let said = raw(&fleet, &ask).await;
        assert!(said.starts_with(&format!("HTTP/{version} 200")), "{said}");
        let (_, body) = said.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(body["headers"][name].is_null(), "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn options_goes_on_as_often_as_it_may() {
    let fleet = echo::fleet("[routes.all]\nprefixes = [\"/all\"]\nupstream = \"order\"\npublic = true\nmethods = [\"GET\", \"OPTIONS\"]").await;
    let ask = async |left: &str| {
        let url = format!("{}/all/a", fleet.running.url("web"));
        let request = fleet.http.request(Method::OPTIONS, url);
        send(request.header("max-forwards", left)).await
    };
    for (left, then) in [("5", "4"), ("1", "0"), ("often", "often")] {
        let response = ask(left).await;
        assert_eq!(response.status(), 200);
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["headers"]["max-forwards"], then);
        assert_eq!(body["method"], "OPTIONS");
    }
    let here = ask("0").await;
    assert_eq!(
        (here.status().as_u16(), &here.headers()["allow"]),
        (204, &"GET, OPTIONS, HEAD".parse().unwrap())
    );
    // Of other methods it says nothing (RFC 9110 §7.6.2).
    let other = fleet
        .get_with("web", "/all/a", &[("max-forwards", "0")])
        .await;
    assert_eq!(echoed(&other, "max-forwards"), "0");
}

/// What the backend itself has to choose by when it has too much to do.
#[tokio::test]
async fn a_backend_reads_how_urgent_it_is_and_for_which_clients() {
    let fleet = echo::fleet("").await;
    for (said, told) in [
        (&[][..], "u=3"),
        (&[("priority", "u=6, i")], "u=6"),
        (&[("priority", "u=0")], "u=3"),
    ] {
        let passed = fleet.get_with("web", "/echo/a", said).await;
        assert_eq!(echoed(&passed, "priority"), told, "{said:?}");
        let home = fleet.get_with("web", "/api/home", said).await;
        assert_eq!(home.status, 200);
        let seen = fleet.running.mocks().stats(Backend::Product).last_headers;
        assert_eq!(
            (seen["priority"].as_str(), seen["x-client"].as_str()),
            (told, "web")
        );
    }
}

/// A stream of uploads whose backend answers before it has all: the answer is told, and the rest is not waited for.
#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_told_at_once() {
    let fleet = echo::fleet("max_body_bytes = 1000000").await;
    let mut client = dial(&fleet).await;
    let head = "POST /echo/refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\nabc";
    let began = instant();
    client.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 403");
    assert!(began.elapsed() < Duration::from_millis(800));
}
