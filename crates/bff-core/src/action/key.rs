//! The client's key for a write (draft-ietf-httpapi-idempotency-key-header).

use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::error::{Error, codes};

/// The header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a client calls one write by, so that the same write again is not done twice: 1 to 255 visible characters, with
/// quotes around them (as the draft has it) or without.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key as sent, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Key {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let inside = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        let key = inside.unwrap_or(text);
        let good = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(key.to_owned()))
            .ok_or("Idempotency-Key has 1 to 255 visible characters.")
    }
}

/// A key lets whoever has it learn what a write came to: it is not printed.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The one key of a request, or 400.
impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let refuse = |detail| Error::new(codes::INVALID_REQUEST, detail);
        let mut sent = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        match (sent.next(), sent.next()) {
            (Some(key), None) => key.to_str().unwrap_or_default().parse().map_err(refuse),
            (None, _) => Err(refuse("This write needs an Idempotency-Key.")),
            (Some(_), Some(_)) => Err(refuse("Idempotency-Key was sent more than once.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_not_part_of_it() {
        let key: Key = "\"8e03978e\"".parse().unwrap();
        assert_eq!(key, "8e03978e".parse().unwrap());
        for bad in ["", "\"\"", "a b", "ü", &"x".repeat(256)] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }
}
