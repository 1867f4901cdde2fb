//! A route with `cache = true`: what is kept, for whom, until when, and what is passed as it is.

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
use crate::support::redis::Redis;
use crate::support::{instant, send};

/// A backend that says of its answers what the path asks for, and counts.
#[derive(Clone, Default)]
struct Backstage(Arc<AtomicU32>);

impl Backstage {
    fn calls(&self) -> u32 {
        self.0.load(Relaxed)
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let of = self.clone();
        let response = move |request: Request| {
            let of = of.clone();
            async move { of.response(&request.into_parts().0).await }
        };
        let router = Router::new().fallback(any(response));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{at}")
    }

    async fn response(&self, request: &Parts) -> Response {
        let number = self.0.fetch_add(1, Relaxed) + 1;
        let asked = |name: &str| {
            let value = request.headers.get(name);
            value.map_or("", |v| v.to_str().unwrap()).to_owned()
        };
        let path = request.uri.path().trim_matches('/');
        if request.method == Method::PUT {
            let refused = path == "refused";
            let status = if refused { 409 } else { 204 };
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        if path == "ill-at-first" && number == 1 {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let says = match path {
            "minute" | "refused" | "varied" | "large" | "tagged" | "ill-at-first" => "max-age=60",
            "slow" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "max-age=60"
            }
            "all" => "public, max-age=60",
            "asked" => "no-cache",
            "never" => "no-store",
            _ => "",
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-number", number.into());
        headers.insert("x-range", asked("range").parse().unwrap());
        headers.insert("etag", "\"v1\"".parse().unwrap());
        if !says.is_empty() {
            headers.insert("cache-control", says.parse().unwrap());
        }
        if path == "tagged" {
            headers.insert("cache-tag", "shelf-1, shelf-2".parse().unwrap());
        }
        if path == "varied" {
            headers.insert("vary", "accept-language, x-own".parse().unwrap());
        }
        if path == "asked" && asked("if-none-match") == "\"v1\"" {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let user = asked("x-user-id");
        let text = if path == "large" {
            "x".repeat(5000)
        } else {
            user
        };
        (headers, axum::Json(json!({"number": number, "text": text}))).into_response()
    }
}

/// A gateway whose `/kept` is a cached route to a backend of its own.
async fn fleet(route: &str, more: &str) -> (TestFleet, Backstage) {
    let backstage = Backstage::default();
    let at = backstage.start().await;
    (replica(&at, route, more).await, backstage)
}

async fn replica(at: &str, route: &str, more: &str) -> TestFleet {
    let overlay = format!(
        "[upstreams.order]\nurl = \"{at}\"\n[routes.kept]\nprefixes = [\"/kept\"]\nupstream = \"order\"\n\
         strip_prefix = \"/kept\"\nmethods = [\"GET\", \"PUT\"]\npublic = true\ncache = true\n{route}\n\
         [cache]\nmax_bytes = 67108864\n{more}\n"
    );
    TestFleet::start_with(|fleet| {
        fleet.only = vec!["web".into()];
        fleet.overlays.insert("web".into(), overlay);
    })
    .await
}

async fn put(fleet: &TestFleet, path: &str) -> u16 {
    let url = format!("{}{path}", fleet.running.url("web"));
    let response = send(fleet.http.put(url)).await;
    // What was asked for in the same millisecond as a write is outdated too.
    tokio::time::sleep(Duration::from_millis(2)).await;
    response.status().as_u16()
}

fn told(response: &JsonResponse) -> (&str, u64) {
    (
        response.header("x-cache"),
        response.body["number"].as_u64().unwrap_or(0),
    )
}

#[tokio::test]
async fn a_copy_is_the_whole_answer_and_says_its_age() {
    let (fleet, backstage) = fleet("", "").await;
    let first = fleet.get("web", "/kept/minute").await;
    assert_eq!(told(&first), ("MISS", 1));
    assert_eq!(first.header("cache-status"), "bff; fwd=miss");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = fleet.get("web", "/kept/minute").await;
    assert_eq!(told(&second), ("HIT", 1));
    assert_eq!(second.header("age"), "1");
    assert!(
        second.header("cache-status").starts_with("bff; hit; ttl=5"),
        "{:?}",
        second.headers
    );
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
    // Its head alone, from what GET kept.
    let url = format!("{}/kept/minute", fleet.running.url("web"));
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
    // Whoever has it is told so.
    let known = [("if-none-match", "W/\"v1\"")];
    let unchanged = fleet.get_with("web", "/kept/minute", &known).await;
    assert_eq!(
        (unchanged.status.as_u16(), unchanged.header("etag")),
        (304, "\"v1\"")
    );
    assert_eq!((unchanged.header("x-cache"), backstage.calls()), ("HIT", 1));
    // A query is another address.
    assert_eq!(
        told(&fleet.get("web", "/kept/minute?a=b").await),
        ("MISS", 2)
    );
}

#[tokio::test]
async fn what_is_no_request_for_all_of_it_passes_as_it_is() {
    let (fleet, backstage) = fleet("cache_max_bytes = 1000", "").await;
    fleet.get("web", "/kept/minute").await;
    let part = fleet
        .get_with("web", "/kept/minute", &[("range", "bytes=0-3")])
        .await;
    assert_eq!(
        (part.header("x-range"), part.header("x-cache")),
        ("bytes=0-3", "BYPASS")
    );
    let own = fleet
        .get_with("web", "/kept/minute", &[("cache-control", "no-store")])
        .await;
    assert_eq!(
        (told(&own), own.header("cache-status")),
        (("BYPASS", 3), "bff; fwd=bypass")
    );
    // What asks for freshness changes nothing.
    let anew = fleet
        .get_with("web", "/kept/minute", &[("cache-control", "no-cache")])
        .await;
    assert_eq!(told(&anew), ("HIT", 1));
    // Not to be kept, of no said lifetime, or too long: never from a copy, and not waited for by others.
    for path in ["/kept/never", "/kept/silent", "/kept/large"] {
        let before = backstage.calls();
        for n in 1..=3 {
            let response = fleet.get("web", path).await;
            assert_eq!(response.body["number"], before + n, "{path}");
            assert_ne!(response.header("x-cache"), "HIT", "{path}");
        }
    }
    let large = fleet.get("web", "/kept/large").await;
    assert_eq!(large.body["text"].as_str().unwrap().len(), 5000);
}

#[tokio::test]
async fn a_route_may_say_how_long_but_not_what_may_be_kept() {
    let (fleet, backstage) = fleet("cache_ttl = \"1h\"", "").await;
    for (path, kept) in [("/kept/silent", true), ("/kept/never", false)] {
        let before = backstage.calls();
        fleet.get("web", path).await;
        fleet.get("web", path).await;
        assert_eq!(backstage.calls() == before + 1, kept, "{path}");
    }
}

#[tokio::test]
async fn a_write_outdates_its_address_whatever_the_query_and_a_refused_one_does_not() {
    let (fleet, _) = fleet("", "").await;
    for path in ["/kept/minute", "/kept/minute?a=b", "/kept/refused"] {
        fleet.get("web", path).await;
        assert_eq!(
            fleet.get("web", path).await.header("x-cache"),
            "HIT",
            "{path}"
        );
    }
    assert_eq!(put(&fleet, "/kept/minute").await, 204);
    assert_eq!(put(&fleet, "/kept/refused").await, 409);
    for (path, how) in [
        ("/kept/minute", "MISS"),
        ("/kept/minute?a=b", "MISS"),
        ("/kept/refused", "HIT"),
    ] {
        assert_eq!(
            fleet.get("web", path).await.header("x-cache"),
            how,
            "{path}"
        );
    }
}

/// What failed is passed on, and the next one is kept again: who could not be kept is remembered for a while, a mishap
/// is not.
#[tokio::test]
async fn a_mishap_is_not_kept_and_keeps_nothing_from_being_kept() {
    let once = "[upstreams.order.retry]\nmax_attempts = 1\n";
    let (fleet, backstage) = fleet("", once).await;
    let ill = fleet.get("web", "/kept/ill-at-first").await;
    assert_eq!((ill.status.as_u16(), ill.header("x-cache")), (500, "MISS"));
    for told_then in ["MISS", "HIT", "HIT"] {
        let response = fleet.get("web", "/kept/ill-at-first").await;
        assert_eq!(told(&response), (told_then, 2));
    }
    assert_eq!(backstage.calls(), 2);
}

#[tokio::test]
async fn a_purge_reaches_what_routes_keep() {
    let admin = "[server]\nadmin_token = \"only-for-this-test\"\n";
    let (fleet, _) = fleet("", admin).await;
    let purge = async |body: &serde_json::Value| {
        let url = format!("{}/cache/purge", fleet.running.admin_url("web"));
        let request = fleet.http.post(url).bearer_auth("only-for-this-test");
        assert_eq!(send(request.json(body)).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let all = ["/kept/tagged", "/kept/tagged?a=b", "/kept/minute"];
    let key = |path: &str| json!({"keys": [{"upstream": "order", "path": path}]});
    for (body, killed) in [
        (json!({"tags": ["shelf-2"]}), [true, true, false]),
        (key("/tagged"), [true, true, false]),
        (key("/tagged?a=b"), [false, true, false]),
        (key("/kept/tagged"), [false, false, false]),
        (json!({"upstreams": ["order"]}), [true, true, true]),
        (json!({"upstreams": ["product"]}), [false, false, false]),
    ] {
        for path in all {
            fleet.get("web", path).await;
            assert_eq!(fleet.get("web", path).await.header("x-cache"), "HIT");
        }
        purge(&body).await;
        for (path, killed) in all.into_iter().zip(killed) {
            let how = if killed { "MISS" } else { "HIT" };
            let response = fleet.get("web", path).await;
            assert_eq!(response.header("x-cache"), how, "{path} {body}");
        }
    }
}

#[tokio::test]
async fn what_varies_is_kept_for_each_and_given_to_nobody_else() {
    let (fleet, backstage) = fleet("", "").await;
    let ask = async |language: &str, own: &str| {
        let headers = [("accept-language", language), ("x-own", own)];
        fleet.get_with("web", "/kept/varied", &headers).await
    };
    let kinds = [("de", "1"), ("en", "1"), ("de", "2")];
    let all = kinds.iter().flat_map(|kind| [*kind; 4]);
    let asking = all.map(|(language, own)| ask(language, own));
    let responses = join_all(asking).await;
    // By now it is known what they vary by.
    let mut numbers = std::collections::BTreeMap::new();
    for round in 0..3 {
        for (language, own) in kinds {
            let response = ask(language, own).await;
            if round > 0 {
                assert_eq!(response.header("x-cache"), "HIT", "{language} {own}");
            }
            numbers.insert((language, own), told(&response).1);
        }
    }
    let mut different: Vec<u64> = numbers.values().copied().collect();
    different.dedup();
    assert_eq!(different.len(), 3, "{numbers:?}");
    assert!(responses.iter().all(|response| response.status == 200));
    let before = backstage.calls();
    assert_eq!(told(&ask("fr", "1").await), ("MISS", u64::from(before) + 1));
}

#[tokio::test]
async fn who_is_signed_in_shares_only_what_is_said_to_be_for_all() {
    let (fleet, _) = fleet("", "").await;
    let (ada, ben) = (fleet.bearer("ada"), fleet.bearer("ben"));
    let ask = async |path: &str, bearer: &str| {
        let headers = [("authorization", bearer)];
        let headers = if bearer.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        fleet.get_with("web", path, headers).await
    };
    for who in [&ada, &ben, &ada] {
        let own = ask("/kept/minute", who).await;
        let user = if *who == ada { "ada" } else { "ben" };
        assert_eq!(
            (own.header("x-cache"), &own.body["text"]),
            ("MISS", &user.into())
        );
    }
    // What was theirs was not kept, and what is kept of nobody's is not given to them.
    assert_eq!(ask("/kept/minute", "").await.body["text"], "");
    assert_eq!(ask("/kept/minute", "").await.header("x-cache"), "HIT");
    assert_eq!(ask("/kept/minute", &ada).await.body["text"], "ada");
    let first = ask("/kept/all", &ada).await;
    for who in [&ben, "", &ada] {
        let response = ask("/kept/all", who).await;
        assert_eq!(told(&response), ("HIT", told(&first).1));
    }
}

#[tokio::test]
async fn what_has_not_changed_is_asked_about_and_told_anew() {
    let (fleet, backstage) = fleet("", "").await;
    let first = fleet.get("web", "/kept/asked").await;
    let second = fleet.get("web", "/kept/asked").await;
    assert_eq!((told(&first).1, told(&second).1), (1, 1));
    assert_eq!(backstage.calls(), 2);
    // The 304's own fields are the answer's from now on.
    assert_eq!(
        (first.header("x-number"), second.header("x-number")),
        ("1", "2")
    );
    assert_eq!(second.header("content-type"), "application/json");
}

#[tokio::test]
async fn many_at_once_are_one_call_at_all_replicas() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let store = format!(
        "{}timeout = \"2s\"\n[cache.shared]\nlease_wait = \"10s\"\n",
        redis.config()
    );
    let store = store.replace("[store]", "\n[store]");
    let backstage = Backstage::default();
    let at = backstage.start().await;
    let (one, two) = (
        replica(&at, "", &store).await,
        replica(&at, "", &store).await,
    );
    let asking = (0..60).map(|n| if n % 2 == 0 { &one } else { &two }.get("web", "/kept/slow"));
    let responses = join_all(asking).await;
    assert!(
        responses
            .iter()
            .all(|response| response.body["number"] == 1)
    );
    assert_eq!(backstage.calls(), 1);
    // A write at one is known to the other.
    assert_eq!(put(&one, "/kept/slow").await, 204);
    let began = instant();
    while told(&two.get("web", "/kept/slow").await).1 == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        began.elapsed() < Duration::from_millis(1300),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_write_passed_on_outdates_what_screens_kept_of_its_address() {
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
async fn the_shipped_catalogue_is_kept_and_nothing_of_a_users() {
    let fleet = TestFleet::start_with(|fleet| {
        let kept = "[cache]\nmax_bytes = 67108864\n".to_owned();
        fleet.overlays.insert("web".into(), kept);
    })
    .await;
    let ada = fleet.bearer("ada");
    for (path, headers, told) in [
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
            told,
            "{path}: {:?}",
            second.headers
        );
    }
}
