//! What a door parses: path, query and body, each into a type, every mistake told at once.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use garde::Validate;
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::doors::BodyLimit;
use crate::error::{Error, Pointer, codes};

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

/// The query, parsed and validated. Unknown members are refused where `T` denies them; `fields` belongs to
/// the screen and is read beside it.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| Error::new(codes::INVALID_REQUEST, "The query is not form-encoded."))?;
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let doubled = names.windows(2).filter(|w| w[0] == w[1]).map(|w| Pointer {
            pointer: format!("/query/{}", w[0]),
            detail: "given more than once".into(),
        });
        let doubled: Vec<Pointer> = doubled.collect();
        if !doubled.is_empty() {
            return Err(Error::invalid(doubled));
        }
        let rest: Vec<(String, String)> =
            pairs.into_iter().filter(|(n, _)| n != "fields").collect();
        let text = serde_urlencoded::to_string(&rest).unwrap_or_default();
        let reader = serde_urlencoded::Deserializer::new(form_pairs(&text));
        let value: T = serde_path_to_error::deserialize(reader)
            .map_err(|e| unreadable("/query", &e.path().to_string(), e.inner()))?;
        valid("/query", &value)?;
        Ok(Self(value))
    }
}

fn form_pairs(text: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(text.as_bytes())
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
        let bytes = read(request).await?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            match e.inner().classify() {
                serde_json::error::Category::Data => {
                    let path = e.path().to_string();
                    unreadable(
                        "",
                        &path.replace(['.', '['], "/").replace(']', ""),
                        e.inner(),
                    )
                }
                _ => Error::new(codes::INVALID_REQUEST, "The body is not JSON."),
            }
        })?;
        reader
            .end()
            .map_err(|_| Error::new(codes::INVALID_REQUEST, "There is more after the JSON."))?;
        valid("", &value)?;
        Ok(Self(value))
    }
}

/// Reads a body within the route's bytes and time.
async fn read(request: Request) -> Result<axum::body::Bytes, Error> {
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

fn unreadable(root: &str, path: &str, why: &impl ToString) -> Error {
    let why = why.to_string();
    // serde names an unknown member in its text, and the path ends at its parent.
    let pointer = match path {
        "." | "" | "?" => root.to_owned(),
        path => format!("{root}/{path}"),
    };
    Error::invalid_at(pointer, why)
}

fn valid<T: Validate<Context = ()>>(root: &str, value: &T) -> Result<(), Error> {
    let report = match value.validate() {
        Ok(()) => return Ok(()),
        Err(report) => report,
    };
    let pointers = report.into_inner().into_iter().map(|(path, why)| Pointer {
        pointer: format!("{root}/{}", as_sent(&path.to_string())),
        detail: why.to_string(),
    });
    Err(Error::invalid(pointers.collect()))
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

    #[test]
    fn a_pointer_names_members_as_they_were_sent() {
        assert_eq!(as_sent("items[0].per_page"), "items/0/perPage");
    }
}
