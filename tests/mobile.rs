//! The product page of mobile: small images, short texts, and only the requested fields.

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
    let web = fleet.get("web", "/api/product-details/p-1").await;
    let (size, web_size) = (page.body.to_string().len(), web.body.to_string().len());
    assert!(size * 3 < web_size, "{size} bytes; web sends {web_size}");
}

#[tokio::test]
async fn a_nested_field_can_be_requested_alone() {
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
async fn a_failure_of_similar_products_loses_that_section_only() {
    let fleet = TestFleet::start().await;
    let fault = Fault::status(500).on("/products/p-1/similar");
    fleet
        .assert_loses_only(("mobile", PAGE), &[], "similar", (Backend::Product, fault))
        .await;
}
