//! What the configuration files say is what is compiled in, all of it, each with its reason.

use bff_core::config::parse_duration;
use bff_core::outbound::Config;
use bff_core::{auth, cache, graphql, inbound, server, store, telemetry};
use serde_json::{Map, Value, json};

use crate::support::file;

const TABLE: &str = "upstream_defaults";

/// The part of a gateway's file that every backend inherits, as it is written.
fn written(gateway: &str) -> String {
    let text = file(&format!("bffs/{gateway}/config.toml")).unwrap();
    let begin = text.find(&format!("\n[{TABLE}]")).unwrap();
    let rest = &text[begin..];
    let end = rest.find("\n[upstreams.").unwrap_or(rest.len());
    // What is said about the next table stands before it.
    rest[..end].trim_end().to_owned()
}

/// What is compiled in, without the one key that has no default.
fn compiled() -> Map<String, Value> {
    let config = Config::at("http://anywhere".parse().unwrap());
    let Value::Object(mut keys) = serde_json::to_value(config).unwrap() else {
        panic!("a configuration is a table")
    };
    keys.remove("url");
    keys
}

/// What a gateway chooses for itself: other values than those compiled in.
const CHOSEN: [&str; 13] = [
    "server.listen",
    "server.admin_listen",
    "server.public_url",
    "inbound.deadline",
    "inbound.languages",
    "inbound.regions",
    "inbound.rate_limits",
    "inbound.load_shedding.class_limits.anonymous",
    "inbound.load_shedding.class_limits.plans",
    "auth.issuer",
    "auth.audience",
    "auth.jwks",
    // Each is a table of its own, of which none is shipped.
    "auth.api_keys",
];

/// A type's own defaults; `required` is what has none.
macro_rules! defaults {
    ($config:ty, $required:expr) => {{
        let config: $config = serde_json::from_value($required).unwrap();
        let Value::Object(keys) = serde_json::to_value(config).unwrap() else {
            panic!("a configuration is a table")
        };
        keys
    }};
}

/// The tables beside those of backends and routes, as they are compiled in.
fn tables() -> [(&'static str, Map<String, Value>); 7] {
    let (listen, url) = ("127.0.0.1:0", "http://localhost");
    let server = json!({"listen": listen, "admin_listen": listen, "public_url": url});
    [
        ("server", defaults!(server::Config, server)),
        ("inbound", defaults!(inbound::Config, json!({}))),
        ("store", defaults!(store::Config, json!({}))),
        ("auth", defaults!(auth::Config, json!({}))),
        ("telemetry", defaults!(telemetry::logs::Config, json!({}))),
        ("graphql", defaults!(graphql::Config, json!({}))),
        ("cache", defaults!(cache::Config, json!({}))),
    ]
}

/// Fails unless `said` holds every key of `compiled` with its value; those that are not set stand there as a comment.
fn compare(path: &str, compiled: &Map<String, Value>, said: &toml::Table, text: &str) {
    for (key, value) in compiled {
        let at = format!("{path}.{key}");
        let is_a_comment = || {
            let own = table(text, path);
            own.contains(&format!("\n# {key} = "))
        };
        match (value, said.get(key)) {
            (_, said) if CHOSEN.contains(&at.as_str()) => {
                assert!(
                    said.is_some() || is_a_comment() || value.is_object(),
                    "{at} is nowhere"
                );
            }
            (Value::Null, None) => assert!(is_a_comment(), "{at} is nowhere"),
            // What holds a secret is never compiled in.
            (Value::Array(none), None) if none.is_empty() => {
                assert!(is_a_comment(), "{at} is nowhere");
            }
            (Value::Object(inner), Some(toml::Value::Table(said))) => {
                compare(&at, inner, said, text);
            }
            (value, Some(said)) => {
                let said = serde_json::to_value(said).unwrap();
                assert!(is_the_same(&said, value), "{at} is {value}, not {said}");
            }
            (_, None) => panic!("{at} is nowhere"),
        }
    }
    let odd: Vec<_> = said
        .keys()
        .filter(|key| !compiled.contains_key(*key))
        .collect();
    assert!(odd.is_empty(), "{path} has no {odd:?}");
}

/// Whether both are one value: `60s` is `1m`.
fn is_the_same(one: &Value, other: &Value) -> bool {
    let time = |value: &Value| parse_duration(value.as_str()?).ok();
    one == other || time(one).is_some_and(|one| time(other) == Some(one))
}

/// The lines of one table, up to the next.
fn table<'a>(text: &'a str, path: &str) -> &'a str {
    let begin = text.find(&format!("\n[{path}]\n")).unwrap();
    let rest = &text[begin + 1..];
    &rest[..rest.find("\n[").unwrap_or(rest.len())]
}

#[test]
fn every_value_is_written_and_is_the_one_compiled_in() {
    for gateway in fleet::GATEWAYS {
        let text = format!("\n{}\n", written(gateway.name).trim());
        let parsed: toml::Table = text.parse().unwrap();
        let said = parsed[TABLE].as_table().unwrap();
        compare(TABLE, &compiled(), said, &text);
    }
}

#[test]
fn whatever_can_be_said_is_written_and_is_what_is_compiled_in() {
    for gateway in fleet::GATEWAYS {
        let text = format!("\n{}", gateway.defaults);
        let parsed: toml::Table = text.parse().unwrap();
        for (name, compiled) in tables() {
            match parsed.get(name).and_then(toml::Value::as_table) {
                Some(said) => compare(name, &compiled, said, &text),
                None => assert_eq!(name, "graphql", "{} has no {name}", gateway.name),
            }
        }
    }
}

/// A table that is explained as a whole has a word before its name; of a backend its address is all that is shipped.
#[test]
fn every_value_says_what_it_means_and_why() {
    for gateway in fleet::GATEWAYS {
        let (mut before, mut explained) = ("", false);
        for line in gateway.defaults.lines() {
            if line.starts_with('[') {
                let whole = ["[inbound.rate_limits.", "[routes.", "[auth.jwks]"];
                explained = line.starts_with("[upstreams.")
                    || before.starts_with("# ") && whole.iter().any(|w| line.starts_with(w));
            }
            let key = line
                .split_once(" = ")
                .filter(|(key, _)| !key.starts_with('#'));
            assert!(
                key.is_none() || explained || before.starts_with("# "),
                "{}: {line} stands without a word",
                gateway.name
            );
            before = line;
        }
    }
}

#[test]
fn all_gateways_say_the_same() {
    let [first, rest @ ..] = fleet::GATEWAYS else {
        panic!("no gateway")
    };
    for gateway in rest {
        assert_eq!(
            written(gateway.name),
            written(first.name),
            "{}",
            gateway.name
        );
    }
}
