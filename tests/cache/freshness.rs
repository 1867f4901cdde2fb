//! Fresh, cached and stale sections, with a paused clock: TTLs and ages are exact.

use tokio::time::{Instant, sleep};

use super::*;

/// The TTL of every backend in these tests.
const TTL: Duration = Duration::from_millis(80);

/// Starts a sim fleet that caches, with more configuration for web.
fn start(web: &str) -> SimFleet {
    SimFleet::start_web(&format!("[cache]\nmax_bytes = 67108864\n{web}"))
}

/// Starts a sim fleet with a short TTL, one attempt and no background revalidation.
fn start_with_short_ttl() -> SimFleet {
    let upstream = |name: &str| {
        format!(
            "[upstreams.{name}.cache]\nttl = \"{TTL:?}\"\nstale_while_revalidate = \"0s\"\n\
             [upstreams.{name}.retry]\nmax_attempts = 1\n"
        )
    };
    start(&["product", "review", "inventory"].map(upstream).concat())
}

async fn wait_for_expiry() {
    sleep(TTL + Duration::from_millis(5)).await;
}

fn set_fault(fleet: &SimFleet, backend: Backend, fault: Fault) {
    fleet.mocks.set_fault(backend, fault).unwrap();
}

fn total_calls(fleet: &SimFleet) -> u64 {
    let count = |backend| fleet.mocks.stats(backend).calls;
    Backend::ALL.into_iter().map(count).sum()
}

#[tokio::test(start_paused = true)]
async fn a_cached_page_makes_no_call_and_reports_its_age() {
    let fleet = start("");
    let first = fleet.get("web", PAGE).await;
    assert_eq!((first.header("x-cache"), first.header("age")), ("MISS", ""));
    assert_eq!(first.header("cache-status"), "bff; fwd=miss");
    let before = total_calls(&fleet);
    sleep(Duration::from_millis(1100)).await;
    let second = fleet.get("web", PAGE).await;
    assert_eq!(total_calls(&fleet), before);
    assert_eq!(content(&second), content(&first));
    for (name, section) in second.body["_meta"]["sections"].as_object().unwrap() {
        assert_eq!(section["state"], "cached", "{name}");
        let age = section["ageMs"].as_u64().unwrap();
        assert!((1100..1200).contains(&age), "{name}: {section}");
        assert!(section["reason"].is_null() && section["retryAfterMs"].is_null());
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
    // Availability is fresh for ten seconds. Its remaining time is `max-age` minus `Age`.
    let remaining = max_age(&second).unwrap() - 1;
    assert!((7..=8).contains(&remaining), "{remaining}");
    assert_eq!(
        second.header("cache-status"),
        format!("bff; hit; ttl={remaining}")
    );
    // GraphQL uses the cache too, but its responses must not be cached.
    let document = json!({"query": "{ productPage(id: \"p-1\") { product { name } } }"});
    let response = fleet.post("web", "/graphql", &document).await;
    assert_eq!(response.header("x-cache"), "HIT", "{}", response.body);
    assert_eq!(response.header("cache-control"), "no-store");
    let sections = &response.body["extensions"]["sections"];
    assert_eq!(sections["productPage.product"]["state"], "cached");
}

#[tokio::test(start_paused = true)]
async fn the_etag_stays_the_same_while_section_states_change() {
    let fleet = start_with_short_ttl();
    let fresh = fleet.get("web", PART).await;
    let etag = fresh.header("etag").to_owned();
    let headers = [("if-none-match", etag.as_str())];
    let cached = fleet.get_with("web", PART, &headers).await;
    assert_eq!(
        (cached.status.as_u16(), cached.header("x-cache")),
        (304, "HIT")
    );
    let sections = cached.header("sections");
    assert!(sections.starts_with("product=cached;age=0"), "{sections}");
    wait_for_expiry().await;
    set_fault(&fleet, Backend::Review, Fault::status(503));
    let stale = fleet.get_with("web", PART, &headers).await;
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

#[tokio::test(start_paused = true)]
async fn an_optional_section_is_stale_instead_of_missing_and_reports_the_reason() {
    let fleet = start_with_short_ttl();
    let healthy = fleet.get("web", PART).await;
    wait_for_expiry().await;
    for (fault, reason) in [
        (Fault::status(503), "unavailable"),
        (Fault::status(429), "overloaded"),
        (Fault::status(500), "bad_response"),
        (Fault::mode(Mode::Malformed), "bad_response"),
        (Fault::mode(Mode::Reset), "unavailable"),
    ] {
        set_fault(&fleet, Backend::Review, fault);
        let page = fleet.get("web", PART).await;
        assert_eq!(
            (page.status.as_u16(), content(&page)),
            (200, content(&healthy))
        );
        let section = page.section("reviews");
        assert_eq!(
            (&section["state"], &section["reason"]),
            (&"stale".into(), &reason.into())
        );
        assert!(section["ageMs"].as_u64().unwrap() >= 80, "{section}");
        assert_eq!(page.body["_meta"]["complete"], true);
        assert_eq!((page.header("x-cache"), max_age(&page)), ("STALE", Some(0)));
        assert_eq!(
            page.header("cache-status"),
            format!("bff; fwd=stale; detail={reason}")
        );
        assert_eq!(page.header("etag"), healthy.header("etag"));
    }
    // After enough failures the circuit breaker opens, and the stale section reports the retry time.
    let section = loop {
        let page = fleet.get("web", PART).await;
        if page.section("reviews")["reason"] == "circuit_open" {
            break page.section("reviews").clone();
        }
    };
    assert_eq!(section["state"], "stale");
    assert!(section["retryAfterMs"].as_u64().unwrap() > 0, "{section}");
}

#[tokio::test(start_paused = true)]
async fn a_required_section_is_stale_at_the_deadline() {
    let fleet = start_with_short_ttl();
    let healthy = fleet.get("web", PART).await;
    wait_for_expiry().await;
    set_fault(&fleet, Backend::Product, Fault::mode(Mode::Hang));
    let started = Instant::now();
    let headers = [("request-timeout", "300")];
    let page = fleet.get_with("web", PART, &headers).await;
    let elapsed = started.elapsed();
    assert!(elapsed <= Duration::from_millis(300), "{elapsed:?}");
    assert_eq!(
        (page.status.as_u16(), content(&page)),
        (200, content(&healthy))
    );
    let section = page.section("product");
    assert_eq!(
        (&section["state"], &section["reason"]),
        (&"stale".into(), &"deadline".into())
    );
    sleep(Duration::from_millis(50)).await;
    assert_eq!(fleet.mocks.stats(Backend::Product).in_flight, 0);
    set_fault(&fleet, Backend::Product, Fault::status(500));
    assert_eq!(fleet.get("web", PART).await.status, 200);
    // Another product has no cache entry.
    let other = fleet
        .get("web", "/api/product-details/p-2?fields=product")
        .await;
    assert_eq!(
        (other.status.as_u16(), other.header("cache-control")),
        (502, "no-store")
    );
    // A 404 removes the entry.
    set_fault(&fleet, Backend::Product, Fault::status(404));
    assert_eq!(fleet.get("web", PART).await.status, 404);
    set_fault(&fleet, Backend::Product, Fault::status(500));
    assert_eq!(fleet.get("web", PART).await.status, 502);
}

#[tokio::test(start_paused = true)]
async fn an_entry_older_than_stale_if_error_is_not_used() {
    let route = "[upstreams.review.cache]\nttl = \"1h\"\n[upstreams.review.cache.routes.\"/reviews\"]\nttl = \"80ms\"\nstale_if_error = \"80ms\"\nstale_while_revalidate = \"0s\"\n";
    let fleet = start(route);
    fleet.get("web", PART).await;
    wait_for_expiry().await;
    wait_for_expiry().await;
    set_fault(&fleet, Backend::Review, Fault::status(500));
    let page = fleet.get("web", PART).await;
    assert_eq!(page.section("reviews")["state"], "missing");
    assert_eq!(
        (
            &page.body["_meta"]["complete"],
            page.header("cache-control")
        ),
        (&false.into(), "no-store")
    );
}

#[tokio::test(start_paused = true)]
async fn availability_is_never_stale() {
    let fleet = start_with_short_ttl();
    let healthy = fleet.get("web", PART).await;
    assert_eq!(
        fleet.get("web", PART).await.section("availability")["state"],
        "cached"
    );
    wait_for_expiry().await;
    set_fault(&fleet, Backend::Inventory, Fault::status(503));
    let page = fleet.get("web", PART).await;
    assert_eq!(page.section("availability")["state"], "missing");
    assert!(page.body["availability"].is_null() && !healthy.body["availability"].is_null());
    assert!(page.header("etag").is_empty());
}

#[tokio::test(start_paused = true)]
async fn grpc_responses_are_cached_and_coalesced_but_never_stale() {
    let fleet = start("[upstreams.playback.cache]\nttl = \"300ms\"\n");
    let latency = Fault::latency(Duration::from_millis(100));
    set_fault(&fleet, Backend::Playback, latency);
    let first = "/api/products/p-1/playback";
    let paths = [first, first, "/api/products/p-2/playback"];
    let pages = join_all(paths.map(|path| fleet.get("web", path))).await;
    assert_eq!(pages[0].body["manifest"], pages[1].body["manifest"]);
    assert_ne!(pages[0].body["manifest"], pages[2].body["manifest"]);
    assert_eq!(fleet.mocks.stats(Backend::Playback).calls, 2);
    assert_eq!(
        fleet.get("web", first).await.section("manifest")["state"],
        "cached"
    );
    sleep(Duration::from_millis(350)).await;
    set_fault(&fleet, Backend::Playback, Fault::status(503));
    assert_eq!(fleet.get("web", first).await.status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_stale_section_is_sent_at_once_and_revalidated_by_one_call() {
    let fleet = start("[upstreams.review.cache]\nttl = \"80ms\"\n");
    fleet.get("web", PART).await;
    wait_for_expiry().await;
    let latency = Fault::latency(Duration::from_millis(300));
    set_fault(&fleet, Backend::Review, latency);
    let before = fleet.mocks.stats(Backend::Review).calls;
    let started = Instant::now();
    for page in join_all((0..5).map(|_| fleet.get("web", PART))).await {
        let section = page.section("reviews");
        assert_eq!(
            (&section["state"], section["reason"].is_null()),
            (&"stale".into(), true)
        );
        assert_eq!((page.header("x-cache"), max_age(&page)), ("STALE", Some(0)));
        assert_eq!(page.header("cache-status"), "bff; hit; detail=stale");
    }
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(50), "{elapsed:?}");
    sleep(Duration::from_millis(310)).await;
    let review = fleet.mocks.stats(Backend::Review);
    assert_eq!((review.calls, review.in_flight), (before + 1, 0));
    // No request waits for the revalidation, so it has the lowest urgency (RFC 9218).
    assert_eq!(review.last_headers["priority"], "u=7");
    let revalidated = fleet.get("web", PART).await;
    assert_eq!(revalidated.section("reviews")["state"], "cached");
}

#[tokio::test(start_paused = true)]
async fn expired_entries_are_revalidated_with_their_etag() {
    let fleet = start_with_short_ttl();
    let first = fleet.get("web", PART).await;
    wait_for_expiry().await;
    let before = total_calls(&fleet);
    let second = fleet.get("web", PART).await;
    assert_eq!(total_calls(&fleet), before + 3);
    let headers = fleet.mocks.stats(Backend::Review).last_headers;
    assert!(headers["if-none-match"].starts_with('"'), "{headers:?}");
    assert_eq!(
        second.body["_meta"]["sections"],
        first.body["_meta"]["sections"]
    );
    assert_eq!(
        (content(&second), second.header("x-cache")),
        (content(&first), "MISS")
    );
    assert_eq!(fleet.get("web", PART).await.header("x-cache"), "HIT");
}
