//! The partner gateway: API keys, plain catalogue data and batches.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

const PAGE: &str = "/v2/products/p-1";
const KEY: [(&str, &str); 1] = [("x-api-key", fleet::PARTNER_KEY)];

#[tokio::test]
async fn a_product_has_catalogue_fields_only() {
    let fleet = TestFleet::start().await;
    let page = fleet.get_with("partner", PAGE, &KEY).await;
    assert_eq!(
        page.members("product"),
        [
            "id",
            "title",
            "kind",
            "year",
            "genres",
            "listPrice",
            "updatedAt"
        ]
    );
    assert!(
        page.body["similar"]
            .as_array()
            .unwrap()
            .iter()
            .all(serde_json::Value::is_string)
    );
    let fault = Fault::status(500).on("/products/p-1/similar");
    fleet
        .assert_loses_only(
            ("partner", PAGE),
            &KEY,
            "similar",
            (Backend::Product, fault),
        )
        .await;
}

#[tokio::test]
async fn a_partner_needs_a_valid_key() {
    let fleet = TestFleet::start().await;
    for key in [
        "",
        "nonsense",
        "bffp_demo_wrong",
        "bffp_other_only-for-this-machine",
    ] {
        let rejected = fleet
            .get_with("partner", "/v2/products", &[("x-api-key", key)])
            .await;
        assert_eq!(
            (rejected.status.as_u16(), &rejected.body["code"]),
            (401, &"unauthenticated".into()),
            "{key:?}"
        );
    }
    let without_key = fleet.get("partner", "/v2/products?perPage=0").await;
    assert_eq!(without_key.status, 401);
    let invalid = fleet
        .get_with("partner", "/v2/products?perPage=0", &KEY)
        .await;
    assert_eq!(invalid.body["errors"][0]["pointer"], "/query/perPage");
}

#[tokio::test]
async fn a_batch_reports_every_id() {
    let fleet = TestFleet::start().await;
    let batch = fleet
        .get_with("partner", "/v2/availability?ids=p-1,p-999999", &KEY)
        .await;
    let items = batch.body["items"].as_array().unwrap();
    let states: Vec<&str> = items
        .iter()
        .map(|i| i["status"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["found", "not_found"]);
}
