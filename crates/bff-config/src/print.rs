//! The effective configuration as TOML. The types of secrets mask themselves.

use serde::Serialize;
use serde_json::{Map, Value};

use super::layers::{Table, find};
use super::{Error, Sources, inherit};

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
            lines.concat().trim_start().to_owned()
        }
        (_, Err(error)) => format!("# this configuration cannot be written as TOML: {error}\n"),
        _ => "# this configuration has no keys\n".to_owned(),
    }
}

/// Writes a section: first its values, because in TOML all keys after a header belong to it.
fn section<'a>(
    lines: &mut Vec<String>,
    path: &mut Vec<&'a str>,
    keys: &'a Map<String, Value>,
    toml: &toml::Table,
    tree: &Table,
) {
    if !path.is_empty() && (keys.is_empty() || !keys.values().all(Value::is_object)) {
        // TOML quotes the names that need it.
        let outer = |inner: toml::Table, key: &&str| one_key(key, inner.into());
        let header = path.iter().rev().fold(toml::Table::new(), outer);
        lines.push(format!("\n{header}"));
    }
    for (key, value) in keys {
        if let (false, Some(value)) = (value.is_object(), toml.get(key)) {
            path.push(key);
            let source = source_of(tree, path);
            path.pop();
            let line = one_key(key, value.clone()).to_string();
            lines.push(format!("{}{source}\n", line.trim_end()));
        } else if value.is_null() {
            lines.push(format!("# {key} is not set\n"));
        }
    }
    for (key, value) in keys {
        if let (Value::Object(keys), Some(toml::Value::Table(toml))) = (value, toml.get(key)) {
            path.push(key);
            section(lines, path, keys, toml, tree);
            path.pop();
        }
    }
}

fn one_key(key: &str, value: toml::Value) -> toml::Table {
    toml::Table::from_iter([(key.to_owned(), value)])
}

/// The comment behind a value.
fn source_of(tree: &Table, path: &[&str]) -> String {
    let written = inherit::written_at(tree, path);
    match find(tree, &written) {
        None => String::new(),
        Some(node) if written == path => format!(" # {}", node.source),
        Some(node) => format!(" # {} in {}", inherit::DEFAULTS_TABLE, node.source),
    }
}
