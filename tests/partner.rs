//! The partners' own: nothing without a key, and facts without ornament.

use services_mock::{Backend, Fault};

use crate::support::TestFleet;

const PAGE: &str = "/v2/products/p-1";
const KEY: [(&str, &str); 1] = [("x-api-key", fleet::PARTNER_KEY)];

#[tokio::test]
async fn a_product_is_facts() {
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
    let lost = Fault::status(500).on("/products/p-1/similar");
    fleet
        .loses_only(("partner", PAGE), &KEY, "similar", (Backend::Product, lost))
        .await;
}

#[tokio::test]
async fn a_partner_needs_a_good_key() {
    let fleet = TestFleet::start().await;
    for bad in [
        "",
        "nonsense",
        "bffp_demo_wrong",
        "bffp_other_only-for-this-machine",
    ] {
        let refused = fleet
            .get_with("partner", "/v2/products", &[("x-api-key", bad)])
            .await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["code"]),
            (401, &"unauthenticated".into()),
            "{bad:?}"
        );
    }
    let nobody = fleet.get("partner", "/v2/products?perPage=0").await;
    assert_eq!(nobody.status, 401);
    let wrong = fleet
        .get_with("partner", "/v2/products?perPage=0", &KEY)
        .await;
    assert_eq!(wrong.body["errors"][0]["pointer"], "/query/perPage");
}

#[tokio::test]
async fn every_id_of_a_batch_is_answered() {
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
