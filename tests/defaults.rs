//! What the configuration files say of calls to backends is what is compiled in, all of it, each with its reason.

use bff_core::config::parse_duration;
use bff_core::outbound::Config;
use serde_json::{Map, Value};

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

/// Fails unless `said` holds every key of `compiled` with its value; those that are not set stand there as a comment.
fn compare(path: &str, compiled: &Map<String, Value>, said: &toml::Table, text: &str) {
    for (key, value) in compiled {
        let at = format!("{path}.{key}");
        match (value, said.get(key)) {
            (Value::Null, None) => {
                let own = table(text, path);
                assert!(own.contains(&format!("\n# {key} = ")), "{at} is nowhere");
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
fn every_value_says_what_it_means_and_why() {
    for gateway in fleet::GATEWAYS {
        let text = written(gateway.name);
        let mut before = "";
        for line in text.lines() {
            let key = line
                .split_once(" = ")
                .filter(|(key, _)| !key.starts_with('#'));
            assert!(
                key.is_none() || before.starts_with("# "),
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
