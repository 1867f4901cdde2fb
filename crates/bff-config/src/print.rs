//! The effective configuration as TOML. The types of secrets mask themselves.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::bare_or_quoted;
use super::layers::{Table, find};
use super::{Error, Sources};

/// The configuration as TOML. A key without a value is a comment.
pub fn print<C: Serialize>(config: &C) -> String {
    write(config, &Table::new())
}

/// The same with the source of each key as a comment behind it. A key without such a comment has the default of its
/// type.
pub fn print_with_sources<C: Serialize>(
    config: &C,
    sources: &Sources<'_>,
) -> Result<String, Error> {
    Ok(write(config, &sources.merged()?))
}

fn write<C: Serialize>(config: &C, tree: &Table) -> String {
    // JSON has the order of the keys and those without a value. TOML has the text of the values.
    match (serde_json::to_value(config), toml::Table::try_from(config)) {
        (Ok(Value::Object(keys)), Ok(toml)) => {
            let mut lines = Vec::new();
            section(&mut lines, &mut Vec::new(), &keys, &toml, tree);
            lines.push(String::new());
            lines.join("\n")
        }
        (_, Err(error)) => format!("# this configuration cannot be written as TOML: {error}\n"),
        _ => "# this configuration has no keys\n".to_owned(),
    }
}

/// Writes a section: first its values, because TOML counts all keys after a header to that header.
fn section<'a>(
    lines: &mut Vec<String>,
    path: &mut Vec<&'a str>,
    keys: &'a Map<String, Value>,
    toml: &toml::Table,
    tree: &Table,
) {
    if !path.is_empty() && (keys.is_empty() || !keys.values().all(Value::is_object)) {
        let header: Vec<String> = path.iter().map(|name| bare_or_quoted(name)).collect();
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(format!("[{}]", header.join(".")));
    }
    for (key, value) in keys {
        if value.is_object() {
            continue;
        }
        let name = bare_or_quoted(key);
        let Some(value) = toml.get(key) else {
            lines.push(format!("# {name} is not set"));
            continue;
        };
        path.push(key);
        let source = find(tree, path).map(|node| format!(" # {}", node.source));
        path.pop();
        lines.push(format!("{name} = {value}{}", source.unwrap_or_default()));
    }
    for (key, value) in keys {
        if let (Value::Object(keys), Some(toml::Value::Table(toml))) = (value, toml.get(key)) {
            path.push(key);
            section(lines, path, keys, toml, tree);
            path.pop();
        }
    }
}
