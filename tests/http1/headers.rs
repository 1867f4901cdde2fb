//! The headers that stand on every response: CORS, and `Strict-Transport-Security`.

use super::{exchange, start};

const ORIGIN: &str = "https://shop.example";

#[tokio::test]
async fn cors_headers_are_on_every_response() {
    let config = format!(
        "[inbound]\ncors_origins = [\"{ORIGIN}\"]\ndeadline = \"300ms\"\n\
         [inbound.rate_limits.policies.home]\npaths = [\"/api/home\"]\nlimit = 1\nperiod = \"1h\"\n"
    );
    let fleet = start(&config).await;
    assert_eq!(fleet.get("web", "/api/home").await.status, 200);
    let long = format!("x: {}", "x".repeat(17 << 10));
    let json = "host: a\r\ncontent-type: application/json";
    for (line, headers, status) in [
        ("GET /health", "host: a", 200),
        ("GET /api/products/p-1", "host: a", 200),
        ("GET /health", "", 400),
        ("GET /health", "host: a b", 400),
        ("GET user@a", "host: a", 400),
        ("OPTIONS /health", "", 400),
        ("GET /api/home", "host: a\r\nrequest-timeout: x", 400),
        ("GET /api/orders", "host: a", 401),
        ("GET /nowhere", "host: a", 404),
        ("POST /health", "host: a", 405),
        ("GET /api/home", "host: a\r\naccept-encoding: *;q=0", 406),
        (
            "POST /graphql",
            &format!("{json}\r\ncontent-length: 9"),
            408,
        ),
        (
            "POST /graphql",
            &format!("{json}\r\ncontent-length: 4000000"),
            413,
        ),
        (
            "POST /api/auth/token",
            &format!("{json}\r\ncontent-length: 4000000"),
            413,
        ),
        ("POST /graphql", "host: a", 415),
        ("GET /api/home", "host: a", 429),
        ("GET /health", &format!("host: a\r\n{long}"), 431),
        (
            "POST /graphql",
            "host: a\r\ntransfer-encoding: foo, chunked",
            501,
        ),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\norigin: {ORIGIN}\r\nconnection: close\r\n{headers}\r\n\r\n"
        );
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), status, "{line}: {response:?}");
        let allowed = response.header("access-control-allow-origin");
        assert_eq!(allowed, ORIGIN, "{line}: {response:?}");
        let exposed = response.header("access-control-expose-headers");
        assert!(exposed.contains("x-request-id"), "{line}: {response:?}");
        assert!(response.header("vary").contains("origin"), "{response:?}");
        // Another origin gets none.
        let response = exchange(&fleet, &request.replace("shop", "other")).await;
        assert_eq!(response.header("access-control-allow-origin"), "", "{line}");
    }
}

#[tokio::test]
async fn only_a_preflight_request_is_answered_without_its_route() {
    let config = "[inbound]\ncors_origins = [\"HTTPS://Shop.Example:443\"]\n";
    let fleet = start(config).await;
    let origin = format!("origin: {ORIGIN}\r\n");
    let requested = "access-control-request-method: PUT\r\n";
    for (headers, status, origin, methods) in [
        (format!("{origin}{requested}"), 200, ORIGIN, true),
        (origin.clone(), 405, ORIGIN, false),
        (requested.to_owned(), 405, "", false),
        (String::new(), 405, "", false),
    ] {
        let request =
            format!("OPTIONS /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        let response = exchange(&fleet, &request).await;
        assert_eq!(response.status(), status, "{headers}: {response:?}");
        assert_eq!(response.header("access-control-allow-origin"), origin);
        let allowed = response.header("access-control-allow-methods");
        assert_eq!(allowed.contains("PUT"), methods, "{response:?}");
    }
}

#[tokio::test]
async fn strict_transport_security_needs_a_trusted_proxy_that_reports_https() {
    let get = async |config: &str, path: &str, headers: &str| {
        let fleet = start(config).await;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n\r\n");
        let response = exchange(&fleet, &request).await;
        response.header("strict-transport-security")
    };
    let trusted = "[inbound]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let https = "x-forwarded-proto: https\r\n";
    for path in ["/health", "/api/products/p-1", "/nowhere", "/api/orders"] {
        assert_eq!(
            get(trusted, path, https).await,
            "max-age=31536000",
            "{path}"
        );
        assert_eq!(get("", path, https).await, "", "{path}");
    }
    for (config, headers, expected) in [
        (trusted.to_owned(), "", ""),
        (trusted.to_owned(), "x-forwarded-proto: http\r\n", ""),
        (
            trusted.to_owned(),
            "forwarded: for=192.0.2.1;proto=https\r\n",
            "max-age=31536000",
        ),
        (
            trusted.to_owned(),
            "forwarded: for=192.0.2.1;proto=http\r\n",
            "",
        ),
        (
            format!("{trusted}hsts_max_age = \"1h\""),
            https,
            "max-age=3600",
        ),
        (format!("{trusted}hsts_max_age = \"0s\""), https, ""),
        (
            "[inbound]\ntrusted_proxies = [\"10.0.0.0/8\"]\n".to_owned(),
            https,
            "",
        ),
    ] {
        assert_eq!(
            get(&config, "/health", headers).await,
            expected,
            "{config}{headers}"
        );
    }
}
