//! What is kept between requests: as told, for as long as allowed, and for nobody else.
//!
//! Freshness is set to moments here, so that copies grow stale while a test runs.

use std::sync::Arc;
use std::time::Duration;

use bff_core::GatewayHandles;
use bff_core::context::Env;
use bff_core::outbound::{self, Freshness, Upstream};
use bff_core::scope::Identity;
use bff_core::{Caller, RequestContext, UpstreamClient};
use bff_services::review::{NewReview, ReviewClient};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};

use crate::support::{Answer, Shop, instant, send, until};

mod isolation;
mod purge;
mod replicas;
mod single_flight;

const PAGE: &str = "/api/product-details/p-1";
const PART: &str = "/api/product-details/p-1?fields=product,reviews,availability";

/// A fleet that keeps what it fetched, with more configuration for the web gateway.
async fn keeping(web: &str) -> Shop {
    Shop::with(|fleet| {
        let web = format!("[cache]\nmax_bytes = 67108864\n{web}");
        fleet.overlays.insert("web".into(), web);
    })
    .await
}

/// Fresh for a moment, and then stale for as long as the calls allow, without renewals.
async fn stale_soon() -> Shop {
    let brief = |name: &str| {
        format!(
            "[upstreams.{name}.cache]\nttl = \"{MOMENT:?}\"\nstale_while_revalidate = \"0s\"\n\
             [upstreams.{name}.retry]\nmax_attempts = 1\n"
        )
    };
    keeping(&["product", "review", "inventory"].map(brief).concat()).await
}

const MOMENT: Duration = Duration::from_millis(80);

async fn a_moment() {
    tokio::time::sleep(MOMENT + Duration::from_millis(5)).await;
}

/// A gateway's own parts and a backend to call in its words, where no screen makes the call.
fn calling(shop: &Shop, backend: Backend) -> (RequestContext, Upstream) {
    let world = Env::real();
    let shared = Arc::new(GatewayHandles::in_process("web", world));
    let config = outbound::Config::at(shop.fleet.backend_url(backend).parse().unwrap());
    let up = Upstream::new(backend.name(), &config, &shared).unwrap();
    (
        RequestContext::background(&shared.client, &shared.env, Duration::from_secs(5)),
        up,
    )
}

fn caller(account: &str) -> Caller {
    let account = account.to_owned();
    let identity = Identity {
        account,
        ..Identity::default()
    };
    Caller::new(identity).unwrap()
}

fn calls(shop: &Shop) -> u64 {
    let count = |backend| shop.fleet.mocks().stats(backend).calls;
    Backend::ALL.into_iter().map(count).sum()
}

fn max_age(page: &Answer) -> Option<u64> {
    let (_, age) = page.header("cache-control").split_once("max-age=")?;
    age.parse().ok()
}

/// The page without what changes while its content does not.
fn content(page: &Answer) -> Value {
    let mut body = page.body.clone();
    body.as_object_mut().unwrap().remove("_meta");
    body
}

#[tokio::test]
async fn a_second_reader_costs_no_call_and_is_told_how_old_it_is() {
    let shop = keeping("").await;
    let first = shop.get("web", PAGE).await;
    assert_eq!((first.header("x-cache"), first.header("age")), ("MISS", ""));
    assert_eq!(first.header("cache-status"), "bff; fwd=miss");
    let before = calls(&shop);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let second = shop.get("web", PAGE).await;
    assert_eq!(calls(&shop), before);
    assert_eq!(content(&second), content(&first));
    for (name, told) in second.body["_meta"]["sections"].as_object().unwrap() {
        assert_eq!(told["state"], "cached", "{name}");
        assert!(told["ageMs"].as_u64().unwrap() >= 1100, "{name}: {told}");
        assert!(told["reason"].is_null() && told["retryAfterMs"].is_null());
    }
    assert_eq!(second.body["_meta"]["complete"], true);
    assert_eq!(
        second.header("sections"),
        "product=cached;age=1, reviews=cached;age=1, availability=cached;age=1, similar=cached;age=1"
    );
    assert_eq!(
        (second.header("x-cache"), second.header("age")),
        ("HIT", "1")
    );
    // Availability is fresh for ten seconds; what of them is left is `max-age` less `Age`.
    let left = max_age(&second).unwrap() - 1;
    assert!((6..=8).contains(&left), "{left}");
    assert_eq!(
        second.header("cache-status"),
        format!("bff; hit; ttl={left}")
    );
    // By GraphQL too, and not kept outside.
    let document = json!({"query": "{ productPage(id: \"p-1\") { product { name } } }"});
    let answer = shop.post("web", "/graphql", &document).await;
    assert_eq!(answer.header("x-cache"), "HIT", "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    let sections = &answer.body["extensions"]["sections"];
    assert_eq!(sections["productPage.product"]["state"], "cached");
}

#[tokio::test]
async fn a_page_is_the_same_to_its_reader_while_the_states_of_its_sections_change() {
    let shop = stale_soon().await;
    let fresh = shop.get("web", PART).await;
    let etag = fresh.header("etag").to_owned();
    let asked = [("if-none-match", etag.as_str())];
    let cached = shop.get_with("web", PART, &asked).await;
    assert_eq!(
        (cached.status.as_u16(), cached.header("x-cache")),
        (304, "HIT")
    );
    assert!(
        cached
            .header("sections")
            .starts_with("product=cached;age=0")
    );
    a_moment().await;
    let lost = Fault::status(503);
    shop.fleet.mocks().set_fault(Backend::Review, lost).unwrap();
    let stale = shop.get_with("web", PART, &asked).await;
    assert_eq!(
        (stale.status.as_u16(), stale.header("x-cache")),
        (304, "STALE")
    );
    assert_eq!(
        (stale.header("etag"), max_age(&stale)),
        (etag.as_str(), Some(0))
    );
    assert!(stale.header("sections").contains("reviews=stale;age=0"));
    assert_eq!(stale.header("vary").matches("accept-encoding").count(), 1);
}

#[tokio::test]
async fn an_optional_section_is_stale_rather_than_missing_and_says_why() {
    let shop = stale_soon().await;
    let whole = shop.get("web", PART).await;
    a_moment().await;
    for (fault, reason) in [
        (Fault::status(503), "unavailable"),
        (Fault::status(429), "overloaded"),
        (Fault::status(500), "bad_response"),
        (Fault::mode(Mode::Malformed), "bad_response"),
        (Fault::mode(Mode::Reset), "unavailable"),
    ] {
        shop.fleet
            .mocks()
            .set_fault(Backend::Review, fault)
            .unwrap();
        let page = shop.get("web", PART).await;
        assert_eq!(
            (page.status.as_u16(), content(&page)),
            (200, content(&whole))
        );
        let told = page.section("reviews");
        assert_eq!(
            (&told["state"], &told["reason"]),
            (&"stale".into(), &reason.into())
        );
        assert!(told["ageMs"].as_u64().unwrap() >= 80, "{told}");
        assert_eq!(page.body["_meta"]["complete"], true);
        assert_eq!((page.header("x-cache"), max_age(&page)), ("STALE", Some(0)));
        assert_eq!(
            page.header("cache-status"),
            format!("bff; fwd=stale; detail={reason}")
        );
        assert_eq!(page.header("etag"), whole.header("etag"));
    }
    // Half of its calls failed: it is not asked any more, and the copy says until when.
    let told = loop {
        let page = shop.get("web", PART).await;
        if page.section("reviews")["reason"] == "circuit_open" {
            break page.section("reviews").clone();
        }
    };
    assert_eq!(told["state"], "stale");
    assert!(told["retryAfterMs"].as_u64().unwrap() > 0, "{told}");
}

#[tokio::test]
async fn a_required_section_is_answered_by_a_copy_within_its_bound_and_never_late() {
    let shop = stale_soon().await;
    let whole = shop.get("web", PART).await;
    a_moment().await;
    let began = instant();
    let hangs = Fault::mode(Mode::Hang);
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, hangs)
        .unwrap();
    let hurried = [("request-timeout", "300")];
    let page = shop.get_with("web", PART, &hurried).await;
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (page.status.as_u16(), content(&page)),
        (200, content(&whole))
    );
    let told = page.section("product");
    assert_eq!(
        (&told["state"], &told["reason"]),
        (&"stale".into(), &"deadline".into())
    );
    until(|| shop.fleet.mocks().stats(Backend::Product).in_flight == 0).await;
    let broken = Fault::status(500);
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, broken)
        .unwrap();
    assert_eq!(shop.get("web", PART).await.status, 200);
    // Of another product there is no copy, and a copy of what is gone is none.
    let other = shop
        .get("web", "/api/product-details/p-2?fields=product")
        .await;
    assert_eq!(
        (other.status.as_u16(), other.header("cache-control")),
        (502, "no-store")
    );
    let gone = Fault::status(404);
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, gone)
        .unwrap();
    assert_eq!(shop.get("web", PART).await.status, 404);
    shop.fleet
        .mocks()
        .set_fault(Backend::Product, Fault::status(500))
        .unwrap();
    assert_eq!(shop.get("web", PART).await.status, 502);
}

#[tokio::test]
async fn a_copy_past_its_bound_is_none() {
    let bound = "[upstreams.review.cache]\nttl = \"1h\"\n[upstreams.review.cache.routes.\"/reviews\"]\nttl = \"80ms\"\nstale_if_error = \"80ms\"\nstale_while_revalidate = \"0s\"\n";
    let shop = keeping(bound).await;
    shop.get("web", PART).await;
    a_moment().await;
    a_moment().await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Review, Fault::status(500))
        .unwrap();
    let page = shop.get("web", PART).await;
    assert_eq!(page.section("reviews")["state"], "missing");
    assert_eq!(
        (
            &page.body["_meta"]["complete"],
            page.header("cache-control")
        ),
        (&false.into(), "no-store")
    );
}

#[tokio::test]
async fn what_can_be_had_is_never_stale() {
    let shop = stale_soon().await;
    let whole = shop.get("web", PART).await;
    assert_eq!(
        shop.get("web", PART).await.section("availability")["state"],
        "cached"
    );
    a_moment().await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Inventory, Fault::status(503))
        .unwrap();
    let page = shop.get("web", PART).await;
    assert_eq!(page.section("availability")["state"], "missing");
    assert!(page.body["availability"].is_null() && !whole.body["availability"].is_null());
    assert!(page.header("etag").is_empty());
}

#[tokio::test]
async fn what_comes_over_grpc_is_kept_and_shared_alike_and_never_stale() {
    let shop = keeping("[upstreams.playback.cache]\nttl = \"300ms\"\n").await;
    let slow = Fault::latency(Duration::from_millis(100));
    shop.fleet
        .mocks()
        .set_fault(Backend::Playback, slow)
        .unwrap();
    let one = "/api/products/p-1/playback";
    let pages =
        join_all([one, one, "/api/products/p-2/playback"].map(|path| shop.get("web", path))).await;
    assert_eq!(pages[0].body["manifest"], pages[1].body["manifest"]);
    assert_ne!(pages[0].body["manifest"], pages[2].body["manifest"]);
    assert_eq!(shop.fleet.mocks().stats(Backend::Playback).calls, 2);
    assert_eq!(
        shop.get("web", one).await.section("manifest")["state"],
        "cached"
    );
    tokio::time::sleep(Duration::from_millis(350)).await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Playback, Fault::status(503))
        .unwrap();
    assert_eq!(shop.get("web", one).await.status, 503);
}

#[tokio::test]
async fn a_stale_section_is_shown_at_once_and_renewed_by_one_call() {
    let shop = keeping("[upstreams.review.cache]\nttl = \"80ms\"\n").await;
    shop.get("web", PART).await;
    a_moment().await;
    let slow = Fault::latency(Duration::from_millis(300));
    shop.fleet.mocks().set_fault(Backend::Review, slow).unwrap();
    let before = shop.fleet.mocks().stats(Backend::Review).calls;
    let began = instant();
    for page in join_all((0..5).map(|_| shop.get("web", PART))).await {
        let told = page.section("reviews");
        assert_eq!(
            (&told["state"], told["reason"].is_null()),
            (&"stale".into(), true)
        );
        assert_eq!((page.header("x-cache"), max_age(&page)), ("STALE", Some(0)));
        assert_eq!(page.header("cache-status"), "bff; hit; detail=stale");
    }
    assert!(
        began.elapsed() < Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
    let review = || shop.fleet.mocks().stats(Backend::Review);
    until(|| review().calls == before + 1 && review().in_flight == 0).await;
    // Nobody waited for it, and it says so.
    assert_eq!(review().last_headers["priority"], "u=7");
    shop.fleet.mocks().clear_faults(None);
    // It is fresh again, for a moment; then the next reader sees that.
    let renewed = async {
        while shop.get("web", PART).await.section("reviews")["state"] != "cached" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), renewed)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let shop = stale_soon().await;
    let first = shop.get("web", PART).await;
    a_moment().await;
    let before = calls(&shop);
    let second = shop.get("web", PART).await;
    assert_eq!(calls(&shop), before + 3);
    let asked = shop.fleet.mocks().stats(Backend::Review).last_headers;
    assert!(asked["if-none-match"].starts_with('"'), "{asked:?}");
    assert_eq!(
        second.body["_meta"]["sections"],
        first.body["_meta"]["sections"]
    );
    assert_eq!(
        (content(&second), second.header("x-cache")),
        (content(&first), "MISS")
    );
    assert_eq!(shop.get("web", PART).await.header("x-cache"), "HIT");
}

#[tokio::test]
async fn whoever_writes_reads_what_they_wrote() {
    let shop = Shop::open().await;
    let (cx, up) = calling(&shop, Backend::Review);
    let (review, ada) = (ReviewClient::new(up), caller("ada"));
    let read = async |id: &str| {
        let read = review.of_product(&cx, &id.parse().unwrap(), 10, None).await;
        let read = read.unwrap();
        (read.value.count, read.provenance.state)
    };
    let (before, _) = read("p-1").await;
    read("p-2").await;
    assert_eq!(read("p-1").await, (before, Freshness::Cached));
    let draft = NewReview {
        product_id: "p-1".parse().unwrap(),
        rating: 5,
        title: "T".into(),
        text: "X".into(),
    };
    review.post(&cx, &ada, None, &draft).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(read("p-1").await, (before + 1, Freshness::Fresh));
    assert_eq!(read("p-1").await, (before + 1, Freshness::Cached));
    assert_eq!(
        read("p-2").await.1,
        Freshness::Cached,
        "it was not about this one"
    );
}

#[tokio::test]
async fn operators_see_how_often_a_copy_served() {
    let shop = keeping("").await;
    for _ in 0..3 {
        shop.get("web", "/api/product-details/p-1?fields=product")
            .await;
    }
    let metrics = shop
        .http
        .get(format!("{}/metrics", shop.fleet.admin_url("web")));
    let metrics = send(metrics).await.text().await.unwrap();
    for (outcome, count) in [("miss", 1), ("hit", 2)] {
        let line = format!(
            "bff_cache_lookups_total{{outcome=\"{outcome}\",route=\"/products/{{id}}\",upstream=\"product\",client=\"web\"}} {count}"
        );
        assert!(
            metrics.lines().any(|l| l == line),
            "no {line} in\n{metrics}"
        );
    }
    assert!(
        metrics.contains("bff_cache_bytes{client=\"web\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_its_bytes() {
    let shop = Shop::with(|fleet| {
        let small = "[cache]\nmax_bytes = 60000\n".to_owned();
        fleet.overlays.insert("web".into(), small);
    })
    .await;
    let held = || async {
        let metrics = shop
            .http
            .get(format!("{}/metrics", shop.fleet.admin_url("web")));
        let metrics = send(metrics).await.text().await.unwrap();
        let mut lines = metrics.lines();
        let line = lines.find_map(|l| l.strip_prefix("bff_cache_bytes{client=\"web\"} "));
        line.unwrap().parse::<f64>().unwrap()
    };
    for n in 1..=100 {
        let path = format!("/api/product-details/p-{n}?fields=product");
        assert_eq!(shop.get("web", &path).await.status, 200);
        if n % 20 == 0 {
            let held = held().await;
            assert!(held > 1000.0 && held <= 60000.0, "{held}");
        }
    }
    let before = calls(&shop);
    for n in 1..=100 {
        shop.get("web", &format!("/api/product-details/p-{n}?fields=product"))
            .await;
    }
    assert!(calls(&shop) > before + 50, "most had to go");
}
