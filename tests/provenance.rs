//! Only the section whose backend fails changes, and the answer says so; a required one fails the screen.

use std::time::Duration;

use services_mock::{Backend, Fault, Mode};

use crate::support::{Shop, instant};

const PAGE: &str = "/api/product-details/p-1";

#[tokio::test]
async fn a_whole_page_is_complete_and_may_be_kept() {
    let shop = Shop::open().await;
    let page = shop.get("web", PAGE).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body["_meta"]["complete"], true);
    assert_eq!(page.body["product"]["name"], "The Quiet Harbour");
    assert_eq!(page.body["reviews"]["items"].as_array().unwrap().len(), 10);
    assert_eq!(
        page.header("sections"),
        "product=fresh, reviews=fresh, availability=fresh, similar=fresh"
    );
    // Nobody is signed in: what is personal does not apply, and is not listed.
    assert!(page.body["friends"].is_null() && page.section("friends").is_null());
    assert_eq!(page.header("cache-control"), "public, max-age=10");
    let etag = page.header("etag").to_owned();
    assert!(etag.starts_with("W/\""));
    let again = shop
        .get_with("web", PAGE, &[("if-none-match", &etag)])
        .await;
    assert_eq!(again.status, 304);
    assert_eq!(again.header("sections"), page.header("sections"));
}

#[tokio::test]
async fn a_failing_optional_backend_changes_its_section_only() {
    let shop = Shop::unbroken().await;
    let whole = shop.get("web", PAGE).await;
    let faults = [
        (
            Backend::Review,
            Fault::status(503),
            "reviews",
            "unavailable",
        ),
        (
            Backend::Review,
            Fault::status(500),
            "reviews",
            "bad_response",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::Malformed),
            "reviews",
            "bad_response",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::Truncate),
            "reviews",
            "bad_response",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::Reset),
            "reviews",
            "unavailable",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::Endless),
            "reviews",
            "bad_response",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::GzipBomb),
            "reviews",
            "bad_response",
        ),
        (
            Backend::Review,
            Fault::mode(Mode::Hang),
            "reviews",
            "timeout",
        ),
        (
            Backend::Inventory,
            Fault::status(404),
            "availability",
            "not_found",
        ),
        (
            Backend::Product,
            Fault::status(503).on("/products/p-1/similar"),
            "similar",
            "unavailable",
        ),
    ];
    for (backend, fault, section, reason) in faults {
        shop.fleet.mocks().clear_faults(None);
        shop.fleet
            .mocks()
            .set_fault(backend, fault.clone())
            .unwrap();
        let page = shop.get("web", PAGE).await;
        assert_eq!(page.status, 200, "{fault:?}");
        assert_eq!(page.section(section)["state"], "missing", "{fault:?}");
        assert_eq!(page.section(section)["reason"], reason, "{fault:?}");
        assert!(page.body[section].is_null());
        assert!(
            page.header("sections")
                .contains(&format!("{section}=missing"))
        );
        let complete = reason == "not_found";
        assert_eq!(page.body["_meta"]["complete"], complete, "{fault:?}");
        assert_eq!(
            page.header("cache-control") == "no-store",
            !complete,
            "{fault:?}"
        );
        for other in ["product", "reviews", "availability", "similar"] {
            if other != section {
                assert_eq!(
                    page.body[other], whole.body[other],
                    "{other} under {fault:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_failing_required_backend_fails_the_screen_truthfully() {
    let shop = Shop::unbroken().await;
    let faults = [
        (Fault::status(503), 503, "unavailable"),
        (Fault::status(429), 503, "overloaded"),
        (Fault::status(500), 502, "bad_response"),
        (Fault::mode(Mode::Malformed), 502, "bad_response"),
        (Fault::mode(Mode::Reset), 503, "unavailable"),
        (Fault::mode(Mode::Hang), 504, "timeout"),
    ];
    for (fault, status, code) in faults {
        shop.fleet.mocks().clear_faults(None);
        shop.fleet
            .mocks()
            .set_fault(Backend::Product, fault.clone())
            .unwrap();
        let page = shop.get("web", PAGE).await;
        assert_eq!(
            (page.status.as_u16(), &page.body["code"]),
            (status, &code.into()),
            "{fault:?}"
        );
        assert_eq!(page.header("content-type"), "application/problem+json");
        assert_eq!(
            status == 503,
            !page.header("retry-after").is_empty(),
            "{fault:?}"
        );
    }
    shop.fleet.mocks().clear_faults(None);
    let absent = shop.get("web", "/api/product-details/p-99999").await;
    assert_eq!(
        (absent.status.as_u16(), &absent.body["code"]),
        (404, &"not_found".into())
    );
}

#[tokio::test]
async fn an_optional_section_never_delays_past_the_deadline() {
    let shop = Shop::open().await;
    let slow = Fault::latency(Duration::from_secs(5));
    shop.fleet.mocks().set_fault(Backend::Review, slow).unwrap();
    let started = instant();
    let page = shop
        .get_with("web", PAGE, &[("request-timeout", "300")])
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(page.status, 200);
    assert_eq!(page.section("reviews")["reason"], "deadline");
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_fetched() {
    let shop = Shop::open().await;
    let page = shop
        .get("web", &format!("{PAGE}?fields=product.name,availability"))
        .await;
    assert_eq!(
        page.body["product"],
        serde_json::json!({"name": "The Quiet Harbour"})
    );
    assert!(page.body.get("reviews").is_none());
    assert_eq!(shop.fleet.mocks().stats(Backend::Review).calls, 0);
    assert_eq!(shop.fleet.mocks().stats(Backend::Inventory).calls, 1);
    let wrong = shop
        .get("web", &format!("{PAGE}?fields=prodct,reviews.stars"))
        .await;
    assert_eq!(wrong.status, 422);
    assert_eq!(wrong.body["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn hanging_up_cancels_what_is_under_way() {
    let shop = Shop::open().await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Review, Fault::mode(Mode::Hang))
        .unwrap();
    let url = format!("{}{PAGE}", shop.fleet.url("web"));
    let request = tokio::spawn(crate::support::send(shop.http.get(url)));
    until(|| shop.fleet.mocks().stats(Backend::Review).in_flight == 1).await;
    request.abort();
    until(|| shop.fleet.mocks().stats(Backend::Review).cancelled == 1).await;
    assert_eq!(shop.fleet.mocks().stats(Backend::Review).in_flight, 0);
}

/// Waits for something to become true, and fails when it does not within the attempt timeout's half.
async fn until(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_millis(500), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}
