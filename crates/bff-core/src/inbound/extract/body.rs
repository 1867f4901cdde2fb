//! The body as a door parses it: read within the route's limits, of the right media type, every mistake told.

use axum::extract::{FromRequest, Request};
use garde::Validate;
use http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::query::no_query;
use super::strict_structs::StrictStructs;
use super::{collect_errors, pointer_from_serde, validated};
use crate::error::{Error, codes};
use crate::inbound::endpoints::BodyLimit;

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
pub(in crate::inbound) fn parse<T: DeserializeOwned + Validate<Context = ()>>(
    bytes: &[u8],
) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(StrictStructs(&mut reader)).map_err(|e| {
        match e.inner().classify() {
            serde_json::error::Category::Data => match serde_json::from_slice(bytes) {
                Ok(body) => {
                    let first = pointer_from_serde("", &e);
                    Error::invalid(collect_errors::all::<T>((body, bytes.len()), first))
                }
                Err(_) => not_json(),
            },
            _ => not_json(),
        }
    });
    let value: T = read?;
    reader
        .end()
        .map_err(|_| Error::new(codes::INVALID_REQUEST, "There is more after the JSON."))?;
    validated("", value)
}

fn not_json() -> Error {
    Error::new(codes::INVALID_REQUEST, "The body is not JSON.")
}

/// Reads a body within the route's bytes and time.
pub(crate) async fn read(request: Request) -> Result<axum::body::Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>().copied();
    let limit = limit
        .ok_or_else(|| Error::new(codes::INTERNAL, "Internal error: request context missing."))?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[garde(length(min = 1))]
        ids: String,
        #[serde(rename = "perPage", default)]
        #[garde(range(max = 100))]
        per_page: u32,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[garde(dive)]
        lines: Vec<Line>,
        #[serde(default)]
        #[garde(dive)]
        best: Option<Line>,
        #[serde(default)]
        #[garde(range(max = 9))]
        page: u32,
    }

    /// What is wrong with a body: where, and how.
    fn wrong(text: &str) -> Vec<(String, String)> {
        let error = parse::<Wanted>(text.as_bytes()).unwrap_err();
        let told: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
        let errors = told["errors"].as_array().cloned().unwrap_or_default();
        let text = |e: &Value, name| e[name].as_str().unwrap().to_owned();
        let both = |e| (text(e, "pointer"), text(e, "detail"));
        errors.iter().map(both).collect()
    }

    #[test]
    fn a_body_is_pointed_into_as_it_was_sent() {
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
            assert_eq!(
                wrong(text),
                [(pointer.to_owned(), detail.to_owned())],
                "{text}"
            );
        }
    }

    #[test]
    fn everything_wrong_with_a_body_is_told() {
        for (text, pointers) in [
            (
                r#"{"odd":1,"lines":7,"page":"x"}"#,
                &["/odd", "/lines", "/page"][..],
            ),
            // Broken rules of what can be read are told with what cannot.
            (
                r#"{"lines":[{"ids":""}],"page":10,"o/d":1}"#,
                &["/o~1d", "/lines/0/ids", "/page"],
            ),
            (
                r#"{"best":{"perPage":"x","odd":1},"page":-1,"lines":[]}"#,
                &["/best/perPage", "/best/odd", "/best/ids", "/page"],
            ),
            (
                r#"{"page":1,"page":2,"odd":1}"#,
                &["/page", "/odd", "/lines"],
            ),
        ] {
            // In which order is the business of the map that the rest is read into.
            let told: BTreeSet<_> = wrong(text).into_iter().map(|(at, _)| at).collect();
            let pointers = pointers.iter().map(|&at| at.to_owned()).collect();
            assert_eq!(told, pointers, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_at_its_end_is_none() {
        for text in [r#"{"odd":1,"#, r#"{"odd":1} x"#, r#"{"lines":[]} x"#] {
            let error = parse::<Wanted>(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), codes::INVALID_REQUEST, "{text}");
        }
    }
}
