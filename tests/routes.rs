//! Pass-through routes: what the older pages ask the backends themselves, and what must not get past.

use std::time::Duration;

use serde_json::json;
use services_mock::{Backend, Fault, Mode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{JsonResponse, TestFleet};

mod client_disconnect;
mod echo;
mod header_semantics;
mod http_cache;
mod options;
mod streams;
mod tls;

#[tokio::test]
async fn the_older_pages_get_what_the_backends_say() {
    let fleet = TestFleet::start().await;
    let (ada, root) = (fleet.bearer("ada"), fleet.bearer("root"));
    let asked = async |path: &str, bearer: &str| {
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
        // A screen's own address lies below the prefix of a route, and wins.
        ("/api/products/p-1/playback", "", 200),
    ] {
        let response = asked(path, bearer).await;
        assert_eq!(response.status, status, "{path}: {}", response.body);
    }
    let own = asked("/api/products/p-1/playback", "").await;
    assert!(own.body["_meta"].is_object());
    let theirs = asked("/api/products/p-1", "").await;
    assert!(theirs.body.get("_meta").is_none() && theirs.body["id"] == "p-1");
    let refused = asked("/api/admin/users", &ada).await;
    assert_eq!(refused.body["code"], "forbidden");
    assert_eq!(refused.header("content-type"), "application/problem+json");
    let wrong = fleet.post("web", "/api/products/p-1", &json!({})).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test]
async fn the_old_format_is_translated_both_ways() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let v1 = [("x-api-version", "v1"), ("authorization", ada.as_str())];
    let today = fleet.get_with("web", "/api/products/p-1", &v1[1..]).await;
    let old = fleet.get_with("web", "/api/products/p-1", &v1).await;
    assert_eq!(today.body["runtimeMinutes"], old.body["runtime_minutes"]);
    assert!(old.body.get("runtimeMinutes").is_none(), "{}", old.body);
    for response in [&today, &old] {
        assert!(
            response
                .header("vary")
                .to_lowercase()
                .contains("x-api-version")
        );
    }
    let address = json!({"name": "Ada", "street": "Mole 1", "city": "Kiel", "postal_code": "24103", "country": "DE"});
    let made = fleet
        .post_with("web", "/api/users/ada/addresses", &v1, &address)
        .await;
    assert_eq!(
        (made.status.as_u16(), &made.body["postal_code"]),
        (201, &"24103".into())
    );
    let kept = fleet
        .get_with("web", "/api/users/ada/addresses", &v1[1..])
        .await;
    assert!(
        kept.body.to_string().contains("\"postalCode\":\"24103\""),
        "{}",
        kept.body
    );
    let unknown = [("x-api-version", "v9")];
    let refused = fleet.get_with("web", "/api/products/p-1", &unknown).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (400, &"invalid_request".into())
    );
    let garbled = (fleet.http.post(format!(
        "{}/api/users/ada/addresses",
        fleet.running.url("web")
    )))
    .header("authorization", &ada)
    .header("x-api-version", "v1")
    .header("content-type", "application/json")
    .body("{\"postal_code\":");
    assert_eq!(crate::support::send(garbled).await.status(), 400);
}

#[tokio::test]
async fn what_failed_is_tried_again_only_where_that_is_harmless() {
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
    let plain = fleet
        .post_with("web", "/api/orders", &[bearer], &json!({}))
        .await;
    assert_eq!(
        (plain.status.as_u16(), calls(Backend::Order)),
        (500, 1),
        "as it is"
    );
    fleet.fill_cart("ada").await;
    fleet.running.mocks().clear_stats();
    fleet
        .running
        .mocks()
        .set_fault(Backend::Order, once)
        .unwrap();
    let keyed = [bearer, ("idempotency-key", "k-1")];
    let placed = fleet
        .post_with("web", "/api/orders", &keyed, &json!({}))
        .await;
    assert_eq!(
        (placed.status.as_u16(), calls(Backend::Order)),
        (201, 2),
        "{}",
        placed.body
    );
}

#[tokio::test]
async fn a_backend_that_gives_nothing_is_told_as_a_problem() {
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
async fn paths_with_a_second_meaning_go_nowhere() {
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
        let said = raw(&fleet, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{path}: {said}");
        let calls = Backend::ALL.map(|b| fleet.running.mocks().stats(b).calls);
        assert_eq!(calls.iter().sum::<u64>(), 0, "{path} reached a backend");
    }
}

#[tokio::test]
async fn a_request_that_ends_in_two_places_is_refused() {
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
        let said = raw(
            &fleet,
            &format!("{head}0\r\n\r\nGET /api/cart HTTP/1.1\r\nhost: a\r\n\r\n"),
        )
        .await;
        let responses = said.matches("HTTP/1.1 ").count();
        assert!(
            said.starts_with("HTTP/1.1 400") && responses == 1,
            "{framing}: {said}"
        );
        let calls = fleet.running.mocks().stats(Backend::Order).calls;
        assert_eq!(calls, 0, "{framing}: {said}");
    }
    // RFC 9112 §6.1 has this one end where the chunks do, and the connection with it.
    let said = both_framings(&fleet, &ada).await;
    let calls = fleet.running.mocks().stats(Backend::Order).calls;
    assert_eq!((said.matches("HTTP/1.1 ").count(), calls), (1, 1), "{said}");
}

async fn both_framings(fleet: &TestFleet, bearer: &str) -> String {
    let head = format!(
        "POST /api/orders HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n\
         content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let smuggled = "0\r\n\r\nGET /api/cart HTTP/1.1\r\nhost: a\r\n\r\n";
    raw(fleet, &format!("{head}{smuggled}")).await
}

#[tokio::test]
async fn a_route_that_leads_nowhere_is_one_line() {
    let refused = |route: &str| {
        let overlay = format!("[routes.x]\nprefixes = [\"/x\"]\n{route}\n");
        let mut fleet = fleet::Fleet {
            ports: fleet::Ports::Free,
            only: vec!["web".into()],
            ..fleet::Fleet::default()
        };
        fleet.overlays.insert("web".into(), overlay);
        async { fleet::start(fleet).await.err().unwrap() }
    };
    let line = refused("upstream = \"nobody\"").await;
    assert!(
        line.contains("routes.x.upstream") && line.contains("\"nobody\" is no HTTP backend"),
        "{line}"
    );
    let line = refused("upstream = \"user\"\nmethods = [\"BREW\"]").await;
    assert!(
        line.contains("routes.x.methods") && line.lines().count() == 1,
        "{line}"
    );
    let line = refused("upstream = \"user\"\nretry = true").await;
    assert!(line.contains("retry"), "{line}");
}

#[tokio::test]
async fn the_contract_tells_what_gets_through() {
    let route = "content_types = [\"text/plain\"]\n[routes.staff]\nprefixes = [\"/staff\"]\nupstream = \"order\"\nroles = [\"ADMIN\"]";
    let fleet = echo::fleet(route).await;
    let contract = fleet.get("web", "/openapi.json").await.body;
    let echo = &contract["paths"]["/echo/{path}"];
    let methods: Vec<&String> = echo.as_object().unwrap().keys().collect();
    assert_eq!(methods, ["get", "put", "post"]);
    let post = &echo["post"];
    assert_eq!(post["requestBody"]["content"], json!({"text/plain": {}}));
    assert!(post["security"].is_null() && echo["get"]["requestBody"].is_null());
    for range in ["4XX", "5XX"] {
        let told = &post["responses"][range]["content"]["application/problem+json"];
        assert_eq!(told["schema"]["$ref"], "#/components/schemas/Problem");
    }
    let staff = &contract["paths"]["/staff/{path}"]["get"];
    assert_eq!(staff["security"], json!([{"bearer": []}]));
    assert!(staff["description"].as_str().unwrap().contains("ADMIN"));
    // Those of the web's own configuration, each under its own name, beside the screens'.
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
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
}

#[expect(clippy::disallowed_methods, reason = "tests are clients, not gateways")]
async fn dial(fleet: &TestFleet) -> TcpStream {
    let address = fleet.running.url("web").replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes as they are; reads until the gateway closes, or says nothing more.
async fn raw(fleet: &TestFleet, bytes: &str) -> String {
    let mut client = dial(fleet).await;
    client.write_all(bytes.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(n @ 1..)) =
        tokio::time::timeout(Duration::from_millis(400), client.read(&mut piece)).await
    {
        said.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What a backend that echoes was sent.
fn echoed(response: &JsonResponse, name: &str) -> String {
    response.body["headers"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
