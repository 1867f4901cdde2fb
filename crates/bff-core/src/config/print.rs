//! The effective configuration as TOML, secrets masked by their type.

use serde::Serialize;
use serde_json::{Map, Value};

use super::tree::{self, Table};
use super::{Error, Sources};

/// The configuration as TOML. An absent key is a comment.
pub fn print<C: Serialize>(config: &C) -> String {
    write(config, &Table::new())
}

/// The same, with who set each key as a comment behind it; no comment means the type's own default.
pub fn print_with_sources<C: Serialize>(
    config: &C,
    sources: &Sources<'_>,
) -> Result<String, Error> {
    Ok(write(config, &sources.merged()?))
}

/// A key as TOML wants it.
pub(super) fn bare_or_quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        text(key)
    }
}

fn write<C: Serialize>(config: &C, origins: &Table) -> String {
    match serde_json::to_value(config) {
        Ok(Value::Object(root)) => {
            let mut lines = Vec::new();
            section(&mut lines, &mut Vec::new(), &root, origins);
            lines.push(String::new());
            lines.join("\n")
        }
        Ok(_) => "# this configuration has no keys\n".to_owned(),
        Err(error) => format!("# this configuration cannot be written as TOML: {error}\n"),
    }
}

/// One section: its own keys first, for TOML counts everything after a header to that header.
fn section<'a>(
    lines: &mut Vec<String>,
    path: &mut Vec<&'a str>,
    keys: &'a Map<String, Value>,
    origins: &Table,
) {
    let is_section = |value: &Value| value.is_object();
    if !path.is_empty() && (keys.is_empty() || !keys.values().all(is_section)) {
        let header: Vec<String> = path.iter().map(|name| bare_or_quoted(name)).collect();
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("[{}]", header.join(".")));
    }
    for (key, value) in keys.iter().filter(|(_, value)| !is_section(value)) {
        path.push(key);
        let origin = tree::at(origins, path)
            .map(|node| format!(" # {}", node.source))
            .unwrap_or_default();
        path.pop();
        let key = bare_or_quoted(key);
        lines.push(match value {
            Value::Null => format!("# {key} is not set"),
            value => format!("{key} = {}{origin}", inline(value)),
        });
    }
    for (key, value) in keys {
        if let Value::Object(inner) = value {
            path.push(key);
            section(lines, path, inner, origins);
            path.pop();
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(string) => text(string),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(keys) => {
            let keys: Vec<String> = keys
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{} = {}", bare_or_quoted(key), inline(value)))
                .collect();
            format!("{{ {} }}", keys.join(", "))
        }
    }
}

/// A basic string. JSON escapes are TOML's, except that TOML also wants DEL escaped.
fn text(string: &str) -> String {
    Value::from(string).to_string().replace('\u{7f}', "\\u007f")
}
