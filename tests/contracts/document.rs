//! Checks each `openapi.json` as a document: OpenAPI 3.1, every reference, and the parts that a reader needs.

use serde_json::Value;

use super::{contract, is_proxy_route, operations};
use crate::support::file;

#[test]
fn each_contract_is_an_openapi_document() {
    // From https://spec.openapis.org/oas/3.1/schema/2022-10-07, so that the test needs no network.
    let schema = file("tests/contracts/openapi-3.1.schema.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for gateway in fleet::GATEWAYS {
        let errors = validator.iter_errors(contract(gateway.name));
        let errors: Vec<_> = errors
            .map(|e| format!("{}: {}", e.instance_path(), e.masked()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", gateway.name);
    }
}

#[test]
fn each_reference_has_its_target() {
    for gateway in fleet::GATEWAYS {
        let contract = contract(gateway.name);
        let mut dangling = Vec::new();
        visit(contract, &mut |value| {
            if let Some(target) = value["$ref"].as_str()
                && contract.pointer(target.trim_start_matches('#')).is_none()
            {
                dangling.push(target.to_owned());
            }
        });
        assert!(dangling.is_empty(), "{}: {dangling:?}", gateway.name);
    }
}

/// Calls `f` for every object.
fn visit(value: &Value, f: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            f(value);
            members.values().for_each(|member| visit(member, f));
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, f)),
        _ => {}
    }
}

#[test]
fn each_operation_is_described() {
    for gateway in fleet::GATEWAYS {
        let contract = contract(gateway.name);
        let tags = contract["tags"].as_array().unwrap();
        let tags: Vec<_> = tags.iter().map(|tag| &tag["name"]).collect();
        let mut used = Vec::new();
        for (path, method, operation) in operations(contract) {
            let label = format!("{} {method} {path}", gateway.name);
            assert!(operation["summary"].is_string(), "{label}");
            for response in operation["responses"].as_object().unwrap().values() {
                let is_described = response["$ref"].is_string()
                    || response["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty());
                assert!(is_described, "{label}: {response}");
            }
            for status in ["4XX", "5XX", "422", "503"] {
                let is_range = status.ends_with('X');
                let response = resolve(contract, &operation["responses"][status]);
                let problem = &response["content"]["application/problem+json"];
                assert_eq!(
                    problem.is_object(),
                    is_range == is_proxy_route(path),
                    "{label} {status}"
                );
            }
            let tag = tags.iter().position(|tag| **tag == operation["tags"][0]);
            used.push(tag.unwrap_or_else(|| panic!("{label}: its tag is not listed")));
        }
        assert_eq!(contract["tags"][0]["name"], "Screens", "{}", gateway.name);
        assert_eq!(used[0], 0, "{}: screens come first", gateway.name);
        let proxied = operations(contract).map(|(path, ..)| is_proxy_route(path));
        assert!(
            proxied.is_sorted(),
            "{}: proxy routes come last",
            gateway.name
        );
        used.sort_unstable();
        used.dedup();
        assert_eq!(
            used.len(),
            tags.len(),
            "{}: a tag is not used",
            gateway.name
        );
    }
}

/// The target of a reference, or the value itself.
pub(super) fn resolve<'a>(contract: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(target) => contract.pointer(target.trim_start_matches('#')).unwrap(),
        None => value,
    }
}
