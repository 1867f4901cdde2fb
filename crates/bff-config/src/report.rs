//! The one line that reports a configuration mistake: the key, the source and the reason.

use serde_path_to_error::Segment;
use toml::Value;

use super::inherit::{DEFAULTS_TABLE, UPSTREAMS, written_at};
use super::layers::{Kind, Node, Source, Table, find};
use super::{Error, renamed, secret};

/// The expected types whose place may hold a secret of a wrong type. A line about them never contains the value.
const SECRET: [&str; 3] = [secret::EXPECTED, "a list", "a section"];

/// The line for a value of the right type that is still invalid.
pub(crate) fn invalid_at(tree: &Table, path: &[&str], why: &str) -> Error {
    let (path, place) = locate(tree, path);
    Error::new(format!("{}{place}: {why}", key_of(&path)))
}

/// The line for an error of serde.
pub(crate) fn of_serde(
    error: &serde_path_to_error::Error<toml::de::Error>,
    tree: &Table,
    prefix: &str,
) -> Error {
    let message = error.inner().message();
    let names: Vec<String> = error.path().iter().filter_map(name).collect();
    let mut path: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(key) = name_in(message, "missing field `") {
        return renamed_section(tree, &path).unwrap_or_else(|| missing(&path, key, prefix));
    }
    if message.starts_with("unknown field") {
        // Serde buffers tagged enums, so the path may end at the enum.
        let key = name_in(message, "unknown field `");
        path.extend(key.filter(|key| path.last() != Some(key)));
        return removed_key(tree, &path)
            .or_else(|| renamed_section(tree, &path))
            .or_else(|| screen_section(tree, &path))
            .unwrap_or_else(|| unknown(tree, &path, message));
    }
    invalid(tree, &path, message)
}

/// The line for a key that no longer exists.
fn removed_key(tree: &Table, path: &[&str]) -> Option<Error> {
    let (path, place) = locate(tree, path);
    let key = key_of(&path);
    let reason = renamed::removed(&key)?;
    let line = format!("{key}{place}: this key was removed: {reason}");
    Some(Error::new(line))
}

/// The line for a section that a file still calls by its old name.
fn renamed_section(tree: &Table, path: &[&str]) -> Option<Error> {
    let (path, place) = locate(tree, path);
    let new = renamed::new_path(&path)?;
    Some(renamed_key(&path, &place, &new))
}

/// The line for a screen's section that a file still has at the root.
fn screen_section(tree: &Table, path: &[&str]) -> Option<Error> {
    let (path, place) = locate(tree, path);
    let new = renamed::screen_section(tree, &path)?;
    Some(renamed_key(&path, &place, &new))
}

fn renamed_key(old: &[&str], place: &str, new: &[&str]) -> Error {
    let (old, new) = (key_of(old), key_of(new));
    Error::new(format!("{old}{place}: this key was renamed to {new}"))
}

fn missing(section: &[&str], key: &str, prefix: &str) -> Error {
    let path = [section, &[key]].concat();
    let (key, variable) = (key_of(&path), path.join("__").to_uppercase());
    Error::new(format!(
        "missing key `{key}`: set it in a file or as {prefix}_{variable}"
    ))
}

fn unknown(tree: &Table, path: &[&str], message: &str) -> Error {
    let (path, place) = locate(tree, path);
    let mut line = format!("unknown key `{}`{place}", key_of(&path));
    if let Some((_, expected)) = message.split_once(", ") {
        line.extend([": ", expected]);
    }
    if path.len() == 1 {
        // No struct has the defaults table: it is gone when serde reads the root.
        let both = format!("`{UPSTREAMS}`, `{DEFAULTS_TABLE}`");
        line = line.replace(&format!("`{UPSTREAMS}`"), &both);
    }
    Error::new(line)
}

/// The line for a value of a wrong type or out of its range.
fn invalid(tree: &Table, path: &[&str], message: &str) -> Error {
    let is_item = path.last().is_some_and(|key| key.starts_with('['));
    let (path, place) = locate(tree, path);
    let node = find(tree, &path).filter(|_| !is_item);
    let key = key_of(&path);
    let is_reworded = ["invalid type: ", "invalid value: ", "unknown variant `"]
        .iter()
        .any(|start| message.starts_with(start));
    // The first half of such a message contains the value, which may be a secret.
    let (reason, may_be_shown) = match message.rsplit_once(", expected ") {
        Some((_, expected)) if is_reworded => {
            let expected = in_words(expected);
            (format!("expected {expected}"), !SECRET.contains(&expected))
        }
        _ => (message.to_owned(), true),
    };
    let Some(value) = node.and_then(shown).filter(|_| may_be_shown) else {
        return Error::new(format!("{key}{place}: {reason}"));
    };
    let text = value.trim_matches('"');
    let reason = match renamed::new_path(&[&path, &[text][..]].concat()) {
        Some(new) => format!("this value was renamed to {:?}", new.last().unwrap_or(&"")),
        None => reason,
    };
    Error::new(format!("{key} = {value}{place}: {reason}"))
}

/// The path as a file or variable has it, and the middle of a line: ` in file x.toml`.
fn locate<'a>(tree: &Table, path: &[&'a str]) -> (Vec<&'a str>, String) {
    let path = written_at(tree, path);
    let sources = find(tree, &path).map(Node::sources).unwrap_or_default();
    let names: Vec<String> = sources.iter().map(Source::to_string).collect();
    let place = match names.as_slice() {
        [] => String::new(),
        names => format!(" in {}", names.join(" and ")),
    };
    (path, place)
}

/// A key with dots: `edge.ports[1]`.
fn key_of(path: &[&str]) -> String {
    path.join(".").replace(".[", "[")
}

/// The name of one step of serde's path.
fn name(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { index } => Some(format!("[{index}]")),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// The name between backticks in a message that starts like this.
fn name_in<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let (name, _) = message.strip_prefix(start)?.split_once('`')?;
    Some(name)
}

/// The value as a line may contain it: short and on one line. Lists, the paths of secret files and texts that look like
/// an address with a password are never shown.
fn shown(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Toml(Value::String(text)) | Kind::Text(text) => {
            let is_short = text.chars().count() <= 60 && !text.contains('@');
            is_short.then(|| format!("{text:?}"))
        }
        Kind::Toml(value) if !value.is_array() => Some(value.to_string()),
        _ => None,
    }
}

/// The type that serde expects, in the words of a configuration file.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a map" => "a section",
        "a sequence" => "a list",
        name if name.starts_with("enum ") => "a string",
        section if section.starts_with("struct ") => "a section",
        other => other,
    }
}
