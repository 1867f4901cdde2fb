//! The strongest layer: variables named `PREFIX_SECTION__KEY`.

use std::net::IpAddr;

use super::layers::{Kind, Node, Source, Table};

/// A variable whose name begins with the prefix.
pub(crate) struct Variable<'a> {
    pub(crate) name: &'a str,
    /// The name without the prefix, in lower case: `section__key`.
    pub(crate) path: String,
    text: &'a str,
}

impl Variable<'_> {
    /// Whether this is a text in place of a section of the root, which no section accepts.
    pub(crate) fn replaces_section(&self, tree: &Table) -> bool {
        let node = tree.get(&self.path);
        !self.text.is_empty() && node.is_some_and(|node| matches!(node.kind, Kind::Table(_)))
    }
}

/// The variables with the prefix in the order of their names, without those of Kubernetes.
pub(crate) fn with_prefix<'a>(env: &'a [(String, String)], prefix: &str) -> Vec<Variable<'a>> {
    let variable = |(name, text): &'a (String, String)| {
        let path = name.strip_prefix(prefix)?.strip_prefix('_')?.to_lowercase();
        (!is_service_variable(name, text)).then_some(Variable { name, path, text })
    };
    let mut variables: Vec<_> = env.iter().filter_map(variable).collect();
    variables.sort_by_key(|variable| variable.name);
    variables
}

/// Puts a variable over the tree.
pub(crate) fn set(tree: &mut Table, variable: &Variable<'_>) {
    let Variable { name, path, text } = variable;
    let keys: Vec<&str> = path.split("__").collect();
    let [sections @ .., key] = keys.as_slice() else {
        return;
    };
    let source = Source::Variable((*name).to_owned());
    let mut table = tree;
    for section in sections {
        let node = table.entry((*section).to_owned()).or_insert_with(|| Node {
            kind: Kind::Table(Table::new()),
            source: source.clone(),
        });
        let Node { kind, source: old } = node;
        let Kind::Table(inner) = kind else {
            *kind = Kind::Invalid("this is a value, not a section".to_owned());
            *old = source;
            return;
        };
        table = inner;
    }
    let text = (*text).to_owned();
    let kind = match table.get(*key) {
        Some(Node {
            kind,
            source: Source::Variable(other),
        }) if !matches!(kind, Kind::Table(_)) => Kind::duplicate(other),
        None if key.len() > "_file".len() && key.ends_with("_file") => Kind::TextOrPath(text),
        _ => Kind::Text(text),
    };
    table.insert((*key).to_owned(), Node { kind, source });
}

/// Whether Kubernetes sets this variable in every pod beside a Service: `*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT`,
/// `*_PORT_<n>_*`. The name of a Service may contain two hyphens, which become two underscores. The value has the form
/// that Kubernetes gives it, so that no key of a gateway is taken for one of these.
fn is_service_variable(name: &str, text: &str) -> bool {
    let name = name.rsplit("__").next().unwrap_or(name);
    let is_number = text.parse::<u16>().is_ok();
    let is_link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    let starts_with_digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST") && text.parse::<IpAddr>().is_ok()
        || (name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_")) && is_number
        || name.ends_with("_PORT") && is_link
        || name.split("_PORT_").skip(1).any(starts_with_digit)
}

#[cfg(test)]
mod tests {
    use super::is_service_variable;

    #[test]
    fn service_variables_are_recognised_by_name_and_value() {
        for (name, text) in [
            ("TV_BFF_SERVICE_HOST", "10.0.0.1"),
            ("TV_BFF_SERVICE_HOST", "fd00::1"),
            ("TV_SERVICE_HOST", "10.0.0.1"),
            ("TV__BLUE_SERVICE_HOST", "10.0.0.1"),
            ("TV_UPSTREAMS__X_SERVICE_HOST", "10.0.0.1"),
            ("TV_BFF_SERVICE_PORT", "80"),
            ("TV_BFF_SERVICE_PORT_HTTP", "80"),
            ("TV_SERVER__B_SERVICE_PORT_HTTP", "80"),
            ("TV_SERVICE_X_PORT", "tcp://10.0.0.1:80"),
            ("TV_PORT", "tcp://[fd00::1]:80"),
            ("TV__BLUE_PORT", "udp://10.0.0.1:80"),
            ("TV_BFF_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("TV_BFF_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("TV_PORT_443_UDP_PROTO", "udp"),
            ("TV__BLUE_PORT_80_TCP_PORT", "80"),
            ("TV_SERVER__B_PORT_80_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_service_variable(name, text), "{name}");
        }
        for (name, text) in [
            ("TV_MODE", "development"),
            ("TV_PORT", "8080"),
            ("TV_SERVER__ADMIN_PORT", "9080"),
            ("TV_UPSTREAMS__X_SERVICE_HOST", "x.internal"),
            ("TV_UPSTREAMS__A_SERVICE_PORT_B__URL", "http://a"),
            ("TV_UPSTREAMS__A_PORT_8__URL", "http://a"),
            ("TV_PORT_NAME", "http"),
            ("TV_PORT_", ""),
            ("TV_EXPORT", "tcp://10.0.0.1:80"),
            ("TV_SERVICE_PORTAL", "80"),
        ] {
            assert!(!is_service_variable(name, text), "{name}");
        }
    }
}
