//! Defaults of all backends: each table of `[upstreams]` inherits the keys of `[upstream_defaults]`.
//!
//! This happens after all layers are merged. A key of `[upstreams.alpha]` therefore wins over the same key of
//! `[upstream_defaults]`, even if a stronger layer sets the latter.

use super::Error;
use super::layers::{Kind, Node, Table, find};

/// The table that holds the defaults.
pub(crate) const DEFAULTS_TABLE: &str = "upstream_defaults";
/// The table whose tables inherit them.
pub(crate) const UPSTREAMS: &str = "upstreams";

/// The path at which a layer sets the key: `path`, or the same key of the defaults table.
pub(crate) fn written_at<'a>(tree: &Table, path: &[&'a str]) -> Vec<&'a str> {
    if let [UPSTREAMS, _, rest @ ..] = path
        && find(tree, path).is_none()
    {
        let inherited = [&[DEFAULTS_TABLE], rest].concat();
        if find(tree, &inherited).is_some() {
            return inherited;
        }
    }
    path.to_vec()
}

/// Adds the defaults to each backend, and removes the defaults table.
pub(crate) fn apply_defaults(tree: &mut Table) -> Result<(), Error> {
    let defaults = match tree.remove(DEFAULTS_TABLE) {
        None => return Ok(()),
        Some(Node {
            kind: Kind::Table(defaults),
            ..
        }) => defaults,
        Some(Node { source, .. }) => {
            let line = format!("{DEFAULTS_TABLE} in {source}: expected a section");
            return Err(Error::new(line));
        }
    };
    if let Some(Kind::Table(upstreams)) = tree.get_mut(UPSTREAMS).map(|node| &mut node.kind) {
        for upstream in upstreams.values_mut() {
            if let Kind::Table(table) = &mut upstream.kind {
                add_missing(table, &defaults);
            }
        }
    }
    Ok(())
}

fn add_missing(table: &mut Table, defaults: &Table) {
    let own = table.clone();
    for (key, node) in defaults {
        if has_secret(&own, key, node) {
            continue;
        }
        let inner = table.entry(key.clone()).or_insert_with(|| node.clone());
        if let (Kind::Table(table), Kind::Table(defaults)) = (&mut inner.kind, &node.kind) {
            add_missing(table, defaults);
        }
    }
}

/// Whether the table sets the key in the other one of two ways: as the value or as the path of a file.
fn has_secret(table: &Table, key: &str, node: &Node) -> bool {
    let is_path = |node: &Node| matches!(node.kind, Kind::TextOrPath(_));
    match key.strip_suffix("_file").filter(|_| is_path(node)) {
        Some(key) => table.contains_key(key),
        None => table.get(&format!("{key}_file")).is_some_and(is_path),
    }
}
