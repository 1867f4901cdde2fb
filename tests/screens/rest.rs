//! Finds the screens of an `openapi.json`.

use http::HeaderMap;
use serde_json::Value;

use super::{ScreenOperation, ScreenResponse, example};

/// Returns every operation whose 200 response has `_meta`. The error names a parameter without an example.
pub(super) fn screens(
    gateway: &'static str,
    contract: &Value,
) -> Result<Vec<ScreenOperation>, String> {
    let mut screens = Vec::new();
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let response = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            // The first form is the whole screen, the second one has only selected members.
            let whole = resolve_ref(contract, &resolve_ref(contract, response)["anyOf"][0]);
            let Some(parts) = whole["allOf"].as_array() else {
                continue;
            };
            let parts: Vec<&Value> = parts.iter().map(|p| resolve_ref(contract, p)).collect();
            if !parts.iter().any(|p| p["properties"].get("_meta").is_some()) {
                continue;
            }
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(method, "get", "{gateway}: {id}: a screen must be a GET");
            let required = parts.iter().filter_map(|p| p["required"].as_array());
            let names = required.flatten().map(|n| n.as_str().unwrap().to_owned());
            screens.push(ScreenOperation {
                gateway,
                operation: id.to_owned(),
                path: fill_path(path, operation)
                    .map_err(|why| format!("{gateway}: {id}: {why}"))?,
                document: None,
                required: names.collect(),
            });
        }
    }
    Ok(screens)
}

/// The path with its required parameters.
fn fill_path(path: &str, operation: &Value) -> Result<String, String> {
    let mut path = path.to_owned();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, location) = (&parameter["name"], parameter["in"].as_str().unwrap());
        let name = name.as_str().unwrap();
        if location != "path" && parameter["required"] != true {
            continue;
        }
        let value = example(parameter);
        let value = value.ok_or_else(|| format!("{location} parameter `{name}` has no example"))?;
        let text = match value {
            Value::String(text) => text.clone(),
            // Lists are separated by commas.
            Value::Array(items) => {
                let items = items.iter().map(|item| item.as_str().unwrap());
                items.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        match location {
            "path" => path = path.replace(&format!("{{{name}}}"), &text),
            "query" => {
                query.append_pair(name, &text);
            }
            other => return Err(format!("`{name}` is required in {other}")),
        }
    }
    let query = query.finish();
    Ok(if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    })
}

fn resolve_ref<'a>(contract: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(pointer) => contract.pointer(pointer.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// Parses a response.
pub(super) fn parse_response(status: u16, headers: HeaderMap, body: Value) -> ScreenResponse {
    let code = (status != 200).then(|| body["code"].as_str().unwrap().to_owned());
    let sections = body["_meta"]["sections"].as_object();
    ScreenResponse {
        status,
        headers,
        code,
        data: body.clone(),
        sections: sections.cloned().unwrap_or_default(),
        body,
    }
}
