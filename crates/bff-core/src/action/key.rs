//! The `Idempotency-Key` request header (draft-ietf-httpapi-idempotency-key-header).

use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;
use utoipa::PartialSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

use crate::error::{Error, codes};

/// The name of the header.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The values of the header, for the contract. The parser has the same rules.
const PATTERN: &str = r#"^([!#-~]{1,255}|"[!#-~]{1,255}")$"#;

/// The client's key for one write: a retry with the same key is not executed twice. It has 1 to 255 visible ASCII
/// characters other than `"`, with quotes around them (as in the draft) or without.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key without its quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for IdempotencyKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let unquoted = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        let key = unquoted.unwrap_or(text);
        let is_allowed = |b: u8| b.is_ascii_graphic() && b != b'"';
        let is_valid = (1..=255).contains(&key.len()) && key.bytes().all(is_allowed);
        is_valid.then(|| Self(key.to_owned())).ok_or(
            "Idempotency-Key must have 1 to 255 visible ASCII characters without quotes in them.",
        )
    }
}

impl PartialSchema for IdempotencyKey {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(257))
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
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (values.next(), values.next()) {
            (Some(key), None) => key.to_str().unwrap_or_default().parse().map_err(error),
            (None, _) => Err(error("This write needs an Idempotency-Key.")),
            (Some(_), Some(_)) => Err(error("Idempotency-Key was sent more than once.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_not_part_of_the_key() {
        let key: IdempotencyKey = "\"8e03978e\"".parse().unwrap();
        assert_eq!(key, "8e03978e".parse().unwrap());
        for invalid in ["", "\"", "\"\"", "a\"b", "a b", "ü", &"x".repeat(256)] {
            assert!(invalid.parse::<IdempotencyKey>().is_err(), "{invalid}");
        }
    }
}
