//! The layers, merged into one tree in which every value knows its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::Value;

use super::Error;

/// A section: its keys in alphabetical order, so that the same mistake is always reported first.
pub(crate) type Table = BTreeMap<String, Node>;

/// A value and the layer that set it. The source of a section is the weakest layer that names it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) source: Source,
}

/// The value of a key.
#[derive(Clone)]
pub(crate) enum Kind {
    Table(Table),
    /// A typed value of a TOML file, never a table.
    Toml(Value),
    /// The text of a variable. It becomes the type that its key needs.
    Text(String),
    /// The text of a variable named `…_FILE`: the key's own value if the section has such a key, else a path.
    TextOrPath(String),
    /// A value that no type accepts, and the reason.
    Invalid(String),
}

impl Kind {
    /// The value of a key that the variable `other` sets too.
    pub(crate) fn duplicate(other: &str) -> Self {
        Self::Invalid(format!("variable {other} sets the same key"))
    }
}

/// The origin of a value, weakest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    CoreDefaults,
    GatewayDefaults,
    Overlay,
    File(String),
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CoreDefaults => f.write_str("the core defaults"),
            Self::GatewayDefaults => f.write_str("the gateway's defaults"),
            Self::Overlay => f.write_str("the overlay"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => write!(f, "variable {name}"),
        }
    }
}

impl Node {
    /// All layers that set a part of this value.
    pub(crate) fn sources(&self) -> BTreeSet<Source> {
        match &self.kind {
            Kind::Table(table) if !table.is_empty() => {
                table.values().flat_map(Self::sources).collect()
            }
            _ => BTreeSet::from([self.source.clone()]),
        }
    }

    fn parsed(value: Value, source: &Source) -> Self {
        let kind = match value {
            Value::Table(table) => Kind::Table(nodes(table, source)),
            value => Kind::Toml(value),
        };
        Self {
            kind,
            source: source.clone(),
        }
    }
}

/// Parses one layer. The error names line and column and never quotes the text, which may contain a secret.
pub(crate) fn parse(text: &str, source: &Source) -> Result<Table, Error> {
    let table = toml::from_str(text).map_err(|error| {
        let report = error.to_string();
        let position = report.lines().next().unwrap_or_default();
        Error::new(format!("{source}: {position}: {}", error.message()))
    })?;
    Ok(nodes(table, source))
}

fn nodes(table: toml::Table, source: &Source) -> Table {
    let node = |(key, value)| (key, Node::parsed(value, source));
    table.into_iter().map(node).collect()
}

/// Puts `upper` over `lower`: sections merge key by key, every other value replaces.
pub(crate) fn merge(lower: &mut Table, upper: Table) {
    for (key, node) in upper {
        match (lower.get_mut(&key).map(|node| &mut node.kind), node.kind) {
            (Some(Kind::Table(lower)), Kind::Table(upper)) => merge(lower, upper),
            (_, kind) => {
                let source = node.source;
                lower.insert(key, Node { kind, source });
            }
        }
    }
}

/// The node at `path`. If a `…_FILE` variable sets the key, this is the variable's node.
/// `None` if no layer sets the key: its type has a default then.
pub(crate) fn find<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Node> {
    let (first, rest) = path.split_first()?;
    let own = table.get(*first);
    if rest.is_empty() {
        let file = table.get(&format!("{first}_file"));
        let file = file.filter(|node| matches!(node.kind, Kind::TextOrPath(_)));
        return file.or(own);
    }
    match &own?.kind {
        Kind::Table(inner) => find(inner, rest),
        // An item of a list has the source of its list.
        _ => own.filter(|_| rest.iter().all(|key| key.starts_with('['))),
    }
}
