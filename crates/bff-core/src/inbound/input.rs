//! What a door parses: path, query and body, each into a type, every mistake told at once.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use garde::Validate;
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::doors::BodyLimit;
use crate::error::{Error, Pointer, codes};

use objects::Objects;
pub use query::Query;
use query::no_query;

mod objects;
mod query;

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
            Err(other) => Err(Error::new(codes::INTERNAL, "The path was not read.").because(other)),
        }
    }
}

/// A JSON body, read within the route's limits, parsed and validated.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let bytes = json(request).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a body that says it is JSON, through a door that reads no query besides.
pub(crate) async fn json(request: Request) -> Result<axum::body::Bytes, Error> {
    no_query(&request)?;
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(is_json) {
        let detail = "The body is JSON: Content-Type: application/json.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    read(request).await
}

/// `application/json`, perhaps with parameters, of which only UTF-8 is one we can read.
fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|k| k.eq_ignore_ascii_case("application/json"));
    json && parts.all(|p| {
        let (name, value) = p.split_once('=').unwrap_or((p, ""));
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

/// Parses and validates a body.
pub(super) fn parse<T: DeserializeOwned + Validate<Context = ()>>(
    bytes: &[u8],
) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(Objects(&mut reader)).map_err(|e| {
        match e.inner().classify() {
            serde_json::error::Category::Data => Error::invalid(vec![unreadable("", &e)]),
            _ => Error::new(codes::INVALID_REQUEST, "The body is not JSON."),
        }
    })?;
    reader
        .end()
        .map_err(|_| Error::new(codes::INVALID_REQUEST, "There is more after the JSON."))?;
    validated("", value)
}

/// A value that keeps every rule of its type, or everything that is wrong with it.
pub(crate) fn validated<T: Validate<Context = ()>>(root: &str, value: T) -> Result<T, Error> {
    match invalid(root, &value) {
        wrong if wrong.is_empty() => Ok(value),
        wrong => Err(Error::invalid(wrong)),
    }
}

/// Reads a body within the route's bytes and time.
pub(crate) async fn read(request: Request) -> Result<axum::body::Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>().copied();
    let limit =
        limit.ok_or_else(|| Error::new(codes::INTERNAL, "The request came past the edge."))?;
    let body = Limited::new(request.into_body(), limit.bytes);
    match tokio::time::timeout(limit.time, body.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("The body is over {} bytes.", limit.bytes);
            Err(Error::new(codes::TOO_LARGE, detail))
        }
        Ok(Err(_)) => Err(Error::new(codes::INVALID_REQUEST, "The body ended early.")),
        Err(_) => Err(Error::new(
            codes::INVALID_REQUEST,
            "The body did not arrive in time.",
        )),
    }
}

/// What a decoder stopped at, as a JSON pointer below `root`.
fn unreadable<E: ToString>(root: &str, error: &serde_path_to_error::Error<E>) -> Pointer {
    let detail = in_words(&error.inner().to_string());
    let mut pointer = root.to_owned();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer = format!("{pointer}/{index}"),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                pointer = Pointer::below(&pointer, name);
            }
            Segment::Unknown => {}
        }
    }
    // A missing member has no place; serde names it in its text alone.
    let missing = detail.strip_prefix("missing field `");
    if let Some((name, _)) = missing.and_then(|rest| rest.split_once('`')) {
        pointer = Pointer::below(&pointer, name);
    }
    Pointer { pointer, detail }
}

/// What a decoder says, without its line and column, for the pointer is more, and without Rust's names of types.
fn in_words(said: &str) -> String {
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
fn invalid<T: Validate<Context = ()>>(root: &str, value: &T) -> Vec<Pointer> {
    let report = match value.validate() {
        Ok(()) => return Vec::new(),
        Err(report) => report,
    };
    let pointers = report.into_inner().into_iter().map(|(path, why)| Pointer {
        pointer: format!("{root}/{}", as_sent(&path.to_string())),
        detail: why.to_string(),
    });
    pointers.collect()
}

/// A path of Rust members as the client wrote it: `items[0].per_page` is `items/0/perPage`.
fn as_sent(path: &str) -> String {
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
    use serde::Deserialize;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[garde(length(min = 1))]
        ids: String,
        #[serde(rename = "perPage", default)]
        #[garde(range(max = 100))]
        per_page: u32,
    }

    #[test]
    fn a_pointer_names_members_as_they_were_sent() {
        assert_eq!(as_sent("items[0].per_page"), "items/0/perPage");
    }

    #[test]
    fn a_body_is_pointed_into_as_it_was_sent() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Lines {
            #[expect(dead_code, reason = "only its decoding is looked at")]
            lines: Vec<Line>,
        }
        for (text, pointer, detail) in [
            ("{}", "/lines", "missing field `lines`"),
            (r#"{"lines":[{}]}"#, "/lines/0/ids", "missing field `ids`"),
            (
                r#"{"lines":[{"ids":"a"},{"ids":7}]}"#,
                "/lines/1/ids",
                "invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"lines":[{"ids":"a","perPage":-1}]}"#,
                "/lines/0/perPage",
                "invalid value: integer `-1`, expected a whole number, 0 or more",
            ),
            (
                r#"{"lines":[{"ids":"a","o/d":1}]}"#,
                "/lines/0/o~1d",
                "unknown field `o/d`, expected `ids` or `perPage`",
            ),
            ("7", "", "invalid type: integer `7`, expected an object"),
            ("[[]]", "", "invalid type: sequence, expected an object"),
            (
                r#"{"lines":[["a",7]]}"#,
                "/lines/0",
                "invalid type: sequence, expected an object",
            ),
        ] {
            let mut reader = serde_json::Deserializer::from_str(text);
            let read: Result<Lines, _> = serde_path_to_error::deserialize(Objects(&mut reader));
            let told = unreadable("", &read.unwrap_err());
            assert_eq!((&*told.pointer, &*told.detail), (pointer, detail), "{text}");
        }
    }
}
