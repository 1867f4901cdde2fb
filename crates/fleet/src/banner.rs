//! The table that `cargo run` prints: URLs, pages and commands to try.

use std::fmt::Write;

use serde_json::{Map, Value};
use services_mock::Backend;

use crate::gateways::{Callers, GATEWAYS, Gateway};
use crate::overlay::PARTNER_KEY;
use crate::running::Running;

/// The number of commands for each gateway.
const MAX_COMMANDS: usize = 2;
/// The command for a GraphQL endpoint. Every schema has this field.
const GRAPHQL: &str =
    r#" -H 'Content-Type: application/json' -d '{"query":"{ __schema { queryType { name } } }"}'"#;

/// The table of a running fleet, with a final newline.
pub fn table(running: &Running) -> String {
    let mut text = format!("{:<9}{:<24}{}\n", "client", "url", "try");
    let gateways = GATEWAYS.iter().filter(|g| running.has(g.name));
    for gateway in gateways.clone() {
        add_rows(gateway, running, &mut text);
    }
    text.push('\n');
    if running.is_mocked(Backend::Auth) {
        let auth = running.backend_url(Backend::Auth);
        text.push_str("users    ada, ben (customers), kim (child), root (admin); password demo\n");
        add_line(
            &mut text,
            &format!(
                r#"TOKEN=$(curl -s {auth}/login -H 'Content-Type: application/json' -d '{{"username":"ada","password":"demo"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"#
            ),
        );
    }
    if gateways.clone().any(|g| g.callers() == Callers::Partners) {
        add_line(&mut text, &format!("KEY={PARTNER_KEY}"));
    }
    let control = running.control_url();
    add_line(
        &mut text,
        &format!(
            "faults   curl -s -X PUT {control}/faults/review -H 'Content-Type: application/json' -d '{{\"status\":503}}'; curl -s -X DELETE {control}/faults"
        ),
    );
    text.push_str("\nPress Ctrl-C to stop.\n");
    text
}

/// Adds the rows of one gateway: commands to try, then its pages.
fn add_rows(gateway: &Gateway, running: &Running, text: &mut String) {
    let url = running.url(gateway.name);
    let credential = match gateway.callers() {
        Callers::Partners => r#" -H "X-API-Key: $KEY""#,
        Callers::People => "",
    };
    let has_graphql = running.has_graphql(gateway.name);
    let paths = example_paths(running.openapi(gateway.name));
    let mut commands: Vec<String> = paths
        .iter()
        .take(MAX_COMMANDS)
        .map(|path| format!("curl -s '{url}{path}'{credential}"))
        .collect();
    if has_graphql {
        commands.push(format!("curl -s '{url}/graphql'{GRAPHQL}"));
    }
    let (mut name, mut shown_url) = (gateway.name, url.as_str());
    for command in commands {
        add_line(text, &format!("{name:<9}{shown_url:<24}{command}"));
        (name, shown_url) = ("", "");
    }
    let explorer = has_graphql.then(|| format!("{url}/graphiql (GraphQL explorer)"));
    let admin = running.admin_url(gateway.name);
    let pages = [
        Some(format!("{url}/docs (reference)")),
        explorer,
        Some(format!(
            "{admin}/readyz {admin}/metrics {admin}/config (admin)"
        )),
    ];
    for page in pages.into_iter().flatten() {
        add_line(text, &format!("{:33}{page}", ""));
    }
}

/// The paths of a contract that a GET without sign-in can read, with example values.
fn example_paths(openapi: &str) -> Vec<String> {
    let contract: Value = serde_json::from_str(openapi).unwrap_or_default();
    let paths = contract["paths"].as_object().into_iter().flatten();
    paths
        .filter_map(|(path, item)| {
            let get = item.get("get")?;
            // An empty requirement among others allows anonymous callers.
            let mut allowed = get["security"].as_array().into_iter().flatten();
            let is_anonymous = |scheme: &Value| scheme.as_object().is_none_or(Map::is_empty);
            let has_bearer = get["security"].to_string().contains("bearer");
            let needs_sign_in = has_bearer && !allowed.any(is_anonymous);
            (!needs_sign_in && get["operationId"].is_string()).then(|| with_examples(path, get))?
        })
        .collect()
}

/// The path with its required parameters; `None` if a parameter has no example.
fn with_examples(path: &str, operation: &Value) -> Option<String> {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["required"] != true {
            continue;
        }
        let example = parameter.get("example");
        let example = match example.or_else(|| parameter["schema"].get("example"))? {
            Value::String(text) => text.clone(),
            // Lists are separated by commas.
            Value::Array(items) => {
                let items = items.iter().filter_map(Value::as_str);
                items.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let name = parameter["name"].as_str()?;
        if parameter["in"] == "path" {
            path = path.replace(&format!("{{{name}}}"), &example);
        } else {
            query.push(format!("{name}={example}"));
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    Some(path)
}

fn add_line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}
