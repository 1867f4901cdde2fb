//! Parses a GraphQL request over HTTP and negotiates the media type of the response.

use apollo_compiler::response::{JsonMap, JsonValue};
use axum::extract::Request;
use bff_context::field_value;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::error::{Error, FieldError, codes};
use crate::inbound::extract;

/// The body of a GraphQL request.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The document.
    pub(super) query: String,
    /// The name of the operation to execute.
    pub(super) operation: Option<String>,
    /// The values of the variables.
    pub(super) variables: JsonMap,
}

/// The media type of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/graphql-response+json`: the status is 400 for a document that cannot be executed.
    Response,
    /// `application/json`, from before the GraphQL-over-HTTP draft: the status is always 200.
    Json,
}

impl MediaType {
    /// The media type that the client prefers. The default is the older one, because clients that name none
    /// are older. An empty list counts as no field.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Self, Error> {
        let ranges = field_value::members(headers, &header::ACCEPT);
        // A malformed weight says nothing.
        let mut ranges = ranges
            .map(field_value::with_weight)
            .filter_map(|(range, weight)| Some((range.to_ascii_lowercase(), weight?)))
            .peekable();
        if ranges.peek().is_none() {
            return Ok(Self::Json);
        }
        let (mut response, mut json) = (Quality::default(), Quality::default());
        for (range, weight) in ranges {
            match range.as_str() {
                "application/graphql-response+json" => response.set(2, weight),
                "application/json" => json.set(2, weight),
                "application/*" | "*/*" => {
                    let exact = usize::from(range != "*/*");
                    response.set(exact, weight);
                    json.set(exact, weight);
                }
                _ => {}
            }
        }
        // With equal weights, an exactly named type wins over a range, and the newer type over the older.
        let prefers_response = (response.weight, response.exact) >= (json.weight, json.exact);
        match (response.weight, json.weight) {
            (0, 0) => Err(Error::new(
                codes::NOT_ACCEPTABLE,
                "The response is available as application/graphql-response+json or application/json.",
            )),
            _ if prefers_response && response.exact == 2 => Ok(Self::Response),
            (_, 0) => Ok(Self::Response),
            _ => Ok(Self::Json),
        }
    }

    /// The response's `Content-Type`.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }
}

/// The weight of a media type, from the most specific range that matches it (RFC 9110 §12.5.1).
#[derive(Clone, Copy, Default)]
struct Quality {
    /// 2 for the full type, 1 for `application/*`, 0 for `*/*`.
    exact: usize,
    weight: u16,
}

impl Quality {
    fn set(&mut self, exact: usize, weight: u16) {
        if exact >= self.exact {
            *self = Self { exact, weight };
        }
    }
}

/// Reads the JSON body with one operation. A body that is no GraphQL request is 400 (GraphQL over HTTP, "Status Codes").
pub(super) async fn read(request: Request) -> Result<Envelope, Error> {
    let bytes = extract::json(request).await?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(codes::INVALID_REQUEST, "The body is not JSON.").with_cause(error)
    })?;
    parse_envelope(value).map_err(|errors| {
        Error::new(codes::INVALID_REQUEST, "The body is no GraphQL request.")
            .with_field_errors(errors)
    })
}

/// Parses the members of the body. The error lists every invalid member.
fn parse_envelope(value: Value) -> Result<Envelope, Vec<FieldError>> {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(_) => {
            return Err(vec![field_error(
                "",
                "batches are not supported: send one operation",
            )]);
        }
        _ => return Err(vec![field_error("", "not an object")]),
    };
    let mut errors = Vec::new();
    let mut envelope = Envelope {
        query: String::new(),
        operation: None,
        variables: JsonMap::new(),
    };
    let mut has_query = false;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("operationName" | "variables" | "extensions", Value::Null)
            | ("extensions", Value::Object(_)) => {}
            ("query", Value::String(text)) => {
                has_query = true;
                envelope.query = text;
            }
            ("query", _) => {
                has_query = true;
                errors.push(field_error("/query", "not a string"));
            }
            ("operationName", Value::String(name)) => envelope.operation = Some(name),
            ("operationName", _) => errors.push(field_error("/operationName", "not a string")),
            ("variables", Value::Object(values)) => {
                let values = values.into_iter();
                let values = values.map(|(name, value)| (name.into(), JsonValue::from(value)));
                envelope.variables = values.collect();
            }
            ("variables", _) => errors.push(field_error("/variables", "not an object")),
            ("extensions", _) => errors.push(field_error("/extensions", "not an object")),
            // Reserved for later versions of GraphQL over HTTP. A client may send them already.
            _ => {}
        }
    }
    if !has_query {
        errors.push(field_error("/query", "missing"));
    }
    if errors.is_empty() {
        Ok(envelope)
    } else {
        Err(errors)
    }
}

fn field_error(pointer: impl Into<String>, detail: impl Into<String>) -> FieldError {
    FieldError {
        pointer: pointer.into(),
        detail: detail.into(),
    }
}
