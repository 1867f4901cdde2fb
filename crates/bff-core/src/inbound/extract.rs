//! Extractors for path, query and body. Each parses into a type and reports all errors at once.

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
pub(crate) use body::{body_ended_early, body_is_late, read};
pub use query::Query;

mod body;
mod collect_errors;
pub(in crate::inbound) mod idempotent_request;
pub(in crate::inbound) mod language;
mod query;
mod strict_structs;

/// The largest number of reported errors: each costs another parse, and more do not help the client.
const MAX_ERRORS: usize = 20;

/// The path's parameters, parsed. A malformed identifier is 422 with its pointer, because 404 would hide the mistake.
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
                Err(Error::new(codes::INTERNAL, "The path could not be parsed.").with_cause(other))
            }
        }
    }
}

/// Validates a value. The error lists every broken rule.
pub(crate) fn validated<T: Validate<Context = ()>>(root: &str, value: T) -> Result<T, Error> {
    match broken_rules(root, &value) {
        errors if errors.is_empty() => Ok(value),
        errors => Err(Error::invalid(errors)),
    }
}

/// Adds an error, unless the list has one at the same place or below it, which is then the cause of this one.
fn add_error(errors: &mut Vec<FieldError>, error: FieldError) {
    let is_cause = |listed: &FieldError| {
        let rest = listed.pointer.strip_prefix(&error.pointer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !errors.iter().any(is_cause) {
        errors.push(error);
    }
}

/// Converts a deserialization error to a JSON pointer below `root` with its text.
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
    // The path of a missing or duplicate field ends at its object. Only the text has the field's name.
    let rest = detail.strip_prefix("missing field `");
    let rest = rest.or_else(|| detail.strip_prefix("duplicate field `"));
    if let Some((name, _)) = rest.and_then(|rest| rest.split_once('`')) {
        pointer = FieldError::below(&pointer, name);
    }
    FieldError { pointer, detail }
}

/// Decodes a reference token of a JSON pointer (RFC 6901 §4).
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Removes line and column from serde's message, because the pointer is more precise, and replaces names of Rust types.
fn humanize(message: &str) -> String {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
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

/// Every validation rule that `value` breaks.
fn broken_rules<T: Validate<Context = ()>>(root: &str, value: &T) -> Vec<FieldError> {
    let report = match value.validate() {
        Ok(()) => return Vec::new(),
        Err(report) => report,
    };
    let pointers = report
        .into_inner()
        .into_iter()
        .map(|(path, error)| FieldError {
            pointer: format!("{root}/{}", to_camel_pointer(&path.to_string())),
            detail: error.to_string(),
        });
    pointers.collect()
}

/// Converts a path of Rust fields to the client's names: `items[0].per_page` becomes `items/0/perPage`.
fn to_camel_pointer(path: &str) -> String {
    let mut pointer = String::with_capacity(path.len());
    let mut capitalize = false;
    for c in path.chars() {
        match c {
            '.' | '[' => pointer.push('/'),
            ']' => {}
            '_' => capitalize = true,
            c if std::mem::take(&mut capitalize) => pointer.push(c.to_ascii_uppercase()),
            c => pointer.push(c),
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_uses_the_names_of_the_client() {
        assert_eq!(to_camel_pointer("items[0].per_page"), "items/0/perPage");
    }
}
