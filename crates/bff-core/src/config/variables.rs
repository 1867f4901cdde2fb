//! The strongest layer: `PREFIX_SECTION__KEY` variables, except those that Kubernetes sets by itself.

use super::Error;
use super::tree::{Node, Source, Table, Value};

/// Lays this program's variables on the tree, in the order of their names, so that a mistake is always the same one.
pub(super) fn apply(tree: &mut Table, prefix: &str, env: &[(String, String)]) -> Result<(), Error> {
    let prefix = format!("{prefix}_");
    let mut own: Vec<_> = env
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && !is_service_link(name))
        .collect();
    own.sort();
    for (name, text) in own {
        let path: Vec<String> = name[prefix.len()..]
            .split("__")
            .map(str::to_lowercase)
            .collect();
        if path.iter().any(String::is_empty) {
            let why = "write PREFIX_SECTION__KEY, with two underscores between names";
            return Err(Error::new(format!("unknown variable {name}: {why}")));
        }
        set(tree, &path, name, text)?;
    }
    Ok(())
}

fn set(table: &mut Table, path: &[String], name: &str, text: &str) -> Result<(), Error> {
    let source = Source::Variable(name.into());
    match path {
        [] => Ok(()),
        [key] => {
            let lower = table.remove(key);
            if let Some(Source::Variable(other)) = lower.as_ref().map(|node| &node.source)
                && !matches!(
                    lower,
                    Some(Node {
                        value: Value::Table(_),
                        ..
                    })
                )
            {
                return Err(both(other, name));
            }
            let value = match lower {
                None if key.len() > "_file".len() && key.ends_with("_file") => {
                    Value::TextOrFile(text.to_owned())
                }
                None => Value::Text(text.to_owned()),
                Some(lower) => shaped(text, &lower.value),
            };
            table.insert(key.clone(), Node { value, source });
            Ok(())
        }
        [section, rest @ ..] => {
            let inner = table.entry(section.clone()).or_insert_with(|| Node {
                value: Value::Table(Table::new()),
                source,
            });
            match &mut inner.value {
                Value::Table(inner) => set(inner, rest, name, text),
                _ => Err(Error::new(format!(
                    "unknown variable {name}: `{section}` is a value, not a section"
                ))),
            }
        }
    }
}

/// The line for a key that two variables set.
pub(super) fn both(one: &str, other: &str) -> Error {
    Error::new(format!(
        "variables {one} and {other} set the same key: keep one"
    ))
}

/// A text in the shape of the value it replaces. Types that serde buffers before it knows what they want (tagged
/// enums, flattened structs) never get to ask for a number, so the lower layer answers for them.
fn shaped(text: &str, lower: &Value) -> Value {
    let shape = match lower {
        Value::Bool(_) => text.parse().ok().map(Value::Bool),
        Value::Int(_) => text.parse().ok().map(Value::Int),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        _ => None,
    };
    shape.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Whether Kubernetes sets this variable in every pod beside a Service: `*_SERVICE_HOST`, `*_SERVICE_PORT*`,
/// `*_PORT`, `*_PORT_<n>_*`. A key of ours has a section, hence two underscores, and is never taken for one.
fn is_service_link(name: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let numbered = |(at, _): (usize, &str)| {
        let digits = name[at + "_PORT_".len()..]
            .split('_')
            .next()
            .unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.match_indices("_PORT_").any(numbered)
}

#[cfg(test)]
mod tests {
    use super::is_service_link;

    #[test]
    fn service_links_are_told_by_their_shape() {
        for link in [
            "TV_BFF_SERVICE_HOST",
            "TV_BFF_SERVICE_PORT",
            "TV_BFF_SERVICE_PORT_HTTP",
            "TV_BFF_PORT",
            "TV_BFF_PORT_8080_TCP",
            "TV_BFF_PORT_8080_TCP_ADDR",
            "TV_PORT",
            "TV_PORT_443_UDP_PROTO",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        for own in [
            "TV_MODE",
            "TV_LISTEN__PORT",
            "TV_UPSTREAMS__X_SERVICE_HOST",
            "TV_PORT_NAME",
            "TV_PORT_",
            "TV_EXPORT",
            "TV_SERVICE_PORTAL",
        ] {
            assert!(!is_service_link(own), "{own}");
        }
    }
}
