//! What one table says once for many: each table of `[upstreams]` inherits `[upstream_defaults]`, key by key.
//!
//! It is done when all layers are merged, so the nearer word counts and not the stronger layer: a key of
//! `[upstreams.alpha]` wins over the same key of `[upstream_defaults]`, whoever set either.

use super::Error;
use super::tree::{self, Node, Source, Table, Value};

/// The table that hands down, and the one whose tables are its heirs.
const HEIRS: (&str, &str) = ("upstream_defaults", "upstreams");

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

/// The same with sources that say where it comes from. A variable's name says so by itself.
fn inherited(estate: Table) -> Table {
    let node = |node: Node| {
        let value = match node.value {
            Value::Table(table) => Value::Table(inherited(table)),
            value => value,
        };
        let source = match node.source {
            Source::Variable(_) | Source::FileOf(_) | Source::Inherited(_) => node.source,
            layer => Source::Inherited(Box::new(layer)),
        };
        Node { value, source }
    };
    estate
        .into_iter()
        .map(|(key, value)| (key, node(value)))
        .collect()
}
