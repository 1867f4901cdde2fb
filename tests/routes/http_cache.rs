//! A proxy route with `cache = true`: the cached responses, the callers that share them, and their lifetimes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;

use super::*;
use crate::support::send;
use test_servers::RedisServer;

/// A backend whose `Cache-Control` follows the path, and which numbers its responses.
#[derive(Clone, Default)]
struct CountingBackend(Arc<AtomicU32>);

impl CountingBackend {
    fn calls(&self) -> u32 {
        self.0.load(Relaxed)
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap();
        let backend = self.clone();
        let handler = move |request: Request| {
            let backend = backend.clone();
            async move { backend.response(&request.into_parts().0).await }
        };
        let router = Router::new().fallback(any(handler));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{url}")
    }

    async fn response(&self, request: &Parts) -> Response {
        let number = self.0.fetch_add(1, Relaxed) + 1;
        let header = |name: &str| {
            let value = request.headers.get(name);
            value.map_or("", |v| v.to_str().unwrap()).to_owned()
        };
        let path = request.uri.path().trim_matches('/');
        if request.method == Method::PUT {
            let rejected = path == "refused";
            let status = if rejected { 409 } else { 204 };
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        if path == "fails-first" && number == 1 {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let cache_control = match path {
            "minute" | "refused" | "varied" | "large" | "tagged" | "fails-first" => "max-age=60",
            "slow" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "max-age=60"
            }
            "all" => "public, max-age=60",
            "no-cache" | "no-cache-gzip" => "no-cache",
            "never" => "no-store",
            _ => "",
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-number", number.into());
        headers.insert("x-range", header("range").parse().unwrap());
        headers.insert("etag", "\"v1\"".parse().unwrap());
        if !cache_control.is_empty() {
            headers.insert("cache-control", cache_control.parse().unwrap());
        }
        if path == "tagged" {
            headers.insert("cache-tag", "shelf-1, shelf-2".parse().unwrap());
        }
        if path == "varied" {
            headers.insert("vary", "accept-language, x-own".parse().unwrap());
        }
        if path == "no-cache-gzip" && header("if-none-match").is_empty() {
            headers.insert("etag", "\"v1-gzip\"".parse().unwrap());
        }
        if path.starts_with("no-cache") && !header("if-none-match").is_empty() {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let user = header("x-user-id");
        let text = if path == "large" {
            "x".repeat(5000)
        } else {
            user
        };
        (headers, axum::Json(json!({"number": number, "text": text}))).into_response()
    }
}

/// Starts web with a cached route `/cached` to a new backend.
async fn start(route: &str, more: &str) -> (TestFleet, CountingBackend) {
    let backend = CountingBackend::default();
    let url = backend.start().await;
    (replica(&url, route, more).await, backend)
}

async fn replica(url: &str, route: &str, more: &str) -> TestFleet {
    let overlay = format!(
        "[upstreams.order]\nurl = \"{url}\"\n[routes.cached]\nprefixes = [\"/cached\"]\nupstream = \"order\"\n\
         strip_prefix = \"/cached\"\nmethods = [\"GET\", \"PUT\"]\nallow_anonymous = true
cache = true\n{route}\n\
         [cache]\nmax_bytes = 67108864\n{more}\n"
    );
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay);
    })
    .await
}

async fn send_put(fleet: &TestFleet, path: &str) -> u16 {
    let url = format!("{}{path}", fleet.running.url("web"));
    let response = send(fleet.http.put(url)).await;
    // A write also invalidates entries of the same millisecond.
    tokio::time::sleep(Duration::from_millis(2)).await;
    response.status().as_u16()
}

fn cache_and_number(response: &JsonResponse) -> (&str, u64) {
    (
        response.header("x-cache"),
        response.body["number"].as_u64().unwrap_or(0),
    )
}

#[tokio::test]
async fn a_cached_response_is_complete_and_has_an_age() {
    let (fleet, backend) = start("", "").await;
    let first = fleet.get("web", "/cached/minute").await;
    assert_eq!(cache_and_number(&first), ("MISS", 1));
    assert_eq!(first.header("cache-status"), "bff; fwd=miss");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = fleet.get("web", "/cached/minute").await;
    assert_eq!(cache_and_number(&second), ("HIT", 1));
    let age: u64 = second.header("age").parse().unwrap();
    let ttl = second.header("cache-status").strip_prefix("bff; hit; ttl=");
    let ttl: u64 = ttl.unwrap().parse().unwrap();
    assert!(age >= 1 && (59..=60).contains(&(age + ttl)), "{age} {ttl}");
    for name in [
        "etag",
        "x-number",
        "cache-control",
        "content-type",
        "content-length",
        "date",
        "via",
    ] {
        assert!(!first.header(name).is_empty(), "{name}");
        assert_eq!(first.header(name), second.header(name), "{name}");
    }
    // A HEAD request uses the entry of GET.
    let url = format!("{}/cached/minute", fleet.running.url("web"));
    let head = send(fleet.http.head(&url)).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["x-cache"]),
        (200, &"HIT".parse().unwrap())
    );
    assert_eq!(
        head.headers()["content-length"],
        first.header("content-length")
    );
    assert_eq!(head.bytes().await.unwrap(), "");
    // A conditional request gets 304 from the entry.
    let headers = [("if-none-match", "W/\"v1\"")];
    let unchanged = fleet.get_with("web", "/cached/minute", &headers).await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.header("etag")),
        (304, "\"v1\"")
    );
    assert_eq!((unchanged.header("x-cache"), backend.calls()), ("HIT", 1));
    // A query is part of the key.
    assert_eq!(
        cache_and_number(&fleet.get("web", "/cached/minute?a=b").await),
        ("MISS", 2)
    );
}

#[tokio::test]
async fn partial_and_no_store_requests_bypass_the_cache() {
    let (fleet, backend) = start("cache_max_bytes = 1000", "").await;
    fleet.get("web", "/cached/minute").await;
    let range = fleet
        .get_with("web", "/cached/minute", &[("range", "bytes=0-3")])
        .await;
    assert_eq!(
        (range.header("x-range"), range.header("x-cache")),
        ("bytes=0-3", "BYPASS")
    );
    let no_store = fleet
        .get_with("web", "/cached/minute", &[("cache-control", "no-store")])
        .await;
    assert_eq!(
        (cache_and_number(&no_store), no_store.header("cache-status")),
        (("BYPASS", 3), "bff; fwd=bypass")
    );
    // A client's `no-cache` has no effect.
    let refreshed = fleet
        .get_with("web", "/cached/minute", &[("cache-control", "no-cache")])
        .await;
    assert_eq!(cache_and_number(&refreshed), ("HIT", 1));
    // Responses that are not cacheable, have no lifetime or are too large are never cached.
    for path in ["/cached/never", "/cached/silent", "/cached/large"] {
        let before = backend.calls();
        for n in 1..=3 {
            let response = fleet.get("web", path).await;
            assert_eq!(response.body["number"], before + n, "{path}");
            assert_ne!(response.header("x-cache"), "HIT", "{path}");
        }
    }
    let large = fleet.get("web", "/cached/large").await;
    assert_eq!(large.body["text"].as_str().unwrap().len(), 5000);
}

#[tokio::test]
async fn a_route_sets_the_ttl_but_not_the_cacheability() {
    let (fleet, backend) = start("cache_ttl = \"1h\"", "").await;
    for (path, config) in [("/cached/silent", true), ("/cached/never", false)] {
        let before = backend.calls();
        fleet.get("web", path).await;
        fleet.get("web", path).await;
        assert_eq!(backend.calls() == before + 1, config, "{path}");
    }
}

#[tokio::test]
async fn a_successful_write_invalidates_every_query_of_its_path() {
    let (fleet, _) = start("", "").await;
    for path in ["/cached/minute", "/cached/minute?a=b", "/cached/refused"] {
        fleet.get("web", path).await;
        assert_eq!(
            fleet.get("web", path).await.header("x-cache"),
            "HIT",
            "{path}"
        );
    }
    assert_eq!(send_put(&fleet, "/cached/minute").await, 204);
    assert_eq!(send_put(&fleet, "/cached/refused").await, 409);
    for (path, expected) in [
        ("/cached/minute", "MISS"),
        ("/cached/minute?a=b", "MISS"),
        ("/cached/refused", "HIT"),
    ] {
        assert_eq!(
            fleet.get("web", path).await.header("x-cache"),
            expected,
            "{path}"
        );
    }
}

/// An uncacheable path is remembered for a while (hit-for-miss), but a failure must not cause that.
#[tokio::test]
async fn a_failure_is_not_cached_and_does_not_mark_the_path_uncacheable() {
    let config = "[upstreams.order.retry]\nmax_attempts = 1\n";
    let (fleet, backend) = start("", config).await;
    let failed = fleet.get("web", "/cached/fails-first").await;
    assert_eq!(
        (failed.status.as_u16(), failed.header("x-cache")),
        (500, "MISS")
    );
    for expected in ["MISS", "HIT", "HIT"] {
        let response = fleet.get("web", "/cached/fails-first").await;
        assert_eq!(cache_and_number(&response), (expected, 2));
    }
    assert_eq!(backend.calls(), 2);
}

#[tokio::test]
async fn a_purge_removes_entries_of_routes() {
    let admin = "[server]\nadmin_token = \"only-for-this-test\"\n";
    let (fleet, _) = start("", admin).await;
    let purge = async |body: &serde_json::Value| {
        let url = format!("{}/cache/purge", fleet.running.admin_url("web"));
        let request = fleet.http.post(url).bearer_auth("only-for-this-test");
        assert_eq!(send(request.json(body)).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let all = ["/cached/tagged", "/cached/tagged?a=b", "/cached/minute"];
    let key = |path: &str| json!({"keys": [{"upstream": "order", "path": path}]});
    for (body, purged) in [
        (json!({"tags": ["shelf-2"]}), [true, true, false]),
        (key("/tagged"), [true, true, false]),
        (key("/tagged?a=b"), [false, true, false]),
        (key("/cached/tagged"), [false, false, false]),
        (json!({"upstreams": ["order"]}), [true, true, true]),
        (json!({"upstreams": ["product"]}), [false, false, false]),
    ] {
        for path in all {
            fleet.get("web", path).await;
            assert_eq!(fleet.get("web", path).await.header("x-cache"), "HIT");
        }
        purge(&body).await;
        for (path, purged) in all.into_iter().zip(purged) {
            let expected = if purged { "MISS" } else { "HIT" };
            let response = fleet.get("web", path).await;
            assert_eq!(response.header("x-cache"), expected, "{path} {body}");
        }
    }
}

#[tokio::test]
async fn variants_are_cached_separately() {
    let (fleet, backend) = start("", "").await;
    let get_varied = async |language: &str, own: &str| {
        let headers = [("accept-language", language), ("x-own", own)];
        fleet.get_with("web", "/cached/varied", &headers).await
    };
    let variants = [("de", "1"), ("en", "1"), ("de", "2")];
    let all = variants.iter().flat_map(|variant| [*variant; 4]);
    let requests = all.map(|(language, own)| get_varied(language, own));
    let responses = join_all(requests).await;
    // Now the cache has stored the Vary fields.
    let mut numbers = std::collections::BTreeMap::new();
    for round in 0..3 {
        for (language, own) in variants {
            let response = get_varied(language, own).await;
            if round > 0 {
                assert_eq!(response.header("x-cache"), "HIT", "{language} {own}");
            }
            numbers.insert((language, own), cache_and_number(&response).1);
        }
    }
    let mut distinct: Vec<u64> = numbers.values().copied().collect();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "{numbers:?}");
    assert!(responses.iter().all(|response| response.status == 200));
    let before = backend.calls();
    assert_eq!(
        cache_and_number(&get_varied("fr", "1").await),
        ("MISS", u64::from(before) + 1)
    );
}

#[tokio::test]
async fn signed_in_callers_share_only_public_responses() {
    let (fleet, _) = start("", "").await;
    let (ada, ben) = (fleet.bearer("ada"), fleet.bearer("ben"));
    let get_as = async |path: &str, bearer: &str| {
        let headers = [("authorization", bearer)];
        let headers = if bearer.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        fleet.get_with("web", path, headers).await
    };
    for bearer in [&ada, &ben, &ada] {
        let response = get_as("/cached/minute", bearer).await;
        let user = if *bearer == ada { "ada" } else { "ben" };
        assert_eq!(
            (response.header("x-cache"), &response.body["text"]),
            ("MISS", &user.into())
        );
    }
    // Signed-in responses are not cached, and anonymous entries are not used for signed-in callers.
    assert_eq!(get_as("/cached/minute", "").await.body["text"], "");
    assert_eq!(get_as("/cached/minute", "").await.header("x-cache"), "HIT");
    assert_eq!(get_as("/cached/minute", &ada).await.body["text"], "ada");
    let first = get_as("/cached/all", &ada).await;
    for bearer in [&ben, "", &ada] {
        let response = get_as("/cached/all", bearer).await;
        assert_eq!(
            cache_and_number(&response),
            ("HIT", cache_and_number(&first).1)
        );
    }
}

#[tokio::test]
async fn a_no_cache_response_is_revalidated() {
    let (fleet, backend) = start("", "").await;
    let first = fleet.get("web", "/cached/no-cache").await;
    let second = fleet.get("web", "/cached/no-cache").await;
    assert_eq!(
        (cache_and_number(&first).1, cache_and_number(&second).1),
        (1, 1)
    );
    assert_eq!(backend.calls(), 2);
    // The fields of the 304 replace those of the entry (RFC 9111 §4.3.4).
    assert_eq!(
        (first.header("x-number"), second.header("x-number")),
        ("1", "2")
    );
    assert_eq!(second.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_304_about_another_version_is_not_used() {
    let (fleet, backend) = start("", "").await;
    for calls in [1, 3, 5] {
        let response = fleet.get("web", "/cached/no-cache-gzip").await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(response.body["number"], calls);
        assert_eq!(response.header("etag"), "\"v1-gzip\"");
        assert_eq!(backend.calls(), calls);
    }
}

#[tokio::test]
async fn the_first_response_of_each_variant_is_cached() {
    let (fleet, _) = start("", "").await;
    let get = async |own: Option<&str>| {
        let headers = own.map(|own| ("x-own", own));
        let response = fleet.get_with("web", "/cached/varied", headers.as_slice());
        let response = response.await;
        let (cache, number) = cache_and_number(&response);
        (cache.to_owned(), number)
    };
    for (own, number) in [(Some("evil"), 1), (None, 2), (Some("1"), 3), (Some(""), 4)] {
        assert_eq!(get(own).await, ("MISS".to_owned(), number), "{own:?}");
        for _ in 0..3 {
            assert_eq!(get(own).await, ("HIT".to_owned(), number), "{own:?}");
        }
    }
    assert_eq!(get(Some("evil")).await, ("HIT".to_owned(), 1));
}

#[tokio::test]
async fn a_forwarded_host_is_part_of_the_key() {
    let (fleet, _) = start("host_header = \"client\"", "").await;
    for (host, expected) in [
        ("a.example", ("MISS", 1)),
        ("b.example", ("MISS", 2)),
        ("a.example", ("HIT", 1)),
    ] {
        let headers = [("host", host)];
        let response = fleet.get_with("web", "/cached/minute", &headers).await;
        assert_eq!(cache_and_number(&response), expected, "{host}");
    }
}

#[tokio::test]
async fn equal_requests_at_two_replicas_make_one_call() {
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let store = format!(
        "{}timeout = \"10s\"\n[cache.shared]\nlease_wait = \"10s\"\n",
        redis.config()
    );
    let store = store.replace("[store]", "\n[store]");
    let backend = CountingBackend::default();
    let url = backend.start().await;
    let (one, two) = (
        replica(&url, "", &store).await,
        replica(&url, "", &store).await,
    );
    let requests = (0..60).map(|n| if n % 2 == 0 { &one } else { &two }.get("web", "/cached/slow"));
    let responses = join_all(requests).await;
    assert!(
        responses
            .iter()
            .all(|response| response.body["number"] == 1)
    );
    assert_eq!(backend.calls(), 1);
    // A write at one replica invalidates the entry at the other. Otherwise it would be fresh for a minute.
    assert_eq!(send_put(&one, "/cached/slow").await, 204);
    let invalidated = async {
        while cache_and_number(&two.get("web", "/cached/slow").await).1 == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), invalidated)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_proxied_write_invalidates_sections() {
    let route = "[cache]\nmax_bytes = 67108864\n[routes.reviews]\nprefixes = [\"/api/reviews\"]\n\
                 upstream = \"review\"\nstrip_prefix = \"/api\"\nmethods = [\"POST\"]\n";
    let fleet = TestFleet::start_with(|fleet| {
        fleet.overlays.insert("web".into(), route.into());
    })
    .await;
    let page = "/api/product-details/p-1?fields=product,reviews";
    let before = fleet.get("web", page).await;
    assert_eq!(
        fleet.get("web", page).await.section("reviews")["state"],
        "cached"
    );
    let ada = fleet.bearer("ada");
    let draft = json!({"productId": "p-1", "rating": 5, "title": "T", "text": "X"});
    let headers = [("authorization", ada.as_str())];
    let written = fleet
        .post_with("web", "/api/reviews", &headers, &draft)
        .await;
    assert_eq!(written.status, 201, "{}", written.body);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let after = fleet.get("web", page).await;
    assert_eq!(after.section("reviews")["state"], "fresh");
    assert_eq!(after.section("product")["state"], "cached");
    let count = |page: &JsonResponse| page.body["reviews"]["count"].as_u64().unwrap();
    assert_eq!(count(&after), count(&before) + 1);
}

#[tokio::test]
async fn the_shipped_catalogue_routes_cache_no_user_data() {
    let fleet = TestFleet::start_with(|fleet| {
        let config = "[cache]\nmax_bytes = 67108864\n".to_owned();
        fleet.overlays.insert("web".into(), config);
    })
    .await;
    let ada = fleet.bearer("ada");
    for (path, headers, expected) in [
        ("/api/products/p-1", &[][..], "HIT"),
        ("/api/categories", &[], "HIT"),
        ("/api/products/p-1", &[("x-api-version", "v1")], "BYPASS"),
        ("/api/cart", &[("authorization", ada.as_str())], ""),
        ("/api/users/ada", &[("authorization", ada.as_str())], ""),
    ] {
        let first = fleet.get_with("web", path, headers).await;
        let second = fleet.get_with("web", path, headers).await;
        assert_eq!((first.status, &first.body), (second.status, &second.body));
        assert_eq!(
            second.header("x-cache"),
            expected,
            "{path}: {:?}",
            second.headers
        );
    }
}
