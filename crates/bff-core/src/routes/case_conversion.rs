//! JSON and queries with their names rewritten, everything else byte for byte: numbers keep their digits.

use serde::de::IgnoredAny;

/// `image_url` becomes `imageUrl`. A name that is no `snake_case` stays as it is.
pub(super) fn to_camel(name: &str) -> Option<String> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !is_word(name) {
        return None;
    }
    let mut made = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letters.peek() {
            Some(next) if letter == '_' && next.is_ascii_lowercase() => {
                made.push(next.to_ascii_uppercase());
                letters.next();
            }
            _ => made.push(letter),
        }
    }
    Some(made)
}

/// `imageUrl` becomes `image_url`. A name that is no `camelCase` stays as it is.
pub(super) fn to_snake(name: &str) -> Option<String> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !is_word(name) {
        return None;
    }
    let mut made = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            made.push('_');
        }
        made.push(letter.to_ascii_lowercase());
    }
    Some(made)
}

fn is_word(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Rewrites the name of every member, at any depth.
pub(super) fn json(
    text: &[u8],
    rename: fn(&str) -> Option<String>,
) -> Result<Vec<u8>, serde_json::Error> {
    // What follows may rely on it being JSON.
    serde_json::from_slice::<IgnoredAny>(text)?;
    let mut made = Vec::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'"') {
        let (before, from) = rest.split_at(at + 1);
        let (inside, after) = from.split_at(end_of_string(from));
        made.extend_from_slice(before);
        // In JSON a string before a colon is a name, and nothing else is.
        let after = after.get(1..).unwrap_or_default();
        let is_name = after.trim_ascii_start().first() == Some(&b':');
        let name = std::str::from_utf8(inside).ok().filter(|_| is_name);
        match name.and_then(rename) {
            Some(renamed) => made.extend_from_slice(renamed.as_bytes()),
            None => made.extend_from_slice(inside),
        }
        made.push(b'"');
        rest = after;
    }
    made.extend_from_slice(rest);
    Ok(made)
}

/// Where a string ends whose first quotation mark is before `text`.
fn end_of_string(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|b| match b {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        b => *b == b'"',
    });
    end.unwrap_or(text.len())
}

/// Rewrites the name of every parameter; values stay as they are.
pub(super) fn query(text: &str, rename: fn(&str) -> Option<String>) -> String {
    let pairs = text.split('&').map(|pair| {
        let (name, value) = match pair.find('=') {
            Some(at) => pair.split_at(at),
            None => (pair, ""),
        };
        let name = rename(name).unwrap_or_else(|| name.to_owned());
        name + value
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn names_change_and_nothing_else_does() {
        let sent = r#" {"per_page" : 1.10, "b":[{"not_found":"x_y"}, "a_b:", 12345678901234567890123],
            "p-1_a":null, "A_b":{"":1}, "_meta":{}, "e\"s_c":"\\", "aB":"\"k_k\":"} "#;
        let made = json(sent.as_bytes(), to_camel).unwrap();
        let wanted = sent
            .replace("per_page", "perPage")
            .replace("not_found", "notFound");
        assert_eq!(String::from_utf8(made).unwrap(), wanted);
        assert!(json(b"{\"a\":", to_camel).is_err());
        assert_eq!(json(b"\"a_b\"", to_camel).unwrap(), b"\"a_b\"");
    }

    #[test]
    fn a_query_keeps_its_values() {
        assert_eq!(
            query("per_page=2&sort=-a_b&x_y&=a_b&q=a%20b", to_camel),
            "perPage=2&sort=-a_b&xY&=a_b&q=a%20b"
        );
        assert_eq!(query("", to_camel), "");
    }

    fn renamed(value: Value, rename: fn(&str) -> Option<String>) -> Value {
        match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| renamed(item, rename))
                .collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (rename(&name).unwrap_or(name), renamed(value, rename)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-z][a-zA-Z0-9]{0,6}|.{0,4}", inner), 0..5).prop_map(
                    |members| members
                        .into_iter()
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                ),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_and_back_is_where_it_was(name in "[a-z][a-zA-Z0-9]{0,12}") {
            prop_assert_eq!(to_snake(&name).and_then(|n| to_camel(&n)), Some(name));
        }

        #[test]
        fn any_json_is_read_as_serde_reads_it(value in any_json()) {
            let text = serde_json::to_vec(&value).unwrap();
            let made: Value = serde_json::from_slice(&json(&text, to_snake).unwrap()).unwrap();
            // A name written with escapes is left alone, which is none of letters and digits.
            prop_assert_eq!(made, renamed(value, to_snake));
        }
    }
}
