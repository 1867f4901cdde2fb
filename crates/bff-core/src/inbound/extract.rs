//! What a door parses: path, query and body, each into a type, every mistake told at once.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use garde::Validate;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::error::{Error, FieldError, codes};

pub use body::Body;
#[cfg(feature = "graphql")]
pub(crate) use body::json;
pub(crate) use body::read;
pub use query::Query;

mod body;
mod collect_errors;
pub(in crate::inbound) mod idempotent_request;
pub(in crate::inbound) mod language;
mod query;
mod strict_structs;

/// The most mistakes told of one request: reading again has a price, and nobody mends more at once.
const MAX_ERRORS: usize = 20;

/// The path's parameters, parsed. A parameter that is no identifier names nothing: 404 would hide the
/// mistake, so it is 422 with its pointer.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(why)) => Err(match why.into_kind() {
                ErrorKind::DeserializeError { key, message, .. } => {
                    Error::invalid_at(format!("/path/{key}"), message)
                }
                ErrorKind::ParseErrorAtKey {
                    key, expected_type, ..
                } => Error::invalid_at(format!("/path/{key}"), format!("not a {expected_type}")),
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    Error::invalid_at(format!("/path/{key}"), "not UTF-8")
                }
                ErrorKind::Message(message) => Error::invalid_at("/path", message),
                other => Error::invalid_at("/path", other.to_string()),
            }),
            Err(other) => {
                Err(Error::new(codes::INTERNAL, "The path was not read.").with_cause(other))
            }
        }
    }
}

/// A value that keeps every rule of its type, or everything that is wrong with it.
pub(crate) fn validated<T: Validate<Context = ()>>(root: &str, value: T) -> Result<T, Error> {
    match invalid(root, &value) {
        wrong if wrong.is_empty() => Ok(value),
        wrong => Err(Error::invalid(wrong)),
    }
}

/// Adds a mistake, unless one was told of the same place or within it: that is the cause, and this follows from it.
fn add(wrong: &mut Vec<FieldError>, pointer: FieldError) {
    let within = |told: &FieldError| {
        let rest = told.pointer.strip_prefix(&pointer.pointer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !wrong.iter().any(within) {
        wrong.push(pointer);
    }
}

/// What a decoder stopped at, as a JSON pointer below `root`.
fn pointer_from_serde<E: ToString>(
    root: &str,
    error: &serde_path_to_error::Error<E>,
) -> FieldError {
    let detail = humanize(&error.inner().to_string());
    let mut pointer = root.to_owned();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer = format!("{pointer}/{index}"),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                pointer = FieldError::below(&pointer, name);
            }
            Segment::Unknown => {}
        }
    }
    // A member that is missing or there twice has no place; serde names it in its text alone.
    let named = detail.strip_prefix("missing field `");
    let named = named.or_else(|| detail.strip_prefix("duplicate field `"));
    if let Some((name, _)) = named.and_then(|rest| rest.split_once('`')) {
        pointer = FieldError::below(&pointer, name);
    }
    FieldError { pointer, detail }
}

/// A pointer's step as the name that it stands for (RFC 6901 §4).
fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// What a decoder says, without its line and column, for the pointer is more, and without Rust's names of types.
fn humanize(said: &str) -> String {
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
    let Some((found, expected)) = said.rsplit_once(", expected ") else {
        return said.to_owned();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "an object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// Every rule that `value` breaks.
fn invalid<T: Validate<Context = ()>>(root: &str, value: &T) -> Vec<FieldError> {
    let report = match value.validate() {
        Ok(()) => return Vec::new(),
        Err(report) => report,
    };
    let pointers = report
        .into_inner()
        .into_iter()
        .map(|(path, why)| FieldError {
            pointer: format!("{root}/{}", to_camel_pointer(&path.to_string())),
            detail: why.to_string(),
        });
    pointers.collect()
}

/// A path of Rust members as the client wrote it: `items[0].per_page` is `items/0/perPage`.
fn to_camel_pointer(path: &str) -> String {
    let mut sent = String::with_capacity(path.len());
    let mut raise = false;
    for c in path.chars() {
        match c {
            '.' | '[' => sent.push('/'),
            ']' => {}
            '_' => raise = true,
            c if std::mem::take(&mut raise) => sent.push(c.to_ascii_uppercase()),
            c => sent.push(c),
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_names_members_as_they_were_sent() {
        assert_eq!(to_camel_pointer("items[0].per_page"), "items/0/perPage");
    }
}
