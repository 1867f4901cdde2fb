//! Compares the bounds of every input with the contract: a gateway accepts exactly the values that the schema allows.
//!
//! The contract has the parameters and body members, so a new one takes part by itself. It must have a bound.

use fleet::Callers;
use http::Method;
use serde_json::{Value, json};

use candidates::candidates;

use super::document::resolve;
use super::{contract, is_proxy_route, operations};
use crate::support::{TestFleet, send};

mod candidates;

/// A title that no backend knows, so that a valid request has no other effect.
const UNKNOWN: &str = "p-999";

/// One operation with valid values of its required inputs.
struct Case<'a> {
    contract: &'a Value,
    gateway: &'a str,
    path: &'a str,
    method: Method,
    operation: &'a Value,
    credential: (&'static str, String),
}

/// One input of an operation: a parameter, or the body with the pointer of one member.
#[derive(Clone, Copy)]
enum Input<'a> {
    Parameter(&'a Value),
    Member(&'a str),
}

#[tokio::test]
async fn a_gateway_accepts_exactly_the_values_that_its_contract_allows() {
    let fleet = TestFleet::start_without_circuit_breakers().await;
    let (mut accepted, mut rejected) = (0, 0);
    for gateway in fleet::GATEWAYS {
        let credential = match gateway.callers() {
            Callers::People => ("authorization", fleet.bearer("ada")),
            Callers::Partners => ("x-api-key", fleet::PARTNER_KEY.to_owned()),
        };
        let contract = contract(gateway.name);
        // The document of a GraphQL request has limits of its own.
        let own =
            operations(contract).filter(|(path, ..)| !is_proxy_route(path) && *path != "/graphql");
        for (path, method, operation) in own {
            let case = Case {
                contract,
                gateway: gateway.name,
                path,
                method: method.to_uppercase().parse().unwrap(),
                operation,
                credential: credential.clone(),
            };
            for (input, schema) in case.inputs() {
                for value in candidates(contract, schema) {
                    match case.check(&fleet, input, schema, &value).await {
                        Some(true) => accepted += 1,
                        Some(false) => rejected += 1,
                        None => {}
                    }
                }
            }
        }
    }
    assert!(
        accepted > 100 && rejected > 200,
        "{accepted} accepted, {rejected} rejected"
    );
}

impl<'a> Case<'a> {
    /// Every input with its schema. A body's members are at any depth.
    fn inputs(&self) -> Vec<(Input<'a>, &'a Value)> {
        let parameters = self.operation["parameters"]
            .as_array()
            .into_iter()
            .flatten();
        let mut inputs: Vec<_> = parameters
            .map(|p| (Input::Parameter(p), resolve(self.contract, &p["schema"])))
            .collect();
        let body = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        if body.is_object() {
            self.add_members("", body, &mut inputs);
        }
        inputs
    }

    fn add_members(
        &self,
        pointer: &str,
        schema: &'a Value,
        inputs: &mut Vec<(Input<'a>, &'a Value)>,
    ) {
        let schema = resolve(self.contract, schema);
        let Some(members) = schema["properties"].as_object() else {
            inputs.push((Input::Member(pointer.to_owned().leak()), schema));
            return;
        };
        assert_eq!(
            schema["additionalProperties"], false,
            "{}{pointer}",
            self.path
        );
        for (name, member) in members {
            self.add_members(&format!("{pointer}/{name}"), member, inputs);
        }
    }

    /// Sends one value of one input, with examples of the others. The gateway must agree with the schema. Returns whether
    /// it accepted the value, or `None` if HTTP cannot carry the value there.
    async fn check(
        &self,
        fleet: &TestFleet,
        input: Input<'a>,
        schema: &Value,
        value: &Value,
    ) -> Option<bool> {
        let response = send(self.request(fleet, input, value)?).await;
        let status = response.status();
        let mut code = Value::Null;
        if status.is_client_error() {
            code = response.json::<Value>().await.unwrap()["code"].take();
        }
        let is_accepted = code != "validation_failed" && code != "invalid_request";
        let name = match input {
            Input::Parameter(parameter) => &parameter["name"],
            Input::Member(pointer) => &json!(pointer),
        };
        assert_eq!(
            is_accepted,
            jsonschema::is_valid(schema, value),
            "{} {} {name} = {value}: {status} {code}, the schema is {schema}",
            self.gateway,
            self.path
        );
        Some(is_accepted)
    }

    fn request(
        &self,
        fleet: &TestFleet,
        input: Input<'a>,
        value: &Value,
    ) -> Option<reqwest::RequestBuilder> {
        let mut path = self.path.to_owned();
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut headers = vec![(self.credential.0, self.credential.1.clone())];
        let parameters = self.operation["parameters"].as_array();
        for parameter in parameters.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let is_input = matches!(input, Input::Parameter(p) if std::ptr::eq(p, parameter));
            let text = if is_input {
                as_text(value)?
            } else if parameter["in"] == "path" {
                UNKNOWN.to_owned()
            } else if parameter["required"] == true {
                as_text(&example(parameter))?
            } else {
                continue;
            };
            match parameter["in"].as_str().unwrap() {
                // An HTTP client changes a path with these segments.
                "path" if matches!(&*text, "" | "." | "..") => return None,
                "path" => path = path.replace(&format!("{{{name}}}"), &encode_segment(&text)),
                "query" => _ = query.append_pair(name, &text),
                _ if text.chars().any(|c| !c.is_ascii() || c.is_control()) => return None,
                _ => headers.push((name, text)),
            }
        }
        let url = format!(
            "{}{path}?{}",
            fleet.running.url(self.gateway),
            query.finish()
        );
        let url = url.trim_end_matches('?').to_owned();
        let mut request = fleet.http.request(self.method.clone(), url);
        for (name, text) in headers {
            request = request.header(name, text);
        }
        Some(match (self.body(), input) {
            (None, _) => request,
            (Some(body), Input::Parameter(_)) => request.json(&body),
            (Some(mut body), Input::Member(pointer)) => {
                *body.pointer_mut(pointer).unwrap() = value.clone();
                request.json(&body)
            }
        })
    }

    /// A valid body.
    fn body(&self) -> Option<Value> {
        let schema = &self.operation["requestBody"]["content"]["application/json"]["schema"];
        schema.is_object().then(|| sample(self.contract, schema))
    }
}

/// A value for a schema, from its examples.
fn sample(contract: &Value, schema: &Value) -> Value {
    let target = resolve(contract, schema);
    if let Some(example) = schema.get("example").or_else(|| target.get("example")) {
        return example.clone();
    }
    match target["properties"].as_object() {
        Some(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), sample(contract, member)))
            .collect(),
        None => panic!("no example: {schema}"),
    }
}

fn example(parameter: &Value) -> Value {
    let example = parameter
        .get("example")
        .or_else(|| parameter["schema"].get("example"));
    match parameter["name"].as_str() {
        Some("Idempotency-Key") => json!("k-1"),
        name => example
            .cloned()
            .unwrap_or_else(|| panic!("{name:?} has no example")),
    }
}

/// The text of a parameter. Lists are separated by commas.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            Some(items?.join(","))
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn encode_segment(text: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}
