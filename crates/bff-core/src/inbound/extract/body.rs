//! The body extractor: checks the media type and the route's limits, and reports all errors at once.

use axum::extract::{FromRequest, Request};
use bff_context::field_value;
use garde::Validate;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::query::reject_query;
use super::strict_structs::StrictStructs;
use super::{collect_errors, pointer_from_serde, validated};
use crate::context::RequestContext;
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

/// Reads a body with a JSON media type. Rejects a query, unless a [`Query`](super::Query) extractor has read it.
pub(crate) async fn json(request: Request) -> Result<axum::body::Bytes, Error> {
    reject_query(&request)?;
    if !is_json(request.headers()) {
        let detail = "The body must be JSON (Content-Type: application/json).";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if field_value::has_content_coding(request.headers()) {
        let detail = "The body must have no Content-Encoding.";
        return Err(Error::new(codes::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    read(request).await
}

/// Whether the body is `application/json`. A `charset` parameter must be UTF-8, and other parameters are ignored.
fn is_json(headers: &HeaderMap) -> bool {
    let value = field_value::single(headers, &header::CONTENT_TYPE).unwrap_or_default();
    let (media_type, mut parameters) = field_value::with_parameters(value);
    let is_utf8 = |charset: &str| {
        charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
    };
    media_type.eq_ignore_ascii_case("application/json")
        && parameters.all(|(name, value)| !name.eq_ignore_ascii_case("charset") || is_utf8(&value))
}

/// Parses and validates a JSON body.
pub(in crate::inbound) fn parse<T: DeserializeOwned + Validate<Context = ()>>(
    bytes: &[u8],
) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(StrictStructs(&mut reader)) {
        Ok(value) => {
            let trailing = "There is data after the JSON.";
            let end = reader.end();
            end.map_err(|_| Error::new(codes::INVALID_REQUEST, trailing))?;
            return validated("", value);
        }
        Err(error) => error,
    };
    let Ok(body) = serde_json::from_slice(bytes) else {
        return Err(Error::new(codes::INVALID_REQUEST, "The body is not JSON."));
    };
    let errors = vec![pointer_from_serde("", &error)];
    collect_errors::parse_all("", (body, bytes.len()), errors, |body| {
        serde_path_to_error::deserialize(StrictStructs(body))
    })
}

/// Reads a body within the route's limits of size and time, and within the request's deadline.
pub(crate) async fn read(request: Request) -> Result<axum::body::Bytes, Error> {
    let limit = request.extensions().get::<BodyLimit>().copied();
    let limit = limit.ok_or_else(|| {
        let detail = "Internal error: request context missing.";
        Error::new(codes::INTERNAL, detail)
    })?;
    let deadline = request.extensions().get().map(RequestContext::deadline);
    let until = Instant::now() + limit.timeout;
    let until = deadline.map_or(until, |deadline| until.min(deadline));
    let too_large = || {
        let detail = format!("The body is over {} bytes.", limit.bytes);
        Error::new(codes::TOO_LARGE, detail)
    };
    let body = request.into_body();
    if body.size_hint().lower() > limit.bytes as u64 {
        return Err(too_large());
    }
    match timeout_at(until, Limited::new(body, limit.bytes).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(body_ended_early().with_cause(error)),
        Err(_) => Err(body_is_late()),
    }
}

/// The client ended its body before the announced end, or with invalid framing.
pub(crate) fn body_ended_early() -> Error {
    Error::new(codes::REQUEST_TIMEOUT, "The body ended early.")
}

/// The client did not send its body in time.
pub(crate) fn body_is_late() -> Error {
    Error::new(codes::REQUEST_TIMEOUT, "The body did not arrive in time.")
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
    struct Input {
        #[garde(dive)]
        lines: Vec<Line>,
        #[serde(default)]
        #[garde(dive)]
        best: Option<Line>,
        #[serde(default)]
        #[garde(range(max = 9))]
        page: u32,
    }

    /// The errors of a body: pointers and details.
    fn field_errors(text: &str) -> Vec<(String, String)> {
        let error = parse::<Input>(text.as_bytes()).unwrap_err();
        let problem: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let text = |e: &Value, name| e[name].as_str().unwrap().to_owned();
        let both = |e| (text(e, "pointer"), text(e, "detail"));
        errors.iter().map(both).collect()
    }

    #[test]
    fn json_is_recognized_by_its_media_type() {
        for (lines, json) in [
            (&["application/json"][..], true),
            (&["Application/JSON"], true),
            (&["application/json;"], true),
            (&["application/json ; Charset=\"UTF-8\""], true),
            (&["application/json;charset=utf8"], true),
            (&["application/json;a=\"b;charset=latin1\""], true),
            (&["application/json;charset=latin1"], false),
            (&["application/json, text/html"], false),
            (&["application/json", "application/json"], false),
            (&["application/jsonx"], false),
            (&["text/json"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_TYPE, line.parse().unwrap());
            }
            assert_eq!(is_json(&headers), json, "{lines:?}");
        }
    }

    #[test]
    fn an_error_has_the_pointer_of_the_sent_field() {
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
                field_errors(text),
                [(pointer.to_owned(), detail.to_owned())],
                "{text}"
            );
        }
    }

    #[test]
    fn all_errors_of_a_body_are_reported() {
        for (text, pointers) in [
            (
                r#"{"odd":1,"lines":7,"page":"x"}"#,
                &["/odd", "/lines", "/page"][..],
            ),
            // Broken validation rules are reported together with parse errors.
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
            // The order depends on serde_json's map, so it is not compared.
            let reported: BTreeSet<_> = field_errors(text).into_iter().map(|(at, _)| at).collect();
            let pointers = pointers.iter().map(|&at| at.to_owned()).collect();
            assert_eq!(reported, pointers, "{text}");
        }
    }

    #[test]
    fn a_body_with_malformed_json_at_its_end_is_rejected() {
        for text in [r#"{"odd":1,"#, r#"{"odd":1} x"#, r#"{"lines":[]} x"#] {
            let error = parse::<Input>(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), codes::INVALID_REQUEST, "{text}");
        }
    }
}
