//! The tables of keys in `docs/` have the keys and the values of the core defaults.

use std::collections::BTreeMap;

use crate::support::{file, root};

/// Tables whose keys have no line in the defaults: a deployment chooses the names of their entries.
const NAMED_BY_DEPLOYMENTS: [&str; 7] = [
    "auth.api_keys.*",
    "inbound.rate_limits.per_ip.burst",
    "inbound.rate_limits.policies.*",
    "routes.*",
    "screens.",
    "upstreams.*.cache.routes.*",
    "upstreams.*.discovery.consul.",
];

/// The keys of the core defaults with their values as text; `None` for a key that is only in a comment.
fn defaults() -> BTreeMap<String, Option<String>> {
    let text = file("crates/bff-core/src/defaults.toml").unwrap();
    let mut section = String::new();
    let mut keys = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.replacen("upstream_defaults", "upstreams.*", 1);
            continue;
        }
        let (line, is_set) = match line.strip_prefix("# ") {
            Some(line) => (line, false),
            None => (line, true),
        };
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        if !key
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            continue;
        }
        let path = if section.is_empty() {
            key.to_owned()
        } else {
            format!("{section}.{key}")
        };
        keys.insert(path, is_set.then(|| value.to_owned()));
    }
    keys
}

/// The rows of every table of keys: page, key and default.
fn rows() -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut in_table = false;
        for line in text.lines() {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            if !line.starts_with('|') {
                in_table = false;
            } else if cells[..]
                == [
                    "key",
                    "default",
                    cells.get(2).copied().unwrap_or(""),
                    "meaning",
                ]
            {
                in_table = true;
            } else if in_table && cells.len() == 4 {
                let plain = |cell: &str| cell.trim_matches('`').to_owned();
                rows.push((name.clone(), plain(cells[0]), plain(cells[1])));
            }
        }
    }
    rows
}

#[test]
fn the_tables_of_keys_are_those_of_the_defaults() {
    let defaults = defaults();
    let rows = rows();
    assert!(rows.len() > 100, "only {} rows were found", rows.len());
    let mut wrong = Vec::new();
    for (key, value) in &defaults {
        let shown = value.as_deref().unwrap_or("-");
        match rows.iter().find(|(_, row, _)| row == key) {
            None => wrong.push(format!("no page in docs/ has the key {key}")),
            Some((page, _, text)) if text != shown => {
                wrong.push(format!(
                    "{page} has {key} = {text}, but the default is {shown}"
                ));
            }
            Some(_) => {}
        }
    }
    for (page, key, _) in &rows {
        let is_named = NAMED_BY_DEPLOYMENTS
            .iter()
            .any(|prefix| key.starts_with(prefix));
        if !is_named && key != "upstreams.*.url" && !defaults.contains_key(key) {
            wrong.push(format!("{page} has the key {key}, which has no default"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
