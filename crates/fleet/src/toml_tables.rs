//! TOML tables: parsing, reading, setting and merging.

use toml::{Table, Value};

pub(crate) fn parse(text: &str, source: &str) -> Result<Table, String> {
    let parsed = text.parse::<Table>();
    parsed.map_err(|error| format!("{source}: {}", error.message()))
}

pub(crate) fn section<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key).and_then(Value::as_table)
}

/// Sets the value at a path. Missing tables are created.
pub(crate) fn set(table: &mut Table, path: &[&str], value: impl Into<Value>) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value.into());
        }
        [key, rest @ ..] => {
            let below = table.entry(*key).or_insert_with(|| Table::new().into());
            if let Value::Table(below) = below {
                set(below, rest, value.into());
            }
        }
    }
}

/// Merges `over` into `under`: tables key by key; any other value is replaced.
pub(crate) fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_merge_and_all_else_is_replaced() {
        let mut under = parse("a = [1, 2]\n[b]\nc = 1\nd = 2", "under").unwrap();
        merge(&mut under, parse("a = [3]\n[b]\nd = 4", "over").unwrap());
        let wanted = parse("a = [3]\n[b]\nc = 1\nd = 4", "wanted").unwrap();
        assert_eq!(under, wanted);
    }
}
