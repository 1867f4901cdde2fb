//! The `Idempotency-Key` request header (draft-ietf-httpapi-idempotency-key-header).

use std::fmt;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use utoipa::PartialSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

use crate::error::{Error, codes};

/// The name of the header.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The values of the header, for the contract. The parser has the same rules.
const PATTERN: &str = r#"^([!#-~][!-~]{0,254}|"([!#-[\]-~]|\\["\\]){1,255}")$"#;

/// The client's key for one write: a retry with the same key is not executed twice. It has 1 to 255 visible ASCII
/// characters, as a string of RFC 9651 (as in the draft) or plain.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of a request, if it has one. The error says why the header is invalid.
    pub(crate) fn find(headers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (Some(key), None) => key.to_str().unwrap_or_default().parse().map(Some),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err("Idempotency-Key was sent more than once."),
        }
    }

    /// The key without its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORMAT: &str = "Idempotency-Key must have 1 to 255 visible ASCII characters.";
        let text = text.trim();
        // The draft's form is a string of RFC 9651. Its parameters have no meaning.
        let key = if text.starts_with('"') {
            let item: sfv::Item = sfv::Parser::new(text).parse().map_err(|_| FORMAT)?;
            let string = item.bare_item.as_string().ok_or(FORMAT)?;
            string.as_str().to_owned()
        } else {
            text.to_owned()
        };
        let is_valid = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        is_valid.then_some(Self(key)).ok_or(FORMAT)
    }
}

impl PartialSchema for IdempotencyKey {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(512))
            .pattern(Some(PATTERN))
            .into()
    }
}

/// Hides the key: with the key a client can read the outcome of the write.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

/// Extracts the header. It fails with 400 if the header is missing, repeated or invalid.
impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let error = |detail| Error::new(codes::INVALID_REQUEST, detail);
        let key = Self::find(&parts.headers).map_err(error)?;
        key.ok_or_else(|| error("This write needs an Idempotency-Key."))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_key_is_a_string_or_plain_text() {
        for (text, key) in [
            ("8e03978e", "8e03978e"),
            ("\"8e03978e\"", "8e03978e"),
            ("\"a\";b=1", "a"),
            ("\"a\\\"b\\\\\"", "a\"b\\"),
            ("a\"b", "a\"b"),
            ("a,b;c", "a,b;c"),
            ("?1", "?1"),
        ] {
            let parsed: IdempotencyKey = text.parse().unwrap();
            assert_eq!(parsed.as_str(), key, "{text}");
        }
        for invalid in [
            "",
            "\"\"",
            "\"a b\"",
            "a b",
            "\"a",
            "\"a\"b",
            "\"a\", \"b\"",
            "\"\\a\"",
            "ü",
            "\"ü\"",
            &"x".repeat(256),
        ] {
            assert!(invalid.parse::<IdempotencyKey>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_repeated_key_is_invalid() {
        let found = |lines: &[&'static str]| {
            let value = |line: &&'static str| {
                (
                    HeaderName::from_static("idempotency-key"),
                    HeaderValue::from_static(line),
                )
            };
            let headers =
                lines
                    .iter()
                    .map(value)
                    .fold(HeaderMap::new(), |mut headers, (name, value)| {
                        headers.append(name, value);
                        headers
                    });
            IdempotencyKey::find(&headers)
        };
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&["a"]), Ok(Some("a".parse().unwrap())));
        assert!(found(&["a", "a"]).is_err() && found(&[""]).is_err());
    }
}
