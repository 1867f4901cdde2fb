//! The same screens over GraphQL: what is not selected is not fetched, and the truth is in the extensions.

use serde_json::json;
use services_mock::{Backend, Fault};

use crate::support::Shop;

#[tokio::test]
async fn only_what_is_selected_is_fetched() {
    let shop = Shop::open().await;
    let query = json!({"query": r#"{productPage(id:"p-1"){product{name}}}"#});
    let answer = shop.post("web", "/graphql", &query).await;
    assert_eq!(
        answer.body["data"]["productPage"]["product"]["name"],
        "The Quiet Harbour"
    );
    let mocks = shop.fleet.mocks();
    assert_eq!(
        mocks.stats(Backend::Review).calls + mocks.stats(Backend::Inventory).calls,
        0
    );
    let state = &answer.body["extensions"]["sections"]["productPage.product"]["state"];
    assert_eq!(state, "fresh");
}

#[tokio::test]
async fn a_missing_section_is_null_with_an_error_at_its_path() {
    let shop = Shop::open().await;
    shop.fleet
        .mocks()
        .set_fault(Backend::Review, Fault::status(503))
        .unwrap();
    let query = json!({"query": r#"{productPage(id:"p-1"){product{name} r: reviews{count}} home{featured{id}}}"#});
    let answer = shop.post("web", "/graphql", &query).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["data"]["productPage"]["r"].is_null());
    assert!(answer.body["data"]["home"]["featured"][0]["id"].is_string());
    assert_eq!(
        answer.body["errors"][0]["path"],
        json!(["productPage", "r"])
    );
    assert_eq!(
        answer.body["errors"][0]["extensions"]["code"],
        "unavailable"
    );
    let section = &answer.body["extensions"]["sections"]["productPage.r"];
    assert_eq!(
        (&section["state"], &section["source"]),
        (&json!("missing"), &json!("review"))
    );
}

#[tokio::test]
async fn a_failed_screen_is_a_null_root_and_its_siblings_stand() {
    let shop = Shop::open().await;
    let query = json!({"query": r#"{productPage(id:"p-99999"){product{name}} home{featured{id}} me{profile{name}}}"#});
    let answer = shop.post("web", "/graphql", &query).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["data"]["productPage"].is_null() && answer.body["data"]["me"].is_null());
    assert!(answer.body["data"]["home"]["featured"][0]["id"].is_string());
    let mut codes: Vec<_> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["extensions"]["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["not_found", "unauthenticated"]);
}

#[tokio::test]
async fn the_door_is_described_and_has_a_limit_of_its_own() {
    let shop = Shop::with(|fleet| {
        let small = "[graphql]\nmax_body_bytes = 100\n[inbound]\nmax_body_bytes = 65536\n";
        fleet.overlays.insert("web".into(), small.into());
    })
    .await;
    let query = |n| json!({"query": "{ __typename }", "variables": {"v": "x".repeat(n)}});
    assert_eq!(shop.post("web", "/graphql", &query(1)).await.status, 200);
    let large = shop.post("web", "/graphql", &query(100)).await;
    assert_eq!(
        (large.status.as_u16(), &large.body["code"]),
        (413, &json!("too_large"))
    );
    let api = shop.get("web", "/openapi.json").await.body;
    let door = &api["paths"]["/graphql"]["post"];
    assert_eq!(door["operationId"], "execute_graphql");
    for answer in ["200", "400"] {
        let content = &door["responses"][answer]["content"];
        assert!(content["application/graphql-response+json"].is_object());
    }
    let problem = &door["responses"]["default"]["content"];
    assert!(problem["application/problem+json"].is_object());
}
