//! What one table says once for many: each table of `[upstreams]` inherits `[upstream_defaults]`, key by key.
//!
//! It is done when all layers are merged, so the nearer word counts and not the stronger layer: a key of
//! `[upstreams.alpha]` wins over the same key of `[upstream_defaults]`, whoever set either.

use std::collections::BTreeSet;

use super::Error;
use super::tree::{self, Node, Source, Table, Value};

/// The table that hands down, and the one whose tables are its heirs.
const HEIRS: (&str, &str) = ("upstream_defaults", "upstreams");

/// What else may stand where `known` do, which are the names a struct reads: it never sees the table that hands down.
pub(super) fn beside(known: &[&str]) -> Option<&'static str> {
    let (from, to) = HEIRS;
    known.contains(&to).then_some(from)
}

/// Where the key at `path` is written, if `sources` only hand it down. It is one mistake however many inherit it.
pub(super) fn written_at<'a>(
    path: &[&'a str],
    sources: &BTreeSet<Source>,
) -> Option<(Vec<&'a str>, BTreeSet<Source>)> {
    let (from, to) = HEIRS;
    let [first, _, rest @ ..] = path else {
        return None;
    };
    let written: Option<BTreeSet<Source>> =
        sources.iter().map(|s| s.inherited().cloned()).collect();
    let written = written.filter(|sources| *first == to && !sources.is_empty())?;
    Some(([&[from], rest].concat(), written))
}

/// Puts what is handed down under what each heir says itself. The table that hands it down is gone then: nothing else
/// reads it.
pub(super) fn hand_down(tree: &mut Table) -> Result<(), Error> {
    let (from, to) = HEIRS;
    let Some(estate) = tree.remove(from) else {
        return Ok(());
    };
    let Value::Table(estate) = estate.value else {
        return Err(Error::new(format!(
            "{from} in {}: expected a section",
            estate.source
        )));
    };
    let estate = inherited(estate);
    let Some(Value::Table(heirs)) = tree.get_mut(to).map(|node| &mut node.value) else {
        return Ok(());
    };
    for heir in heirs.values_mut() {
        if let Value::Table(own) = &mut heir.value {
            let own_words = std::mem::replace(own, estate.clone());
            tree::merge(own, own_words);
        }
    }
    Ok(())
}

/// The same with sources that say where it comes from.
fn inherited(estate: Table) -> Table {
    let node = |node: Node| Node {
        value: match node.value {
            Value::Table(table) => Value::Table(inherited(table)),
            value => value,
        },
        source: Source::Inherited(Box::new(node.source)),
    };
    estate
        .into_iter()
        .map(|(key, value)| (key, node(value)))
        .collect()
}
