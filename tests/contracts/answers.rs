//! Compares responses with the schemas of the contract: whole screens, and sparse ones for `fields`.

use serde_json::{Value, json};

use super::document::resolve;
use super::{contract, operations, wait_for_update};
use crate::screens::all_screens;
use crate::support::TestFleet;

/// A schema of a contract, with the contract's components for its references.
fn validator(contract: &Value, schema: &Value) -> jsonschema::Validator {
    let mut root = schema.clone();
    root["components"] = contract["components"].clone();
    jsonschema::validator_for(&root).unwrap()
}

#[tokio::test]
async fn each_screen_has_the_members_of_its_schema() {
    wait_for_update();
    let fleet = TestFleet::start().await;
    for screen in all_screens().iter().filter(|s| s.document.is_none()) {
        let contract = contract(screen.gateway);
        let mut all = operations(contract).map(|(.., operation)| operation);
        let operation = all.find(|o| o["operationId"] == screen.operation).unwrap();
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let forms = resolve(contract, schema)["anyOf"].as_array().unwrap();
        let [whole, sparse] = [0, 1].map(|form| validator(contract, &forms[form]));
        let (name, value) = screen
            .credential(fleet.running.mocks(), Some("ada"))
            .unwrap();
        let headers = [(name, value.as_str())];
        let response = fleet.get_with(screen.gateway, &screen.path, &headers).await;
        let label = format!("{} {}", screen.gateway, screen.path);
        assert!(whole.is_valid(&response.body), "{label}: {}", response.body);
        let parameters = operation["parameters"].as_array().unwrap();
        let fields = parameters.iter().find(|p| p["name"] == "fields").unwrap();
        let separator = if screen.path.contains('?') { '&' } else { '?' };
        for field in fields["schema"]["items"]["enum"].as_array().unwrap() {
            let path = format!(
                "{}{separator}fields={}",
                screen.path,
                field.as_str().unwrap()
            );
            let response = fleet.get_with(screen.gateway, &path, &headers).await;
            assert_eq!(response.status, 200, "{label} {field}: {}", response.body);
            let errors: Vec<_> = sparse.iter_errors(&response.body).collect();
            assert!(errors.is_empty(), "{label} {field}: {errors:#?}");
        }
        // The sparse form has rules too.
        let odd = json!({"_meta": {"complete": 1, "sections": {}}});
        assert!(
            !sparse.is_valid(&odd) && !sparse.is_valid(&json!({})),
            "{label}"
        );
    }
}
