//! A member that may be absent may also be `null`.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default. Used with `#[serde(default)]`, which covers an absent member.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_an_absent_member_are_an_empty_list() {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "null_as_default")]
            list: Vec<u8>,
        }
        for (text, expected) in [
            (r#"{"list": null}"#, &[][..]),
            ("{}", &[]),
            (r#"{"list": [1]}"#, &[1]),
        ] {
            assert_eq!(serde_json::from_str::<Wire>(text).unwrap().list, expected);
        }
    }
}
