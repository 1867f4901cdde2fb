//! The screens of an `openapi.json`.

use http::HeaderMap;
use serde_json::Value;

use super::{Enrolled, Told, example};

/// Every operation whose 200 carries `_meta`. The error names a parameter that has no example.
pub(super) fn screens(gateway: &'static str, contract: &Value) -> Result<Vec<Enrolled>, String> {
    let mut found = Vec::new();
    for (path, methods) in contract["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let Some(parts) = resolved(contract, answer)["allOf"].as_array() else {
                continue;
            };
            let parts: Vec<&Value> = parts.iter().map(|p| resolved(contract, p)).collect();
            if !parts.iter().any(|p| p["properties"].get("_meta").is_some()) {
                continue;
            }
            let id = operation["operationId"].as_str().unwrap();
            assert_eq!(method, "get", "{gateway}: {id}: a screen is read");
            let required = parts.iter().filter_map(|p| p["required"].as_array());
            let names = required.flatten().map(|n| n.as_str().unwrap().to_owned());
            found.push(Enrolled {
                gateway,
                operation: id.to_owned(),
                path: filled(path, operation).map_err(|why| format!("{gateway}: {id}: {why}"))?,
                document: None,
                required: names.collect(),
            });
        }
    }
    Ok(found)
}

/// The path with what it cannot be without.
fn filled(path: &str, operation: &Value) -> Result<String, String> {
    let mut path = path.to_owned();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (&parameter["name"], parameter["in"].as_str().unwrap());
        let name = name.as_str().unwrap();
        if place != "path" && parameter["required"] != true {
            continue;
        }
        let value = example(parameter);
        let value = value.ok_or_else(|| format!("{place} parameter `{name}` has no example"))?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        match place {
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

fn resolved<'a>(contract: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(pointer) => contract.pointer(pointer.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// What an answer tells.
pub(super) fn told(status: u16, headers: HeaderMap, body: Value) -> Told {
    let code = (status != 200).then(|| body["code"].as_str().unwrap().to_owned());
    let sections = body["_meta"]["sections"].as_object();
    Told {
        status,
        headers,
        code,
        data: body.clone(),
        sections: sections.cloned().unwrap_or_default(),
        body,
    }
}
