//! What a door parses: path, query and body, each into a type, every mistake told at once.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use garde::Validate;
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::doors::BodyLimit;
use crate::error::{Error, Pointer, codes};
use crate::section::fields::OthersRead;

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

/// The query, parsed and validated, every mistake told at once. Unknown members are refused where `T` denies
/// them; `fields` belongs to the screen and is read by what stands after this.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.insert(OthersRead);
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn query<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Result<T, Error> {
    if percent_decode_str(text).decode_utf8().is_err() {
        return Err(Error::new(
            codes::INVALID_REQUEST,
            "The query is not UTF-8.",
        ));
    }
    let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
    let mut pairs: Vec<(String, String)> = pairs.collect();
    let mut wrong = doubled(&pairs);
    pairs.retain(|(name, _)| {
        name != "fields"
            && !wrong
                .iter()
                .any(|w| w.pointer == Pointer::below("/query", name))
    });
    // A decoder stops at the first mistake, so what it stopped at is left out and the rest is read again.
    let value: Option<T> = loop {
        let text = serde_urlencoded::to_string(&pairs).unwrap_or_default();
        let reader = form_urlencoded::parse(text.as_bytes());
        let reader = serde_urlencoded::Deserializer::new(reader);
        let stopped = match serde_path_to_error::deserialize(reader) {
            Ok(value) => break Some(value),
            Err(error) => unreadable("/query", &error),
        };
        let left = pairs.len();
        pairs.retain(|(name, _)| Pointer::below("/query", name) != stopped.pointer);
        add(&mut wrong, stopped);
        if pairs.len() == left || wrong.len() >= MAX_TOLD {
            break None;
        }
    };
    let invalid = value.as_ref().map(|v| invalid("/query", v));
    for pointer in invalid.into_iter().flatten() {
        add(&mut wrong, pointer);
    }
    match value {
        Some(value) if wrong.is_empty() => Ok(value),
        _ => Err(Error::invalid(wrong)),
    }
}

/// A door that reads a body and no query takes none: a member that nobody reads is unknown there as everywhere.
pub(crate) fn no_query(request: &Request) -> Result<(), Error> {
    if request.extensions().get::<OthersRead>().is_some() {
        return Ok(());
    }
    let query = request.uri().query().unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if wrong.len() < MAX_TOLD {
            let detail = format!("unknown field `{name}`, there are no fields");
            let pointer = Pointer::below("/query", &name);
            add(&mut wrong, Pointer { pointer, detail });
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(wrong))
    }
}

/// The most mistakes told of one query: reading again has a price, and nobody mends more at once.
const MAX_TOLD: usize = 20;

/// Members that stand there more than once.
fn doubled(pairs: &[(String, String)]) -> Vec<Pointer> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let doubled = names.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
    let doubled = doubled.take(MAX_TOLD).map(|same| Pointer {
        pointer: Pointer::below("/query", same[0]),
        detail: "given more than once".into(),
    });
    doubled.collect()
}

/// Adds a mistake; the first one told of a place is its cause, the others follow from it.
fn add(wrong: &mut Vec<Pointer>, pointer: Pointer) {
    if !wrong.iter().any(|w| w.pointer == pointer.pointer) {
        wrong.push(pointer);
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

/// Reads a body that says it is JSON.
pub(super) async fn json(request: Request) -> Result<axum::body::Bytes, Error> {
    no_query(&request)?;
    let json = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| {
            let t = t.to_str().unwrap_or_default();
            let essence = t.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
    if !json {
        let detail = "The body is JSON: Content-Type: application/json.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    read(request).await
}

/// Parses and validates a body.
pub(super) fn parse<T: DeserializeOwned + Validate<Context = ()>>(
    bytes: &[u8],
) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value: T =
        serde_path_to_error::deserialize(&mut reader).map_err(|e| match e.inner().classify() {
            serde_json::error::Category::Data => Error::invalid(vec![unreadable("", &e)]),
            _ => Error::new(codes::INVALID_REQUEST, "The body is not JSON."),
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
    let detail = error.inner().to_string();
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
    struct Wanted {
        #[garde(length(min = 1))]
        ids: String,
        #[serde(rename = "perPage", default)]
        #[garde(range(max = 100))]
        per_page: u32,
    }

    /// The pointers of what is wrong with a query, in the order told.
    fn wrong(text: &str) -> Vec<String> {
        let error = query::<Wanted>(text).unwrap_err();
        let body = error.problem("", "/", "r");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let errors = body["errors"].as_array().unwrap().iter();
        errors
            .map(|e| e["pointer"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_pointer_names_members_as_they_were_sent() {
        assert_eq!(as_sent("items[0].per_page"), "items/0/perPage");
    }

    #[test]
    fn every_mistake_of_a_query_has_its_own_pointer() {
        for (text, pointers) in [
            ("", &["/query/ids"][..]),
            ("ids=a&perPage=x", &["/query/perPage"]),
            ("ids=a&perPage=101", &["/query/perPage"]),
            ("ids=a&odd=1", &["/query/odd"]),
            ("ids=a&a%2Fb~=1", &["/query/a~1b~0"]),
            ("ids=a&ids=b", &["/query/ids"]),
            (
                "perPage=x&odd=1",
                &["/query/perPage", "/query/odd", "/query/ids"],
            ),
            (
                "ids=&odd=1&even=2",
                &["/query/odd", "/query/even", "/query/ids"],
            ),
            (
                "ids=a&perPage=1&perPage=2&odd=1",
                &["/query/perPage", "/query/odd"],
            ),
        ] {
            assert_eq!(wrong(text), pointers, "{text}");
        }
        let unread = query::<Wanted>("ids=%ff").unwrap_err();
        assert_eq!(unread.code(), codes::INVALID_REQUEST);
        let good: Wanted = query("ids=a&fields=x&perPage=7").unwrap();
        assert_eq!((good.ids.as_str(), good.per_page), ("a", 7));
    }

    #[test]
    fn what_is_told_of_one_query_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!("x{n}=1")).collect();
        assert_eq!(wrong(&many.join("&")).len(), MAX_TOLD);
        let twice: Vec<String> = (0..1000).map(|n| format!("x{n}=1&x{n}=1")).collect();
        assert!(wrong(&twice.join("&")).len() <= MAX_TOLD + 1);
    }

    #[test]
    fn a_body_is_pointed_into_as_it_was_sent() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Lines {
            #[expect(dead_code, reason = "only its decoding is looked at")]
            lines: Vec<Wanted>,
        }
        for (text, pointer) in [
            ("{}", "/lines"),
            (r#"{"lines":[{}]}"#, "/lines/0/ids"),
            (r#"{"lines":[{"ids":"a"},{"ids":7}]}"#, "/lines/1/ids"),
            (r#"{"lines":[{"ids":"a","o/d":1}]}"#, "/lines/0/o~1d"),
            ("7", ""),
        ] {
            let mut reader = serde_json::Deserializer::from_str(text);
            let read: Result<Lines, _> = serde_path_to_error::deserialize(&mut reader);
            assert_eq!(
                unreadable("", &read.unwrap_err()).pointer,
                pointer,
                "{text}"
            );
        }
    }
}
