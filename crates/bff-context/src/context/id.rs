//! Identifiers. They are parsed on input, so that no unchecked text becomes part of an upstream path.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// The storage of an identifier: up to 24 bytes are stored inline, which is enough for nearly all.
pub use compact_str::CompactString as Short;

/// A parsed identifier: exactly one path segment, neither empty nor `.` nor `..`.
pub trait Id {
    /// The identifier as a path segment. It needs no percent-encoding.
    fn as_path_segment(&self) -> &str;
}

/// Declares an identifier type: 1 to 64 characters of `A-Z a-z 0-9 - _ . ~`, but not `.` or `..`.
///
/// `FromStr` and serde are the only ways to create a value, so every value was checked.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name($crate::context::Short);

        impl ::std::str::FromStr for $name {
            type Err = $crate::context::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::context::validate_id(text).map(|()| Self(text.into()))
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        // Several times cheaper than `to_string`, for responses with many identifiers.
        impl From<&$name> for String {
            fn from(id: &$name) -> Self {
                id.0.as_str().to_owned()
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                $crate::context::deserialize_id(d)
            }
        }

        impl $crate::utoipa::PartialSchema for $name {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::Schema> {
                $crate::context::id_schema()
            }
        }

        impl $crate::utoipa::ToSchema for $name {}

        impl $crate::context::Id for $name {
            fn as_path_segment(&self) -> &str {
                &self.0
            }
        }
    };
}

/// The error for a text that is not a valid identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an identifier must have 1 to 64 characters of A-Z a-z 0-9 - _ . ~ and must not be `.` or `..`"
)]
pub struct InvalidId;

/// The maximum length of an identifier.
const MAX_LENGTH: usize = 64;
/// The characters of an identifier, without `.` and `..`. The pattern has no lookahead, which not all tools support.
const PATTERN: &str = r"^(\.{0,2}[A-Za-z0-9_~-][A-Za-z0-9._~-]*|\.{3}[A-Za-z0-9._~-]*)$";

/// Checks that `text` is a valid identifier.
pub fn validate_id(text: &str) -> Result<(), InvalidId> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let well_formed = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed);
    (well_formed && text != "." && text != "..")
        .then_some(())
        .ok_or(InvalidId)
}

/// The schema of an identifier: the rules of [`validate_id`].
pub fn id_schema() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_LENGTH))
        .pattern(Some(PATTERN))
        .into()
}

/// Deserializes an identifier directly from the input text, without an intermediate copy.
pub fn deserialize_id<'de, D: Deserializer<'de>, I: FromStr<Err = InvalidId>>(
    d: D,
) -> Result<I, D::Error> {
    struct Text<I>(PhantomData<I>);

    impl<I: FromStr<Err = InvalidId>> Visitor<'_> for Text<I> {
        type Value = I;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an identifier")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<I, E> {
            text.parse().map_err(E::custom)
        }
    }

    d.deserialize_str(Text(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::id! {
        /// A thing.
        ThingId
    }

    #[test]
    fn path_syntax_is_rejected() {
        for bad in [
            "", ".", "..", "a/b", "a\\b", "a%2fb", "a b", "a\nb", "ü", "a?b", "a;b",
        ] {
            assert_eq!(bad.parse::<ThingId>(), Err(InvalidId), "{bad:?}");
        }
    }
}
