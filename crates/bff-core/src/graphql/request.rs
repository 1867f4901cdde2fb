//! A GraphQL request as it comes over HTTP, and which of the two media types answers it.

use async_graphql::parser::types::OperationDefinition;
use async_graphql::{ServerError, Value as ConstValue, Variables};
use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};

use crate::error::{Error, FieldError, codes};
use crate::inbound::extract;

/// One operation to execute.
#[derive(Debug)]
pub(super) struct Envelope {
    /// The document.
    pub(super) query: String,
    /// Which of the document's operations.
    pub(super) operation: Option<String>,
    /// The values of its variables.
    pub(super) variables: Variables,
}

/// What the client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/graphql-response+json`: a document that cannot be executed is 400.
    Response,
    /// `application/json`, as before the draft: it is 200, whatever it holds.
    Json,
}

impl Media {
    /// The one the client likes best. Who names none of them gets the older one, for such clients are older.
    pub(super) fn accepted(headers: &HeaderMap) -> Result<Self, Error> {
        let mut sent = headers.get_all(header::ACCEPT).iter().peekable();
        if sent.peek().is_none() {
            return Ok(Self::Json);
        }
        let (mut response, mut json) = (Quality::default(), Quality::default());
        for range in sent
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
        {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = weight(parts);
            match kind.as_str() {
                "application/graphql-response+json" => response.set(2, weight),
                "application/json" => json.set(2, weight),
                "application/*" | "*/*" => {
                    let exact = usize::from(kind != "*/*");
                    response.set(exact, weight);
                    json.set(exact, weight);
                }
                _ => {}
            }
        }
        // Equally liked: the one that was named, and of two named ones the newer.
        let best = (response.weight, response.exact) >= (json.weight, json.exact);
        match (response.weight, json.weight) {
            (0, 0) => Err(Error::new(
                codes::NOT_ACCEPTABLE,
                "The answer is application/graphql-response+json or application/json.",
            )),
            _ if best && response.exact == 2 => Ok(Self::Response),
            (_, 0) => Ok(Self::Response),
            _ => Ok(Self::Json),
        }
    }

    /// The answer's `Content-Type`.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Response => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        })
    }
}

/// How much a type is liked, by the most exact range that covers it (RFC 9110 §12.5.1).
#[derive(Clone, Copy, Default)]
struct Quality {
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

/// The `q` of a media range in thousandths; one that cannot be read counts as not given.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let q = parameters.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
    let Some(q) = q.and_then(|q| q.parse::<f32>().ok()) else {
        return 1000;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let thousandths = (q.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

/// Reads the one body there is a form for, within the door's limits: JSON, one operation. The draft knows parameters in
/// the address for GET only, which this door does not take.
pub(super) async fn read(request: Request) -> Result<Envelope, Error> {
    let bytes = extract::json(request).await?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(codes::INVALID_REQUEST, "The body is not JSON.").with_cause(error)
    })?;
    envelope(value).map_err(Error::invalid)
}

/// The members of the one object a request is, or everything that is wrong with it.
fn envelope(value: Value) -> Result<Envelope, Vec<FieldError>> {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(_) => return Err(vec![wrong("", "one operation a request, not a list")]),
        _ => return Err(vec![wrong("", "not an object")]),
    };
    let mut errors = Vec::new();
    let mut read = Envelope {
        query: String::new(),
        operation: None,
        variables: Variables::default(),
    };
    let mut found = false;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("operationName" | "variables" | "extensions", Value::Null)
            | ("extensions", Value::Object(_)) => {}
            ("query", Value::String(text)) => {
                found = true;
                read.query = text;
            }
            ("query", _) => {
                found = true;
                errors.push(wrong("/query", "not a string"));
            }
            ("operationName", Value::String(name)) => read.operation = Some(name),
            ("operationName", _) => errors.push(wrong("/operationName", "not a string")),
            ("variables", Value::Object(of)) => read.variables = variables(of, &mut errors),
            ("variables", _) => errors.push(wrong("/variables", "not an object")),
            ("extensions", _) => errors.push(wrong("/extensions", "not an object")),
            (name, _) => {
                // RFC 6901 §3.
                let name = name.replace('~', "~0").replace('/', "~1");
                errors.push(wrong(format!("/{name}"), "no such member"));
            }
        }
    }
    if !found {
        errors.push(wrong("/query", "missing"));
    }
    if errors.is_empty() {
        Ok(read)
    } else {
        Err(errors)
    }
}

fn variables(of: Map<String, Value>, errors: &mut Vec<FieldError>) -> Variables {
    serde_json::from_value(Value::Object(of)).unwrap_or_else(|error| {
        errors.push(wrong("/variables", error.to_string()));
        Variables::default()
    })
}

/// Whether every variable that must be there is (GraphQL, "Coercing Variable Values"): the library would miss it only where
/// it is used, and take that for a failure of a resolver.
pub(super) fn check_variables(
    operation: &OperationDefinition,
    given: &Variables,
) -> Result<(), ServerError> {
    for variable in &operation.variable_definitions {
        let (wanted, name) = (&variable.node, &variable.node.name.node);
        let lacks = match given.get(name) {
            None => wanted.default_value.is_none(),
            Some(value) => *value == ConstValue::Null,
        };
        if lacks && !wanted.var_type.node.nullable {
            let kind = &wanted.var_type.node;
            let text = format!("Variable \"${name}\" of type \"{kind}\" has no value.");
            return Err(ServerError::new(text, Some(variable.pos)));
        }
    }
    Ok(())
}

fn wrong(pointer: impl Into<String>, detail: impl Into<String>) -> FieldError {
    FieldError {
        pointer: pointer.into(),
        detail: detail.into(),
    }
}
