//! Screens over GraphQL: only selected fields are fetched, and the extensions report each section.

use std::time::Duration;

use serde_json::{Value, json};
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

#[tokio::test]
async fn data_has_the_order_of_the_document() {
    let fleet = TestFleet::start().await;
    let late = Fault::latency(Duration::from_millis(50));
    fleet
        .running
        .mocks()
        .set_fault(Backend::Product, late)
        .unwrap();
    let query = json!({"query": r#"{
        z: productPage(id:"p-1"){product{name @skip(if:true)} reviews{count} ...F}
        a: search(q:"harbour",limit:-4){results{total}}
        me{profile{name}}
        b: search(q:"\u{1F600}\ud83d\ude00"){results{total}}
        home{featured{id @include(if:false)}}
        __typename
    } fragment F on ProductPage {availability{region} product{__typename}}"#});
    let response = fleet.post("web", "/graphql", &query).await;
    let data = &response.body["data"];
    let keys = |value: &Value| {
        let members = value.as_object().unwrap();
        members.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(data), ["z", "a", "me", "b", "home", "__typename"]);
    assert_eq!(keys(&data["z"]), ["product", "reviews", "availability"]);
    assert_eq!(data["z"]["product"], json!({"__typename": "Product"}));
    assert_eq!(data["home"]["featured"][0], json!({}));
    assert_eq!(data["b"]["results"]["total"], 0);
    assert!(data["a"].is_null() && data["me"].is_null());
    let errors = response.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{}", response.body);
}

#[tokio::test]
async fn an_argument_has_the_type_int_and_the_bounds_of_rest() {
    let fleet = TestFleet::start().await;
    for limit in ["-4", "0", "51", "2147483647"] {
        let rest = fleet
            .get("web", &format!("/api/search?q=harbour&limit={limit}"))
            .await;
        let query = format!(r#"{{search(q:"harbour",limit:{limit}){{results{{total}}}}}}"#);
        let response = fleet
            .post("web", "/graphql", &json!({"query": query}))
            .await;
        assert_eq!(
            response.body["data"],
            json!({"search": null}),
            "{}",
            response.body
        );
        let extensions = &response.body["errors"][0]["extensions"];
        assert_eq!(extensions["code"], rest.body["code"], "{limit}");
        let pointer = |errors: &Value| {
            let pointer = errors[0]["pointer"].as_str().unwrap();
            pointer.rsplit('/').next().unwrap().to_owned()
        };
        assert_eq!(
            pointer(&extensions["errors"]),
            pointer(&rest.body["errors"])
        );
    }
    // Outside of 32 bits, the document is invalid.
    for limit in ["5000000000", "2147483648", "-2147483649", "1.0", "\"1\""] {
        let query = format!(r#"{{search(q:"harbour",limit:{limit}){{results{{total}}}}}}"#);
        let variables = serde_json::from_str::<Value>(limit).unwrap();
        for body in [
            json!({"query": query}),
            json!({"query": r#"query($v:Int){search(q:"harbour",limit:$v){results{total}}}"#,
                "variables": {"v": variables}}),
        ] {
            let response = fleet.post("web", "/graphql", &body).await;
            assert_eq!(response.status, 200, "the media type is application/json");
            assert!(response.body.get("data").is_none(), "{}", response.body);
            let extensions = &response.body["errors"][0]["extensions"];
            assert_eq!(extensions["code"], "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_no_graphql_request_is_400() {
    let fleet = TestFleet::start().await;
    let query = "{ __typename }";
    for (body, pointer) in [
        (json!({}), "/query"),
        (json!({"query": 1}), "/query"),
        (json!({"query": query, "variables": []}), "/variables"),
        (
            json!({"query": query, "operationName": 1}),
            "/operationName",
        ),
        (json!({"query": query, "extensions": "x"}), "/extensions"),
        (json!([{"query": query}]), ""),
    ] {
        let response = fleet.post("web", "/graphql", &body).await;
        assert_eq!(
            (response.status.as_u16(), &response.body["code"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
        assert_eq!(response.body["errors"][0]["pointer"], pointer, "{body}");
    }
}
