//! Responses of a backend that are complete and do not decode: one resource fails, and the backend stays healthy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header;
use serde_json::{Value, json};
use services_mock::Backend;
use tokio::net::TcpListener;

use crate::support::{TestFleet, send};

/// Marks the place of a lone surrogate in a body.
const SURROGATE: &str = "SURROGATE";

/// A backend with a fixed body for each path, and the number of its calls.
struct Stub {
    url: String,
    calls: Arc<AtomicUsize>,
}

impl Stub {
    /// Starts a backend. It answers 200 with the body that `respond` returns for a path and its query.
    async fn start(respond: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let handler = move |request: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            let target = request.uri().path_and_query().unwrap().as_str();
            let body = respond(target).replace(SURROGATE, "\\ud83d");
            let response = Response::builder()
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::CACHE_CONTROL, "max-age=60")
                .body(Body::from(body));
            std::future::ready(response.unwrap())
        };
        let service = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url, calls }
    }

    fn take_calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

/// Starts a fleet in which this stub is the backend.
async fn start(backend: Backend, stub: &Stub, overlay: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        for gateway in fleet::GATEWAYS {
            (fleet.overlays).insert(gateway.name.to_owned(), overlay.to_owned());
        }
        fleet.real.insert(backend, stub.url.clone());
    })
    .await
}

fn product(id: &str) -> Value {
    json!({
        "id": id, "kind": "film", "name": format!("Name of {id}"), "description": "…", "category": "drama",
        "genres": ["drama"], "year": 2024, "runtimeMinutes": 118, "seasons": null, "maturity": "all",
        "price": {"amount": 1299, "currency": "EUR"}, "cast": [], "director": "C",
        "image": {"url": "https://img.example/1", "width": 1000, "height": 1500}, "updatedAt": "2026-06-01T12:00:00Z"
    })
}

fn invalid(id: &str, member: &str, value: impl Into<Value>) -> Value {
    let mut product = product(id);
    product[member] = value.into();
    product
}

/// The product backend: one product per id, and lists with three invalid products among five.
fn products(target: &str) -> String {
    let poisoned = invalid("p-2", "name", format!("N{SURROGATE}"));
    match target {
        "/products/p-2" => poisoned.to_string(),
        "/products/p-3" => product("p-3").to_string().replace("2024", "2024e99"),
        "/products/p-4" => json!({"error": "p-4 has no name"}).to_string(),
        "/products/p-5" => "null".to_owned(),
        "/products/html" => "<!doctype html><title>Sorry</title>".to_owned(),
        "/products/empty" => String::new(),
        "/products/cut" => r#"{"id": "cut", "name": "#.to_owned(),
        _ if target.starts_with("/search")
            || target.contains("/similar")
            || target.contains('?') =>
        {
            let items = [
                product("p-1"),
                poisoned,
                invalid("p-3", "year", "long ago"),
                Value::Null,
                product("p-5"),
            ];
            json!({"items": items, "total": 5, "page": 1, "perPage": 20, "nextCursor": null})
                .to_string()
        }
        _ => product(target.trim_start_matches("/products/")).to_string(),
    }
}

#[tokio::test]
async fn an_invalid_record_fails_alone_and_is_not_retried() {
    let stub = Stub::start(products).await;
    let fleet = start(Backend::Product, &stub, "").await;
    let page = async |id: &str| {
        let path = format!("/api/product-details/{id}?fields=product");
        fleet.get("web", &path).await
    };
    for id in ["p-2", "p-3", "p-4", "p-5"] {
        // More requests than failures that open the circuit breaker.
        for _ in 0..6 {
            let page = page(id).await;
            let code = page.body["code"].as_str();
            assert_eq!((page.status.as_u16(), code), (502, Some("bad_response")));
        }
        assert_eq!(stub.take_calls(), 6, "one attempt per request for {id}");
    }
    assert_eq!(page("p-1").await.status, 200);
    stub.take_calls();
    for id in ["html", "empty", "cut"] {
        assert_eq!(page(id).await.status, 502);
        assert_eq!(stub.take_calls(), 2, "{id} is retried");
        // A success keeps the circuit breaker closed.
        assert_eq!(page("p-1").await.status, 200);
        stub.take_calls();
    }
    for _ in 0..5 {
        page("html").await;
    }
    let page = page("p-1").await;
    assert_eq!(page.body["code"], "circuit_open");
}

#[tokio::test]
async fn a_list_omits_invalid_elements_and_says_so() {
    let stub = Stub::start(products).await;
    let fleet = start(Backend::Product, &stub, "[cache]\nmax_bytes = 1000000").await;
    let key = [("x-api-key", fleet::PARTNER_KEY)];
    for (gateway, path, section) in [
        ("web", "/api/search?q=a", "results"),
        (
            "web",
            "/api/product-details/p-1?fields=product,similar",
            "similar",
        ),
        (
            "mobile",
            "/v1/products/p-1?fields=product,similar",
            "similar",
        ),
        ("tv", "/v1/titles/p-1?fields=title,similar", "similar"),
        (
            "partner",
            "/v2/products/p-1?fields=product,similar",
            "similar",
        ),
        ("partner", "/v2/products", "products"),
    ] {
        for state in ["fresh", "cached"] {
            let page = fleet.get_with(gateway, path, &key[..usize::from(gateway == "partner")]);
            let page = page.await;
            let meta = &page.body["_meta"];
            let reported = &meta["sections"][section];
            assert_eq!(page.status, 200, "{path}: {}", page.body);
            assert_eq!(
                (&reported["state"], &reported["omitted"]),
                (&state.into(), &3.into()),
                "{path}: {}",
                page.body
            );
            assert_eq!(meta["complete"], false, "{path}");
            let items = match &page.body[section] {
                Value::Array(items) => items.len(),
                items => items["items"].as_array().unwrap().len(),
            };
            assert_eq!(items, 2, "{path}: {}", page.body);
            let header = page.headers["sections"].to_str().unwrap();
            assert!(header.contains(";omitted=3"), "{path}: {header}");
            assert_eq!(page.headers["cache-control"], "no-store", "{path}");
            assert!(!page.headers.contains_key("etag"), "{path}");
        }
    }
    let query = json!({"query": "{ search(q: \"a\") { results { items { id } } } }"});
    let answer = fleet.post("web", "/graphql", &query).await;
    let sections = &answer.body["extensions"]["sections"];
    assert_eq!(sections["search.results"]["omitted"], 3, "{}", answer.body);
    let admin = fleet.running.admin_url("web");
    let metrics = send(fleet.http.get(format!("{admin}/metrics"))).await;
    let metrics = metrics.text().await.unwrap();
    let series =
        r#"bff_upstream_omitted_items_total{route="/search",upstream="product",client="web"} 3"#;
    assert!(metrics.contains(series), "{metrics}");
}

#[tokio::test]
async fn a_batch_reports_an_invalid_element_as_unavailable() {
    let stub = Stub::start(|_| {
        let available = |id: &str, offers: Value| {
            json!({"productId": id, "region": "DE", "stock": 3, "offers": offers, "availableUntil": null})
        };
        let offer = json!({"kind": "buy", "price": {"amount": 999, "currency": "EUR"}, "quality": "hd"});
        let items = [
            available("p-1", json!([offer])),
            // An offer that does not decode fails its product: an availability must be complete.
            available("p-2", json!([offer, {"kind": "rent", "price": 5, "quality": "hd"}])),
        ];
        json!({"items": items, "notFound": ["p-3"]}).to_string()
    })
    .await;
    let fleet = start(Backend::Inventory, &stub, "").await;
    let key = [("x-api-key", fleet::PARTNER_KEY)];
    let path = "/v2/availability?ids=p-1,p-2,p-3";
    let batch = fleet.get_with("partner", path, &key).await;
    let items = batch.body["items"].as_array().unwrap().iter();
    let statuses: Vec<_> = items.map(|item| item["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["found", "unavailable", "not_found"]);
    let items = &batch.body["_meta"]["sections"]["items"];
    assert_eq!(items["omitted"], 1, "{}", batch.body);
}
