//! The product page of web: all sections, and a response that a browser may cache.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

const PAGE: &str = "/api/product-details/p-1";

#[tokio::test]
async fn a_complete_page_is_cacheable() {
    let fleet = TestFleet::start().await;
    let page = fleet.get("web", PAGE).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body["_meta"]["complete"], true);
    assert_eq!(page.body["product"]["name"], "The Quiet Harbour");
    assert_eq!(page.body["reviews"]["items"].as_array().unwrap().len(), 10);
    assert_eq!(
        page.header("sections"),
        "product=fresh, reviews=fresh, availability=fresh, similar=fresh"
    );
    // The caller is anonymous, so `_meta` does not list personal sections.
    assert!(page.body["friends"].is_null() && page.section("friends").is_null());
    assert_eq!(page.header("cache-control"), "public, max-age=10");
    let etag = page.header("etag").to_owned();
    assert!(etag.starts_with("W/\""));
    let headers = [("if-none-match", etag.as_str())];
    let unchanged = fleet.get_with("web", PAGE, &headers).await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(unchanged.header("sections"), page.header("sections"));
}

#[tokio::test]
async fn a_page_with_friends_is_private() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let page = fleet.get_with("web", PAGE, &headers).await;
    assert_eq!(page.section("friends")["source"], "user");
    assert!(page.header("cache-control").starts_with("private"));
    let fault = (Backend::User, Fault::status(503));
    fleet
        .assert_loses_only(("web", PAGE), &headers, "friends", fault)
        .await;
}

#[tokio::test]
async fn a_failure_of_similar_products_loses_that_section_only() {
    let fleet = TestFleet::start().await;
    let fault = Fault::status(500).on("/products/p-1/similar");
    fleet
        .assert_loses_only(("web", PAGE), &[], "similar", (Backend::Product, fault))
        .await;
}

#[tokio::test]
async fn only_requested_fields_are_fetched() {
    let fleet = TestFleet::start().await;
    let page = fleet
        .get("web", &format!("{PAGE}?fields=product.name,availability"))
        .await;
    assert_eq!(
        page.body["product"],
        serde_json::json!({"name": "The Quiet Harbour"})
    );
    assert!(page.body.get("reviews").is_none());
    assert_eq!(fleet.running.mocks().stats(Backend::Review).calls, 0);
    assert_eq!(fleet.running.mocks().stats(Backend::Inventory).calls, 1);
    let invalid = fleet
        .get("web", &format!("{PAGE}?fields=prodct,reviews.stars"))
        .await;
    assert_eq!(invalid.status, 422);
    assert_eq!(invalid.body["errors"].as_array().unwrap().len(), 2);
}
