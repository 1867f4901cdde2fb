//! Screens over GraphQL: only selected fields are fetched, and the extensions report each section.

use serde_json::json;
use services_mock::{Backend, Fault};

use crate::support::TestFleet;

#[tokio::test]
async fn only_selected_fields_are_fetched() {
    let fleet = TestFleet::start().await;
    let query = json!({"query": r#"{productPage(id:"p-1"){product{name}}}"#});
    let response = fleet.post("web", "/graphql", &query).await;
    assert_eq!(
        response.body["data"]["productPage"]["product"]["name"],
        "The Quiet Harbour"
    );
    let mocks = fleet.running.mocks();
    assert_eq!(
        mocks.stats(Backend::Review).calls + mocks.stats(Backend::Inventory).calls,
        0
    );
    let state = &response.body["extensions"]["sections"]["productPage.product"]["state"];
    assert_eq!(state, "fresh");
}

#[tokio::test]
async fn a_missing_section_is_null_with_an_error_at_its_path() {
    let fleet = TestFleet::start().await;
    fleet
        .running
        .mocks()
        .set_fault(Backend::Review, Fault::status(503))
        .unwrap();
    let query = json!({"query": r#"{productPage(id:"p-1"){product{name} r: reviews{count}} home{featured{id}}}"#});
    let response = fleet.post("web", "/graphql", &query).await;
    assert_eq!(response.status, 200);
    assert!(response.body["data"]["productPage"]["r"].is_null());
    assert!(response.body["data"]["home"]["featured"][0]["id"].is_string());
    assert_eq!(
        response.body["errors"][0]["path"],
        json!(["productPage", "r"])
    );
    assert_eq!(
        response.body["errors"][0]["extensions"]["code"],
        "unavailable"
    );
    let section = &response.body["extensions"]["sections"]["productPage.r"];
    assert_eq!(
        (&section["state"], &section["source"]),
        (&json!("missing"), &json!("review"))
    );
}

#[tokio::test]
async fn a_failed_screen_is_a_null_root_field_and_the_others_remain() {
    let fleet = TestFleet::start().await;
    let query = json!({"query": r#"{productPage(id:"p-99999"){product{name}} home{featured{id}} me{profile{name}}}"#});
    let response = fleet.post("web", "/graphql", &query).await;
    assert_eq!(response.status, 200);
    assert!(
        response.body["data"]["productPage"].is_null() && response.body["data"]["me"].is_null()
    );
    assert!(response.body["data"]["home"]["featured"][0]["id"].is_string());
    let mut codes: Vec<_> = response.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["extensions"]["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["not_found", "unauthenticated"]);
}

#[tokio::test]
async fn the_endpoint_is_in_the_contract_and_has_its_own_body_limit() {
    let fleet = TestFleet::start_with(|fleet| {
        let config = "[graphql]\nmax_body_bytes = 100\n[inbound]\nmax_body_bytes = 65536\n";
        fleet.overlays.insert("web".into(), config.into());
    })
    .await;
    let query = |n| json!({"query": "{ __typename }", "variables": {"v": "x".repeat(n)}});
    assert_eq!(fleet.post("web", "/graphql", &query(1)).await.status, 200);
    let large = fleet.post("web", "/graphql", &query(100)).await;
    assert_eq!(
        (large.status.as_u16(), &large.body["code"]),
        (413, &json!("too_large"))
    );
    let api = fleet.get("web", "/openapi.json").await.body;
    let operation = &api["paths"]["/graphql"]["post"];
    assert_eq!(operation["operationId"], "execute_graphql");
    for response in ["200", "400"] {
        let content = &operation["responses"][response]["content"];
        assert!(content["application/graphql-response+json"].is_object());
    }
    for status in ["400", "413", "415"] {
        let response = &operation["responses"][status];
        let shared = response["$ref"]
            .as_str()
            .map(|pointer| pointer.trim_start_matches('#'));
        let response = shared.map_or(response, |pointer| api.pointer(pointer).unwrap());
        assert!(
            response["content"]["application/problem+json"].is_object(),
            "{status}"
        );
    }
}
