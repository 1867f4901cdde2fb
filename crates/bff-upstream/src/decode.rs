//! Decodes the JSON body of a response.
//!
//! A body that is JSON but not of the expected type is data of one resource. It says nothing about the backend's health.
//! A list can omit the elements that do not decode: see [`omit_undecodable`].

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

thread_local! {
    /// The number of elements that lists have omitted. `None`: every element must decode.
    ///
    /// It is set during one synchronous call, because serde passes no context to the types that it decodes.
    static OMITTED: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A decoded value, and the number of elements that its lists omit.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded<T> {
    pub(crate) value: T,
    pub(crate) omitted: u32,
}

/// The reason why a body does not decode.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The body is not JSON: it is damaged, or it does not come from the resource.
    #[error("the response body is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// The body is JSON, and the value does not fit its type.
    #[error("invalid response body: {0}")]
    Value(serde_json::Error),
}

/// Decodes a body. An empty body counts as `null`, and a byte order mark is ignored (RFC 8259 §8.1). Lists omit elements only if the whole does not decode otherwise, so
/// that an ordinary body is parsed once.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<Decoded<T>, DecodeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // One UTF-8 check of the whole body is cheaper than a check of each string.
    let text = match std::str::from_utf8(body) {
        Ok("") => Cow::Borrowed("null"),
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(with_surrogates(body)),
    };
    OMITTED.set(None);
    // `serde_json` itself rejects more than 128 levels of nesting.
    let error = match serde_json::from_str(&text) {
        Ok(value) => return Ok(Decoded { value, omitted: 0 }),
        Err(error) => error,
    };
    if body.is_empty() || serde_json::from_str::<IgnoredAny>(&text).is_err() {
        return Err(DecodeError::NotJson(error));
    }
    let Decoded { value, omitted } = omitting(|| serde_json::from_str(&text));
    let value = value.map_err(DecodeError::Value)?;
    Ok(Decoded { value, omitted })
}

/// Replaces bytes that are not UTF-8 by the escape of a lone surrogate. Only the strings that contain it do not decode.
fn with_surrogates(body: &[u8]) -> String {
    let chunks = body.utf8_chunks();
    let text = chunks.flat_map(|chunk| {
        let invalid = if chunk.invalid().is_empty() {
            ""
        } else {
            r"\ud800"
        };
        [chunk.valid(), invalid]
    });
    text.collect()
}

/// Runs a conversion in which lists omit the elements that do not decode.
pub(crate) fn omitting<T>(decode: impl FnOnce() -> T) -> Decoded<T> {
    OMITTED.set(Some(0));
    let value = decode();
    let omitted = OMITTED.take().unwrap_or_default();
    Decoded { value, omitted }
}

/// The elements of a list without those that do not convert. The section of the screen reports their number.
///
/// It has an effect within the conversion of a gRPC message.
pub fn omit_failed<T, E>(items: impl IntoIterator<Item = Result<T, E>>) -> Vec<T> {
    items
        .into_iter()
        .filter_map(|item| omit_if_failed(|| item))
        .collect()
}

/// Deserializes a list without the elements that do not decode. The section of the screen reports their number.
///
/// For lists whose elements stand alone, such as search results. A list whose elements have a common sum or meaning, such
/// as the lines of an order, must be complete.
///
/// # Errors
/// The value is not a list.
pub fn omit_undecodable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    if OMITTED.get().is_none() {
        return Vec::deserialize(deserializer);
    }
    // A raw value is skipped as text, so that a string with a lone surrogate does not end the list.
    let items = Vec::<&RawValue>::deserialize(deserializer)?.into_iter();
    let decode = |item: &'de RawValue| omit_if_failed(|| serde_json::from_str(item.get()));
    Ok(items.filter_map(decode).collect())
}

/// Like [`omit_undecodable`]; reads `null` as an empty list. Used with `#[serde(default)]`, which covers an absent member.
///
/// # Errors
/// The value is neither a list nor `null`.
pub fn omit_undecodable_or_null<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    struct List<T>(#[serde(deserialize_with = "omit_undecodable")] Vec<T>);

    let list = Option::<List<T>>::deserialize(deserializer)?;
    Ok(list.map_or_else(Vec::new, |list| list.0))
}

/// The element; `None`, counted, if it does not decode. Elements that its own lists have omitted then do not count.
fn omit_if_failed<T, E>(decode: impl FnOnce() -> Result<T, E>) -> Option<T> {
    let before = OMITTED.get();
    let item = decode().ok();
    if item.is_none() {
        OMITTED.set(before.map(|count| count.saturating_add(1)));
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Page {
        #[serde(deserialize_with = "omit_undecodable")]
        items: Vec<Thing>,
        total: u64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Thing {
        name: String,
        #[serde(default, deserialize_with = "omit_undecodable_or_null")]
        tags: Vec<String>,
    }

    /// The names and tags of the things, and the number of omitted elements.
    fn page(items: &[u8]) -> Result<(String, u32), DecodeError> {
        let body = [b"{\"items\": [", items, b"], \"total\": 9}"].concat();
        let Decoded { value, omitted } = decode::<Page>(&body)?;
        assert_eq!(value.total, 9);
        let things = value.items.into_iter();
        let things = things.map(|thing| [&[thing.name], &thing.tags[..]].concat().join("+"));
        Ok((things.collect::<Vec<_>>().join(" "), omitted))
    }

    #[test]
    fn a_list_omits_the_elements_that_do_not_decode() {
        for (items, things, omitted) in [
            (r"", "", 0),
            (r#"{"name": "a"}, {"name": "b"}"#, "a b", 0),
            (r#"{"name": "a", "tags": null}"#, "a", 0),
            (r#"{"name": "N\ud83d"}, {"name": "b"}"#, "b", 1),
            (r#"{"name": "a", "more": "\udc00"}, {"name": 7}"#, "a", 1),
            (
                r#"{"name": "a"}, {}, null, 5, [], "x", {"name": "b"}"#,
                "a b",
                5,
            ),
            (r#"{"name": "a", "tags": ["x", 1e999, "y"]}"#, "a+x+y", 1),
            // The element counts once, and not its tags.
            (r#"{"tags": ["x", 1, 2]}, {"name": "b"}"#, "b", 1),
            (r#"{"name": 1}"#, "", 1),
            (r#"{"name": "a", "tags": {}}, {"name": "b"}"#, "b", 1),
        ] {
            let (decoded, count) = page(items.as_bytes()).unwrap();
            assert_eq!((decoded.as_str(), count), (things, omitted), "{items}");
        }
        let latin_1 = page(b"{\"name\": \"caf\xe9\"}, {\"name\": \"b\"}").unwrap();
        assert_eq!(latin_1, ("b".to_owned(), 1));
        // The next body is decoded as if nothing had been omitted before.
        assert_eq!(page(br#"{"name": "a"}"#).unwrap().1, 0);
    }

    #[test]
    fn a_body_that_is_json_differs_from_one_that_is_not() {
        for (body, is_json) in [
            (&br#"{"name": "N\ud83d"}"#[..], true),
            (br#"{"name": 1e999}"#, true),
            (br#"{"tags": []}"#, true),
            (b"{\"name\": \"caf\xe9\"}", true),
            (b"null", true),
            (b"[]", true),
            (b" \"text\" ", true),
            (b"", false),
            (b" ", false),
            (b"<html></html>", false),
            (br#"{"name": "a"#, false),
            (br#"{"name": "a"}}"#, false),
            (br#"{"name": "\ud8"}"#, false),
            (b"\x1f\x8b\x08", false),
            (b"\xef\xbb\xbf{}", true),
            (b"\xff\xfe{\0}\0", false),
        ] {
            let text = String::from_utf8_lossy(body);
            match decode::<Thing>(body) {
                Ok(_) => panic!("{text} decodes"),
                Err(DecodeError::Value(_)) => assert!(is_json, "{text}"),
                Err(DecodeError::NotJson(_)) => assert!(!is_json, "{text}"),
            }
        }
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let error = decode::<serde_json::Value>(nested.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Value(_)));
        assert!(decode::<Option<u8>>(b"").unwrap().value.is_none());
        assert_eq!(decode::<u8>(b"\xef\xbb\xbf7").unwrap().value, 7);
    }

    #[test]
    fn a_list_that_must_be_complete_omits_nothing() {
        let error = decode::<Vec<Thing>>(br#"[{"name": "a"}, {}]"#).unwrap_err();
        assert!(matches!(error, DecodeError::Value(_)));
    }

    #[test]
    fn a_conversion_counts_what_it_omits() {
        let items = [Ok(1), Err("odd"), Ok(3), Err("odd")];
        let decoded = omitting(|| omit_failed(items));
        assert_eq!(decoded.value, [1, 3]);
        assert_eq!(decoded.omitted, 2);
    }
}
