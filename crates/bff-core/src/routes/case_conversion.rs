//! Converts the names in JSON and in queries. Everything else stays byte for byte, so numbers keep their digits.

use serde::de::IgnoredAny;

/// `image_url` becomes `imageUrl`. `None` if the name is not `snake_case`: it is not converted.
pub(super) fn to_camel(name: &str) -> Option<String> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !is_word(name) {
        return None;
    }
    let mut converted = String::with_capacity(name.len());
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letters.peek() {
            Some(next) if letter == '_' && next.is_ascii_lowercase() => {
                converted.push(next.to_ascii_uppercase());
                letters.next();
            }
            _ => converted.push(letter),
        }
    }
    Some(converted)
}

/// `imageUrl` becomes `image_url`. `None` if the name is not `camelCase`: it is not converted.
pub(super) fn to_snake(name: &str) -> Option<String> {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !is_word(name) {
        return None;
    }
    let mut converted = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            converted.push('_');
        }
        converted.push(letter.to_ascii_lowercase());
    }
    Some(converted)
}

fn is_word(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Converts the name of every member, at any depth.
pub(super) fn json(
    text: &[u8],
    rename: fn(&str) -> Option<String>,
) -> Result<Vec<u8>, serde_json::Error> {
    // The scan below relies on valid JSON.
    serde_json::from_slice::<IgnoredAny>(text)?;
    let mut converted = Vec::with_capacity(text.len() + text.len() / 16);
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'"') {
        let (before, from) = rest.split_at(at + 1);
        let (inside, after) = from.split_at(end_of_string(from));
        converted.extend_from_slice(before);
        // In JSON, a string is a member's name exactly if a colon follows.
        let after = after.get(1..).unwrap_or_default();
        let is_name = after.trim_ascii_start().first() == Some(&b':');
        let name = std::str::from_utf8(inside).ok().filter(|_| is_name);
        match name.and_then(rename) {
            Some(renamed) => converted.extend_from_slice(renamed.as_bytes()),
            None => converted.extend_from_slice(inside),
        }
        converted.push(b'"');
        rest = after;
    }
    converted.extend_from_slice(rest);
    Ok(converted)
}

/// The position of the closing quotation mark. `text` starts after the opening one.
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

/// Converts the name of every parameter. Values stay unchanged.
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
    fn only_names_are_converted() {
        let sent = r#" {"per_page" : 1.10, "b":[{"not_found":"x_y"}, "a_b:", 12345678901234567890123],
            "p-1_a":null, "A_b":{"":1}, "_meta":{}, "e\"s_c":"\\", "aB":"\"k_k\":"} "#;
        let converted = json(sent.as_bytes(), to_camel).unwrap();
        let expected = sent
            .replace("per_page", "perPage")
            .replace("not_found", "notFound");
        assert_eq!(String::from_utf8(converted).unwrap(), expected);
        assert!(json(b"{\"a\":", to_camel).is_err());
        assert_eq!(json(b"\"a_b\"", to_camel).unwrap(), b"\"a_b\"");
    }

    #[test]
    fn the_values_of_a_query_stay_unchanged() {
        assert_eq!(
            query("per_page=2&sort=-a_b&x_y&=a_b&q=a%20b", to_camel),
            "perPage=2&sort=-a_b&xY&=a_b&q=a%20b"
        );
        assert_eq!(query("", to_camel), "");
    }

    fn rename_members(value: Value, rename: fn(&str) -> Option<String>) -> Value {
        match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| rename_members(item, rename))
                .collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (rename(&name).unwrap_or(name), rename_members(value, rename)))
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
        fn a_round_trip_restores_the_name(name in "[a-z][a-zA-Z0-9]{0,12}") {
            prop_assert_eq!(to_snake(&name).and_then(|n| to_camel(&n)), Some(name));
        }

        #[test]
        fn conversion_equals_renaming_the_parsed_value(value in any_json()) {
            let text = serde_json::to_vec(&value).unwrap();
            let converted: Value = serde_json::from_slice(&json(&text, to_snake).unwrap()).unwrap();
            // A name with an escape is not converted. It has other characters than letters and digits.
            prop_assert_eq!(converted, rename_members(value, to_snake));
        }
    }
}
