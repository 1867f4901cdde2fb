//! Mobile's own: what fits on a phone, and not a byte that was not asked for.

use serde_json::json;
use services_mock::{Backend, Fault};

use crate::support::TestFleet;

const PAGE: &str = "/v1/products/p-1";

#[tokio::test]
async fn a_product_is_short() {
    let fleet = TestFleet::start().await;
    let page = fleet.get("mobile", PAGE).await;
    assert_eq!(
        page.members("product"),
        [
            "id",
            "name",
            "description",
            "year",
            "runtimeMinutes",
            "maturity",
            "image"
        ]
    );
    let product = &page.body["product"];
    assert!(product["image"].as_str().unwrap().ends_with("w=640"));
    let description = product["description"].as_str().unwrap();
    assert_eq!(
        description.matches(". ").count(),
        0,
        "one sentence: {description}"
    );
    assert_eq!(page.body["rating"]["reviews"].as_array().unwrap().len(), 3);
    assert_eq!(page.body["similar"].as_array().unwrap().len(), 4);
    let browser = fleet.get("web", "/api/product-details/p-1").await;
    let (small, large) = (page.body.to_string().len(), browser.body.to_string().len());
    assert!(small * 3 < large, "{small} bytes of the web's {large}");
}

#[tokio::test]
async fn a_field_deep_inside_can_be_had_alone() {
    let fleet = TestFleet::start().await;
    let fields = format!("{PAGE}?fields=product.name,availability.cheapest.price");
    let page = fleet.get("mobile", &fields).await;
    assert_eq!(page.body["product"], json!({"name": "The Quiet Harbour"}));
    assert_eq!(page.members("availability"), ["cheapest"]);
    let cheapest = page.body["availability"]["cheapest"].as_object().unwrap();
    assert!(cheapest.keys().eq(["price"]), "{cheapest:?}");
    assert_eq!(fleet.running.mocks().stats(Backend::Review).calls, 0);
}

#[tokio::test]
async fn what_is_similar_is_lost_alone() {
    let fleet = TestFleet::start().await;
    let lost = Fault::status(500).on("/products/p-1/similar");
    fleet
        .loses_only(("mobile", PAGE), &[], "similar", (Backend::Product, lost))
        .await;
}
