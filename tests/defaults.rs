//! The file of core defaults has every key of the code, with the code's value and a reason. A gateway's own file has only
//! the keys that differ.

use bff_core::config::parse_duration;
use bff_core::gateway::DEFAULTS;
use bff_core::outbound::Config;
use bff_core::{auth, cache, graphql_config, inbound, server, store, telemetry};
use serde_json::{Map, Value, json};

const TABLE: &str = "upstream_defaults";

/// The keys of a backend with the defaults of the code, without the one key that has no default.
fn compiled() -> Map<String, Value> {
    let config = Config::at("http://anywhere".parse().unwrap());
    let Value::Object(mut keys) = serde_json::to_value(config).unwrap() else {
        panic!("a configuration is a table")
    };
    keys.remove("url");
    keys
}

/// Keys whose type has another default or no default.
const CHOSEN: [&str; 7] = [
    "server.listen",
    "server.admin_listen",
    "server.public_url",
    "inbound.languages",
    "inbound.regions",
    "inbound.rate_limits",
    // A table for each key; the core defaults have no API key.
    "auth.api_keys",
];

/// The defaults of a type; `required` has the keys without a default.
macro_rules! defaults {
    ($config:ty, $required:expr) => {{
        let config: $config = serde_json::from_value($required).unwrap();
        let Value::Object(keys) = serde_json::to_value(config).unwrap() else {
            panic!("a configuration is a table")
        };
        keys
    }};
}

/// The tables other than those of backends and routes, with the defaults of the code.
fn tables() -> [(&'static str, Map<String, Value>); 7] {
    let (listen, url) = ("127.0.0.1:0", "http://localhost");
    let server = json!({"listen": listen, "admin_listen": listen, "public_url": url});
    [
        ("server", defaults!(server::Config, server)),
        ("inbound", defaults!(inbound::Config, json!({}))),
        ("store", defaults!(store::Config, json!({}))),
        ("auth", defaults!(auth::Config, json!({}))),
        ("telemetry", defaults!(telemetry::logs::Config, json!({}))),
        ("graphql", defaults!(graphql_config::Config, json!({}))),
        ("cache", defaults!(cache::Config, json!({}))),
    ]
}

/// Fails unless `written` has every key of `compiled` with its value. A key that is not set must be in a comment.
fn compare(path: &str, compiled: &Map<String, Value>, written: &toml::Table, text: &str) {
    for (key, value) in compiled {
        let key_path = format!("{path}.{key}");
        let is_in_a_comment = || {
            let lines = table(text, path);
            lines.contains(&format!("\n# {key} = "))
        };
        match (value, written.get(key)) {
            (_, written) if CHOSEN.contains(&key_path.as_str()) => {
                assert!(
                    written.is_some() || is_in_a_comment() || value.is_object(),
                    "{key_path} is missing"
                );
            }
            (Value::Null, None) => assert!(is_in_a_comment(), "{key_path} is missing"),
            // A list of secrets has no default.
            (Value::Array(none), None) if none.is_empty() => {
                assert!(is_in_a_comment(), "{key_path} is missing");
            }
            (Value::Object(inner), Some(toml::Value::Table(written))) => {
                compare(&key_path, inner, written, text);
            }
            (value, Some(written)) => {
                let written = serde_json::to_value(written).unwrap();
                assert!(
                    is_equal(&written, value),
                    "{key_path} is {value}, not {written}"
                );
            }
            (_, None) => panic!("{key_path} is missing"),
        }
    }
    let unknown: Vec<_> = written
        .keys()
        .filter(|key| !compiled.contains_key(*key))
        .collect();
    assert!(unknown.is_empty(), "the code has no {unknown:?} in {path}");
}

/// Whether two values are equal; the durations `60s` and `1m` are.
fn is_equal(one: &Value, other: &Value) -> bool {
    let time = |value: &Value| parse_duration(value.as_str()?).ok();
    one == other || time(one).is_some_and(|one| time(other) == Some(one))
}

/// The lines of one table, up to the next table.
fn table<'a>(text: &'a str, path: &str) -> &'a str {
    let start = text.find(&format!("\n[{path}]\n")).unwrap();
    let rest = &text[start + 1..];
    &rest[..rest.find("\n[").unwrap_or(rest.len())]
}

/// The core defaults, parsed, and their text with a line break before each table.
fn core() -> (toml::Table, String) {
    (DEFAULTS.parse().unwrap(), format!("\n{DEFAULTS}"))
}

#[test]
fn every_default_is_written_with_the_value_of_the_code() {
    let (parsed, text) = core();
    compare(TABLE, &compiled(), parsed[TABLE].as_table().unwrap(), &text);
    for (name, compiled) in tables() {
        let written = parsed[name].as_table().unwrap();
        compare(name, &compiled, written, &text);
    }
}

#[test]
fn every_default_has_a_reason() {
    let mut before = "";
    for line in DEFAULTS.lines() {
        let key = line
            .split_once(" = ")
            .filter(|(key, _)| !key.starts_with('#'));
        assert!(
            key.is_none() || before.starts_with("# "),
            "{line} has no reason"
        );
        before = line;
    }
}

#[test]
fn a_gateway_writes_only_the_keys_in_which_it_differs() {
    let (core, _) = core();
    for gateway in fleet::GATEWAYS {
        let own: toml::Table = gateway.config.parse().unwrap();
        let mut same = Vec::new();
        repeated(&core, &own, gateway.name, &mut same);
        assert!(same.is_empty(), "equal to the core defaults: {same:?}");
    }
}

/// The keys that both tables have with the same value.
fn repeated(core: &toml::Table, own: &toml::Table, path: &str, found: &mut Vec<String>) {
    for (key, value) in own {
        let key_path = format!("{path}.{key}");
        match (core.get(key), value) {
            (Some(toml::Value::Table(core)), toml::Value::Table(own)) => {
                repeated(core, own, &key_path, found);
            }
            (Some(core), own) if core == own => found.push(key_path),
            _ => {}
        }
    }
}
