//! What the layers become: one tree in which every value remembers who set it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ::config::{FileFormat, Format, ValueKind};

use super::Error;

/// A section.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and who set it. A section's own source is whoever named it first.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// What TOML can say, and what a variable can say.
#[derive(Clone)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    /// A variable's text, or a secret file's: it becomes whatever type its key wants.
    Text(String),
    /// The text of a variable named `…_FILE`: a file to read, unless the section really has that key.
    TextOrFile(String),
    List(Vec<Node>),
    Table(Table),
}

/// Who set a value, weakest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Defaults,
    Overlay,
    File(Arc<str>),
    Variable(Arc<str>),
    /// The file that this variable names.
    FileOf(Arc<str>),
    /// Handed down by a table that many inherit, as this layer has it.
    Inherited(Box<Source>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the compiled-in defaults"),
            Self::Overlay => f.write_str("the overlay"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::FileOf(name) => write!(f, "the file of variable {name}"),
            // A variable's name says so by itself.
            Self::Inherited(layer) if layer.variable().is_some() => layer.fmt(f),
            Self::Inherited(layer) => write!(f, "upstream_defaults in {layer}"),
        }
    }
}

impl Source {
    /// The variable behind it, if it is one.
    pub(super) fn variable(&self) -> Option<&Arc<str>> {
        match self {
            Self::Variable(name) | Self::FileOf(name) => Some(name),
            Self::Inherited(layer) => layer.variable(),
            _ => None,
        }
    }

    /// Where it was written, of what is handed down.
    pub(super) fn inherited(&self) -> Option<&Self> {
        match self {
            Self::Inherited(layer) => Some(layer),
            _ => None,
        }
    }

    /// The file that a variable names, in its place.
    pub(super) fn file_of(&self, name: &Arc<str>) -> Self {
        let file = Self::FileOf(name.clone());
        match self {
            Self::Inherited(_) => Self::Inherited(Box::new(file)),
            _ => file,
        }
    }

    /// What it is itself, handed down or not.
    fn layer(&self) -> &Self {
        self.inherited().unwrap_or(self)
    }
}

impl Node {
    /// Everyone who set a part of this value.
    pub(super) fn sources(&self) -> BTreeSet<Source> {
        match &self.value {
            Value::Table(table) if !table.is_empty() => {
                table.values().flat_map(Self::sources).collect()
            }
            _ => BTreeSet::from([self.source.clone()]),
        }
    }

    /// The value as an error line may quote it: short, on one line. Lists, sections, the content of secret files and
    /// texts that look like an address with a password are never quoted.
    pub(super) fn quoted(&self) -> Option<String> {
        if matches!(self.source.layer(), Source::FileOf(_)) {
            return None;
        }
        match &self.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(format!("{value:?}")),
            Value::Str(text) | Value::Text(text) | Value::TextOrFile(text) => {
                let short = text.chars().count() <= 60 && !text.contains('@');
                short.then(|| format!("{text:?}"))
            }
            Value::List(_) | Value::Table(_) => None,
        }
    }
}

/// Parses one layer.
pub(super) fn parse(text: &str, source: &Source) -> Result<Table, Error> {
    let parsed = Format::parse(&FileFormat::Toml, None, text)
        .map_err(|error| Error::new(format!("{source}: {}", syntax(&error.to_string()))))?;
    Ok(parsed
        .into_iter()
        .map(|(key, value)| (key, node(value.kind, source)))
        .collect())
}

/// Lays `over` on `base`: sections merge, anything else replaces.
pub(super) fn merge(base: &mut Table, over: Table) {
    for (key, upper) in over {
        let merged = match (base.remove(&key), upper) {
            (
                Some(Node {
                    value: Value::Table(mut lower),
                    source,
                }),
                Node {
                    value: Value::Table(upper),
                    ..
                },
            ) => {
                merge(&mut lower, upper);
                Node {
                    value: Value::Table(lower),
                    source,
                }
            }
            (_, upper) => upper,
        };
        base.insert(key, merged);
    }
}

/// Whether a key's own word is nearer than the secret file of a variable that only hands it down.
pub(super) fn is_nearer(own: &Node, file: &Node) -> bool {
    own.source.inherited().is_none() && file.source.inherited().is_some()
}

/// What stands at `path`, be it a secret file. `None`: nobody set it, the type has its own default.
pub(super) fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Node> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        let own = table.get(*first);
        let through_file = table
            .get(&format!("{first}_file"))
            .filter(|node| matches!(node.value, Value::TextOrFile(_)))
            .filter(|file| !own.is_some_and(|own| is_nearer(own, file)));
        return through_file.or(own);
    }
    match &table.get(*first)?.value {
        Value::Table(inner) => at(inner, rest),
        _ => None,
    }
}

fn node(kind: ValueKind, source: &Source) -> Node {
    let value = match kind {
        ValueKind::Boolean(value) => Value::Bool(value),
        ValueKind::I64(value) => Value::Int(value),
        ValueKind::Float(value) => Value::Float(value),
        ValueKind::String(text) => Value::Str(text),
        ValueKind::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| node(item.kind, source))
                .collect(),
        ),
        ValueKind::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, node(value.kind, source)))
                .collect(),
        ),
        // TOML has neither null nor wider integers.
        other => Value::Str(other.to_string()),
    };
    Node {
        value,
        source: source.clone(),
    }
}

/// The parser's report as one line: where and what, without the excerpt, which could show a secret.
fn syntax(report: &str) -> String {
    let mut lines = report.lines();
    let first = lines.next().unwrap_or_default();
    let Some(place) = first.strip_prefix("TOML parse error at ") else {
        return report.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    let what: Vec<&str> = lines
        .skip_while(|line| !is_caret(line))
        .skip(1)
        .map(str::trim)
        .collect();
    format!("{place}: {}", what.join(" "))
}

/// Whether this is the excerpt's last line, `  |     ^^^`.
fn is_caret(line: &str) -> bool {
    line.trim_start().starts_with('|')
        && line.contains('^')
        && line.chars().all(|c| matches!(c, ' ' | '|' | '^'))
}
