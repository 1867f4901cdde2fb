//! Proxy routes: forwarded requests and responses, and the requests that the gateway must reject.

use std::time::Duration;

use serde_json::json;
use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{JsonResponse, TestFleet};

mod client_disconnect;
pub(crate) mod echo;
mod header_semantics;
mod http_cache;
mod options;
mod response_fields;
mod streams;
mod tls;

#[tokio::test]
async fn proxy_routes_return_the_backends_responses() {
    let fleet = TestFleet::start().await;
    let (ada, root) = (fleet.bearer("ada"), fleet.bearer("root"));
    let get_as = async |path: &str, bearer: &str| {
        let headers = [("authorization", bearer)];
        let headers = if bearer.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        fleet.get_with("web", path, headers).await
    };
    for (path, bearer, status) in [
        ("/api/products/p-1", "", 200),
        ("/api/products/p-0", "", 404),
        ("/api/categories", "", 200),
        ("/api/users/ada", "", 401),
        ("/api/users/ada", &ada, 200),
        ("/api/users/ben", &ada, 403),
        ("/api/cart", &ada, 200),
        ("/api/orders", &ada, 200),
        ("/api/admin/users", &ada, 403),
        ("/api/admin/users", "", 401),
        ("/api/admin/users", &root, 200),
        ("/api/auth/.well-known/openid-configuration", "", 200),
        ("/api/unknown", "", 404),
        // A screen's path takes precedence over a route's prefix.
        ("/api/products/p-1/playback", "", 200),
    ] {
        let response = get_as(path, bearer).await;
        assert_eq!(response.status, status, "{path}: {}", response.body);
    }
    let screen = get_as("/api/products/p-1/playback", "").await;
    assert!(screen.body["_meta"].is_object());
    let product = get_as("/api/products/p-1", "").await;
    assert!(product.body.get("_meta").is_none() && product.body["id"] == "p-1");
    let rejected = get_as("/api/admin/users", &ada).await;
    assert_eq!(rejected.body["code"], "forbidden");
    assert_eq!(rejected.header("content-type"), "application/problem+json");
    let not_allowed = fleet.post("web", "/api/products/p-1", &json!({})).await;
    assert_eq!(
        (not_allowed.status.as_u16(), not_allowed.header("allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test]
async fn the_v1_format_is_converted_both_ways() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let v1 = [("x-api-version", "v1"), ("authorization", ada.as_str())];
    let latest = fleet.get_with("web", "/api/products/p-1", &v1[1..]).await;
    let v1_response = fleet.get_with("web", "/api/products/p-1", &v1).await;
    assert_eq!(
        latest.body["runtimeMinutes"],
        v1_response.body["runtime_minutes"]
    );
    assert!(
        v1_response.body.get("runtimeMinutes").is_none(),
        "{}",
        v1_response.body
    );
    for response in [&latest, &v1_response] {
        assert!(
            response
                .header("vary")
                .to_lowercase()
                .contains("x-api-version")
        );
    }
    let address = json!({"name": "Ada", "street": "Mole 1", "city": "Kiel", "postal_code": "24103", "country": "DE"});
    let created = fleet
        .post_with("web", "/api/users/ada/addresses", &v1, &address)
        .await;
    assert_eq!(
        (created.status.as_u16(), &created.body["postal_code"]),
        (201, &"24103".into())
    );
    let stored = fleet
        .get_with("web", "/api/users/ada/addresses", &v1[1..])
        .await;
    assert!(
        stored.body.to_string().contains("\"postalCode\":\"24103\""),
        "{}",
        stored.body
    );
    let unknown = [("x-api-version", "v9")];
    let rejected = fleet.get_with("web", "/api/products/p-1", &unknown).await;
    assert_eq!(
        (rejected.status.as_u16(), &rejected.body["code"]),
        (400, &"invalid_request".into())
    );
    let truncated = (fleet.http.post(format!(
        "{}/api/users/ada/addresses",
        fleet.running.url("web")
    )))
    .header("authorization", &ada)
    .header("x-api-version", "v1")
    .header("content-type", "application/json")
    .body("{\"postal_code\":");
    assert_eq!(crate::support::send(truncated).await.status(), 400);
}

#[tokio::test]
async fn only_safe_requests_are_retried() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let calls = |backend| fleet.running.mocks().stats(backend).calls;
    let once = Fault::status(500).times(1);
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, once.clone())
        .unwrap();
    assert_eq!(fleet.get("web", "/api/products/p-1").await.status, 200);
    assert_eq!(calls(Backend::Product), 2);
    fleet
        .running
        .mocks()
        .set_fault(Backend::Order, once.clone())
        .unwrap();
    let bearer = ("authorization", ada.as_str());
    let without_key = fleet
        .post_with("web", "/api/orders", &[bearer], &json!({}))
        .await;
    assert_eq!(
        (without_key.status.as_u16(), calls(Backend::Order)),
        (500, 1),
        "a write without a key is not retried"
    );
    fleet.fill_cart("ada").await;
    fleet.running.mocks().clear_stats();
    fleet
        .running
        .mocks()
        .set_fault(Backend::Order, once)
        .unwrap();
    let with_key = [bearer, ("idempotency-key", "k-1")];
    let placed = fleet
        .post_with("web", "/api/orders", &with_key, &json!({}))
        .await;
    assert_eq!(
        (placed.status.as_u16(), calls(Backend::Order)),
        (201, 2),
        "{}",
        placed.body
    );
}

#[tokio::test]
async fn a_backend_without_a_response_gives_a_problem_document() {
    let fleet = TestFleet::start().await;
    for (fault, status, code) in [
        (Fault::mode(Mode::Reset), 503, "unavailable"),
        (Fault::mode(Mode::Hang), 504, "deadline"),
    ] {
        fleet
            .running
            .mocks()
            .set_fault(Backend::Product, fault)
            .unwrap();
        let response = fleet.get("web", "/api/products/p-1").await;
        assert_eq!(
            (response.status.as_u16(), &response.body["code"]),
            (status, &code.into())
        );
        fleet.running.mocks().clear_faults(None);
    }
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, Fault::mode(Mode::Reset))
        .unwrap();
    let mut last = fleet.get("web", "/api/products/p-1").await;
    for _ in 0..5 {
        last = fleet.get("web", "/api/products/p-1").await;
    }
    assert_eq!(last.body["code"], "circuit_open");
    assert!(!last.header("retry-after").is_empty());
}

#[tokio::test]
async fn ambiguous_paths_are_rejected() {
    let fleet = TestFleet::start().await;
    for path in [
        "/api/products/..",
        "/api/products/../users/ada",
        "/api/products/%2e%2e/users/ada",
        "/api/products/.%2E/x",
        "/api/products/..;x/y",
        "/api/products/./p-1",
        "/api/products//p-1",
        "/api/products/a%2Fb",
        "/api/products/a%5Cb",
        "/api/products/a\\b",
        "/api/products/%00",
        "/api/products/%252e%252e/x",
        "/api/products/%70-1",
        "/api/products/%zz",
    ] {
        let reply = send_raw(
            &fleet,
            &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1,
        )
        .await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{path}: {reply}");
        let calls = Backend::ALL.map(|b| fleet.running.mocks().stats(b).calls);
        assert_eq!(calls.iter().sum::<u64>(), 0, "{path} reached a backend");
    }
}

#[tokio::test]
async fn ambiguous_framing_is_rejected() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    for framing in [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 4, 5",
        "content-length: +4",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "x: a\r\n folded: b\r\ncontent-length: x",
    ] {
        let head = format!(
            "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {ada}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        let reply = send_raw(
            &fleet,
            &format!("{head}0\r\n\r\nGET /api/cart HTTP/1.1\r\nhost: a\r\n\r\n"),
            1,
        )
        .await;
        let responses = reply.matches("HTTP/1.1 ").count();
        assert!(
            reply.starts_with("HTTP/1.1 400") && responses == 1,
            "{framing}: {reply}"
        );
        let calls = fleet.running.mocks().stats(Backend::Order).calls;
        assert_eq!(calls, 0, "{framing}: {reply}");
    }
    // RFC 9112 §6.1: this request ends with its last chunk, and the connection closes.
    let reply = send_both_framings(&fleet, &ada).await;
    let calls = fleet.running.mocks().stats(Backend::Order).calls;
    assert_eq!(
        (reply.matches("HTTP/1.1 ").count(), calls),
        (1, 1),
        "{reply}"
    );
}

async fn send_both_framings(fleet: &TestFleet, bearer: &str) -> String {
    let head = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n\
         content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let smuggled = "0\r\n\r\nGET /api/cart HTTP/1.1\r\nhost: a\r\n\r\n";
    send_raw(fleet, &format!("{head}{smuggled}"), 1).await
}

#[tokio::test]
async fn an_invalid_route_is_a_one_line_error() {
    let rejected = |route: &str| {
        let overlay = format!("[routes.x]\nprefixes = [\"/x\"]\n{route}\n");
        let mut fleet = fleet::Fleet {
            ports: fleet::Ports::Free,
            only: vec!["web".into()],
            ..fleet::Fleet::default()
        };
        fleet.overlays.insert("web".into(), overlay);
        async { fleet::start(fleet).await.err().unwrap() }
    };
    let line = rejected("upstream = \"missing\"").await;
    assert!(
        line.contains("routes.x.upstream") && line.contains("unknown upstream \"missing\""),
        "{line}"
    );
    let line = rejected("upstream = \"user\"\nmethods = [\"BREW\"]").await;
    assert!(
        line.contains("routes.x.methods") && line.lines().count() == 1,
        "{line}"
    );
    let line = rejected("upstream = \"user\"\nretry = true").await;
    assert!(line.contains("retry"), "{line}");
}

#[tokio::test]
async fn the_contract_describes_every_proxy_route() {
    let route = "content_types = [\"text/plain\"]\n[routes.staff]\nprefixes = [\"/staff\"]\nupstream = \"order\"\nroles = [\"ADMIN\"]";
    let fleet = echo::start(route).await;
    let contract = fleet.get("web", "/openapi.json").await.body;
    let echo = &contract["paths"]["/echo/{path}"];
    let methods: Vec<&String> = echo.as_object().unwrap().keys().collect();
    assert_eq!(methods, ["get", "put", "post"]);
    let post = &echo["post"];
    assert_eq!(post["requestBody"]["content"], json!({"text/plain": {}}));
    assert_eq!(post["security"], json!([{}, {"bearer": []}]));
    assert!(echo["get"]["requestBody"].is_null());
    for range in ["4XX", "5XX"] {
        let response = &post["responses"][range]["content"]["application/problem+json"];
        assert_eq!(response["schema"]["$ref"], "#/components/schemas/Problem");
    }
    let staff = &contract["paths"]["/staff/{path}"]["get"];
    assert_eq!(staff["security"], json!([{"bearer": []}]));
    assert!(staff["description"].as_str().unwrap().contains("ADMIN"));
    // The shipped routes have their own entries and operation ids, separate from the screens.
    let paths = contract["paths"].as_object().unwrap();
    assert!(
        paths.contains_key("/api/cart/{path}") && paths.contains_key("/api/products/{id}/playback")
    );
    let operations = paths
        .values()
        .flat_map(|item| item.as_object().unwrap().values());
    let mut ids: Vec<&str> = operations
        .filter_map(|o| o["operationId"].as_str())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn connect(fleet: &TestFleet) -> TcpStream {
    let address = fleet.running.url("web").replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes unchanged. Reads until the gateway closes the connection, or until it has sent `count` responses and then
/// nothing for a while.
async fn send_raw(fleet: &TestFleet, bytes: &str, count: usize) -> String {
    let mut client = connect(fleet).await;
    client.write_all(bytes.as_bytes()).await.unwrap();
    let mut reply = String::new();
    let mut chunk = [0; 4096];
    loop {
        let idle_timeout = if reply.matches("HTTP/1.").count() < count {
            Duration::from_secs(20)
        } else {
            Duration::from_millis(400)
        };
        match tokio::time::timeout(idle_timeout, client.read(&mut chunk)).await {
            Ok(Ok(n @ 1..)) => reply += &String::from_utf8_lossy(&chunk[..n]),
            _ => return reply,
        }
    }
}

/// A header as the echo backend received it.
fn echoed(response: &JsonResponse, name: &str) -> String {
    response.body["headers"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
