//! The strongest layer: variables named `PREFIX_SECTION__KEY`.

use super::Error;
use super::layers::{Kind, Node, Source, Table};

/// Puts the variables of this program over the tree, in the order of their names.
pub(crate) fn apply(tree: &mut Table, prefix: &str, env: &[(String, String)]) -> Result<(), Error> {
    let prefix = format!("{prefix}_");
    let mut own: Vec<_> = env
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && !is_service_variable(name))
        .collect();
    own.sort();
    for (name, text) in own {
        let path = name[prefix.len()..].to_lowercase();
        set(tree, &path, name, text)?;
    }
    Ok(())
}

fn set(tree: &mut Table, path: &str, name: &str, text: &str) -> Result<(), Error> {
    let unknown = |reason: &str| Error::new(format!("unknown variable {name}: {reason}"));
    let keys: Vec<&str> = path.split("__").collect();
    let [sections @ .., key] = keys.as_slice() else {
        return Ok(());
    };
    if keys.contains(&"") {
        let reason = "write PREFIX_SECTION__KEY, with two underscores between names";
        return Err(unknown(reason));
    }
    let source = Source::Variable(name.to_owned());
    let mut table = tree;
    for section in sections {
        let node = table.entry((*section).to_owned()).or_insert_with(|| Node {
            kind: Kind::Table(Table::new()),
            source: source.clone(),
        });
        let Kind::Table(inner) = &mut node.kind else {
            return Err(unknown(&format!("`{section}` is a value, not a section")));
        };
        table = inner;
    }
    let text = text.to_owned();
    let kind = match table.get(*key) {
        Some(Node {
            kind,
            source: Source::Variable(other),
        }) if !matches!(kind, Kind::Table(_)) => Kind::duplicate(other),
        None if key.len() > "_file".len() && key.ends_with("_file") => Kind::TextOrPath(text),
        _ => Kind::Text(text),
    };
    table.insert((*key).to_owned(), Node { kind, source });
    Ok(())
}

/// Whether Kubernetes sets this variable in every pod beside a Service: `*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT`,
/// `*_PORT_<n>_*`. A variable with two underscores sets a key of a section and is never one of these.
fn is_service_variable(name: &str) -> bool {
    let starts_with_digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.ends_with("_PORT")
            || name.contains("_SERVICE_PORT_")
            || name.split("_PORT_").skip(1).any(starts_with_digit))
}

#[cfg(test)]
mod tests {
    use super::is_service_variable;

    #[test]
    fn service_variables_are_recognised_by_their_shape() {
        for name in [
            "TV_BFF_SERVICE_HOST",
            "TV_BFF_SERVICE_PORT",
            "TV_BFF_SERVICE_PORT_HTTP",
            "TV_BFF_PORT",
            "TV_BFF_PORT_8080_TCP",
            "TV_BFF_PORT_8080_TCP_ADDR",
            "TV_PORT",
            "TV_PORT_443_UDP_PROTO",
        ] {
            assert!(is_service_variable(name), "{name}");
        }
        for name in [
            "TV_MODE",
            "TV_LISTEN__PORT",
            "TV_UPSTREAMS__X_SERVICE_HOST",
            "TV_PORT_NAME",
            "TV_PORT_",
            "TV_EXPORT",
            "TV_SERVICE_PORTAL",
        ] {
            assert!(!is_service_variable(name), "{name}");
        }
    }
}
