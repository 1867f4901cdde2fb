//! Values to send for a schema.

use serde_json::{Value, json};

use crate::contracts::document::resolve;

/// Values at both sides of the schema's bounds, and values that often are not allowed. A missing bound is a panic.
pub(super) fn candidates(contract: &Value, schema: &Value) -> Vec<Value> {
    let bound = |name: &str| schema[name].as_u64();
    match schema["type"].as_str() {
        Some("integer") => {
            let (min, max) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
            let (min, max) = min
                .zip(max)
                .unwrap_or_else(|| panic!("no bounds: {schema}"));
            let numbers = [min - 1, min, max, max + 1, 1 << 32];
            let mut values: Vec<Value> = numbers.map(Value::from).into();
            values.extend([json!("x"), json!(1.5), json!(null), json!([])]);
            values
        }
        Some("array") => {
            let (min, max) = bound("minItems")
                .zip(bound("maxItems"))
                .unwrap_or_else(|| panic!("no bounds: {schema}"));
            let items = candidates(contract, resolve(contract, &schema["items"]));
            let is_valid = |item: &&Value| jsonschema::is_valid(&schema["items"], item);
            let valid = items.iter().find(is_valid).unwrap().clone();
            let lists = [min, max, max + 1]
                .map(|count| vec![valid.clone(); usize::try_from(count).unwrap()]);
            let one = items
                .iter()
                .filter(|item| *item != "")
                .map(|item| vec![item.clone()]);
            // A text cannot have a comma within an item.
            let one = one.filter(|list| !list[0].as_str().unwrap_or_default().contains(','));
            lists.into_iter().chain(one).map(Value::from).collect()
        }
        Some("string") => {
            let has_bound = ["maxLength", "pattern", "enum"]
                .iter()
                .any(|name| !schema[*name].is_null());
            assert!(has_bound, "no bounds: {schema}");
            let mut texts: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
            for length in [bound("minLength"), bound("maxLength")]
                .into_iter()
                .flatten()
            {
                let length = usize::try_from(length).unwrap();
                for length in [length.saturating_sub(1), length, length + 1] {
                    texts.extend(["a", "ä", "7"].map(|c| c.repeat(length)));
                }
            }
            texts.extend([255, 256].map(|length| "k".repeat(length)));
            texts.extend([255, 256].map(|length| format!("\"{}\"", "k".repeat(length))));
            let options = schema["enum"].as_array().cloned().unwrap_or_default();
            options
                .into_iter()
                .chain(texts.into_iter().map(Value::from))
                .collect()
        }
        other => panic!("no candidates for {other:?}: {schema}"),
    }
}

/// Texts of several formats.
const TEXTS: [&str; 24] = [
    "",
    "a",
    "a b",
    "a/b",
    "ä",
    "\n",
    ".",
    "..",
    "...",
    ".a",
    "\"",
    "\"\"",
    "\"a\"",
    "a\"b",
    "77",
    "777",
    "7777",
    "77777",
    "77777777777",
    "4111-1111 1111 1111",
    "12/30",
    "00/30",
    "13/30",
    "1/30",
];
