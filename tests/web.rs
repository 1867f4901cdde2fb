//! The web's own: everything about a product on one page, which a browser may keep.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

const PAGE: &str = "/api/product-details/p-1";

#[tokio::test]
async fn a_whole_page_is_complete_and_may_be_kept() {
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
    // Nobody is signed in: what is personal does not apply, and is not listed.
    assert!(page.body["friends"].is_null() && page.section("friends").is_null());
    assert_eq!(page.header("cache-control"), "public, max-age=10");
    let etag = page.header("etag").to_owned();
    assert!(etag.starts_with("W/\""));
    let headers = [("if-none-match", etag.as_str())];
    let again = fleet.get_with("web", PAGE, &headers).await;
    assert_eq!(again.status, 304);
    assert_eq!(again.header("sections"), page.header("sections"));
}

#[tokio::test]
async fn a_page_with_friends_is_the_callers_own() {
    let fleet = TestFleet::start().await;
    let ada = fleet.bearer("ada");
    let headers = [("authorization", ada.as_str())];
    let page = fleet.get_with("web", PAGE, &headers).await;
    assert_eq!(page.section("friends")["source"], "user");
    assert!(page.header("cache-control").starts_with("private"));
    let lost = (Backend::User, Fault::status(503));
    fleet
        .loses_only(("web", PAGE), &headers, "friends", lost)
        .await;
}

#[tokio::test]
async fn what_is_similar_is_lost_alone() {
    let fleet = TestFleet::start().await;
    let lost = Fault::status(500).on("/products/p-1/similar");
    fleet
        .loses_only(("web", PAGE), &[], "similar", (Backend::Product, lost))
        .await;
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_fetched() {
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
    let wrong = fleet
        .get("web", &format!("{PAGE}?fields=prodct,reviews.stars"))
        .await;
    assert_eq!(wrong.status, 422);
    assert_eq!(wrong.body["errors"].as_array().unwrap().len(), 2);
}
