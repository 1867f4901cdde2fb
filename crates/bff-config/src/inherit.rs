//! Defaults of all backends: each table of `[upstreams]` inherits the keys of `[upstream_defaults]`.
//!
//! This happens after all layers are merged. A key of `[upstreams.alpha]` therefore wins over the same key of
//! `[upstream_defaults]`, even if a stronger layer sets the latter.

use std::collections::BTreeSet;

use super::Error;
use super::layers::{Kind, Node, Source, Table, merge};

/// The table that holds the defaults.
pub(crate) const DEFAULTS_TABLE: &str = "upstream_defaults";
/// The table whose tables inherit them.
const UPSTREAMS: &str = "upstreams";

/// The defaults table, if `known` are the fields of the root. No struct has this key.
pub(crate) fn extra_known_keys(path: &[&str], known: &[&str]) -> Option<&'static str> {
    let is_root = path.len() == 1 && known.contains(&UPSTREAMS);
    is_root.then_some(DEFAULTS_TABLE)
}

/// The path and the sources of an inherited value as the file or variable has them. `None` if the backend's own
/// table sets a part of it.
pub(crate) fn written_at<'a>(
    path: &[&'a str],
    sources: &BTreeSet<Source>,
) -> Option<(Vec<&'a str>, BTreeSet<Source>)> {
    let [UPSTREAMS, _, rest @ ..] = path else {
        return None;
    };
    let layer = |source: &Source| match source {
        Source::Inherited(layer) => Some((**layer).clone()),
        _ => None,
    };
    let sources: BTreeSet<Source> = sources.iter().map(layer).collect::<Option<_>>()?;
    (!sources.is_empty()).then(|| ([&[DEFAULTS_TABLE], rest].concat(), sources))
}

/// Puts the defaults under the keys of each backend, and removes the defaults table.
pub(crate) fn apply_defaults(tree: &mut Table) -> Result<(), Error> {
    let Some(defaults) = tree.remove(DEFAULTS_TABLE) else {
        return Ok(());
    };
    let Kind::Table(defaults) = defaults.kind else {
        let source = defaults.source;
        return Err(Error::new(format!(
            "{DEFAULTS_TABLE} in {source}: expected a section"
        )));
    };
    let defaults = inherited(defaults);
    if let Some(Kind::Table(upstreams)) = tree.get_mut(UPSTREAMS).map(|node| &mut node.kind) {
        for upstream in upstreams.values_mut() {
            if let Kind::Table(table) = &mut upstream.kind {
                let own = std::mem::replace(table, defaults.clone());
                merge(table, own);
            }
        }
    }
    Ok(())
}

/// The same table with every source marked as inherited.
fn inherited(table: Table) -> Table {
    let node = |node: Node| Node {
        kind: match node.kind {
            Kind::Table(table) => Kind::Table(inherited(table)),
            kind => kind,
        },
        source: Source::Inherited(Box::new(node.source)),
    };
    table
        .into_iter()
        .map(|(key, value)| (key, node(value)))
        .collect()
}
