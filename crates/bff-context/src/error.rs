//! The error that a client sees: a status, a stable code and a problem document (RFC 9457).
//!
//! Turning an [`Error`] into a response has no side effect. The edge knows the request id and the public URL; it writes
//! the problem document, and logs the failure once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

pub use codes::Code;
pub use stored::StoredError;

pub mod codes;
mod stored;

/// A step of an action, with its outcome.
pub type Step = (Cow<'static, str>, Cow<'static, str>);

/// A failure, as the client sees it.
#[derive(Clone, Debug)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    /// For the client: understandable alone, without internals.
    detail: Cow<'static, str>,
    /// For the log only: the internal cause.
    cause: Option<String>,
    retry_after: Option<Duration>,
    field_errors: Vec<FieldError>,
    allow: Option<HeaderValue>,
    /// The outcome of each step of an action.
    steps: Vec<Step>,
    /// Whether the request had a token, and the token was refused.
    has_invalid_token: bool,
}

/// One mistake in an input.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct FieldError {
    /// The place: a JSON pointer (RFC 6901) into the body, or `/query/<name>`, `/header/<name>`, `/path/<name>`.
    #[schema(example = "/query/limit")]
    pub pointer: String,
    /// What is wrong there.
    #[schema(example = "greater than 100")]
    pub detail: String,
}

impl FieldError {
    /// The JSON pointer of the member `name` of `root` (RFC 6901 §3).
    pub fn below(root: &str, name: &str) -> String {
        format!("{root}/{}", name.replace('~', "~0").replace('/', "~1"))
    }
}

/// The body of every failure (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem<'a> {
    /// A page that explains the code, how to fix the failure, and whether to try again.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: String,
    /// The code in words.
    #[schema(value_type = String)]
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[schema(value_type = String)]
    pub detail: &'a str,
    /// The path of the request.
    #[schema(value_type = String)]
    pub instance: &'a str,
    /// The stable code. Programs should read this.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// The id of the request, for support.
    #[schema(value_type = String)]
    pub request_id: &'a str,
    /// All mistakes in the input.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    pub errors: &'a [FieldError],
    /// The outcome of each step of a failed write, such as `placed` or `unknown`.
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "by_name")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    pub steps: &'a [Step],
}

fn by_name<S: Serializer>(steps: &[Step], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(steps.iter().map(|(step, outcome)| (step, outcome)))
}

impl Error {
    /// A failure with `code`. `detail` is for the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            code,
            detail: detail.into(),
            cause: None,
            retry_after: None,
            field_errors: Vec::new(),
            allow: None,
            steps: Vec::new(),
            has_invalid_token: false,
        }))
    }

    /// 422 with all mistakes.
    pub fn invalid(field_errors: Vec<FieldError>) -> Self {
        let detail = "Parts of the request are not valid.";
        Self::new(codes::VALIDATION_FAILED, detail).with_field_errors(field_errors)
    }

    /// Sets all mistakes in the input.
    #[must_use]
    pub fn with_field_errors(mut self, field_errors: Vec<FieldError>) -> Self {
        self.inner_mut().field_errors = field_errors;
        self
    }

    /// 422 with one mistake.
    pub fn invalid_at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        }])
    }

    /// 405 with the allowed methods.
    pub fn method_not_allowed(method: &Method, allow: Option<HeaderValue>) -> Self {
        let detail = format!("Method {method} is not allowed here.");
        let mut error = Self::new(codes::METHOD_NOT_ALLOWED, detail);
        error.inner_mut().allow = allow;
        error
    }

    /// Sets the cause, for the log only.
    #[must_use]
    pub fn with_cause(mut self, cause: impl ToString) -> Self {
        self.inner_mut().cause = Some(cause.to_string());
        self
    }

    /// Sets the delay before a retry.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.inner_mut().retry_after = after;
        self
    }

    /// Sets the outcome of each step of a failed action.
    #[must_use]
    pub fn with_steps(mut self, steps: Vec<Step>) -> Self {
        self.inner_mut().steps = steps;
        self
    }

    /// Marks the token of the request as refused, for the `WWW-Authenticate` challenge.
    #[must_use]
    pub fn invalid_token(mut self) -> Self {
        self.inner_mut().has_invalid_token = true;
        self
    }

    /// Whether the token of the request was refused.
    pub fn has_invalid_token(&self) -> bool {
        self.0.has_invalid_token
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The text for the client.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The text for the log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// All mistakes in the input.
    pub fn field_errors(&self) -> &[FieldError] {
        &self.0.field_errors
    }

    /// The delay before a retry, if known.
    pub fn retry_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The problem document of this failure, as JSON.
    pub fn problem(&self, public_url: &str, instance: &str, request_id: &str) -> Vec<u8> {
        debug_assert!(
            self.0.code != codes::VALIDATION_FAILED || !self.0.field_errors.is_empty(),
            "`Error::invalid` creates this error with its mistakes"
        );
        let problem = Problem {
            kind: format!("{public_url}/errors/{}", self.0.code.name()),
            title: self.0.code.title(),
            status: self.status().as_u16(),
            detail: &self.0.detail,
            instance,
            code: self.0.code.name(),
            request_id,
            errors: &self.0.field_errors,
            steps: &self.0.steps,
        };
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

/// Whole seconds for `Retry-After` (RFC 9110 §10.2.3), rounded up so that no client retries too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.0.retry_after {
            let seconds = whole_seconds(after).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.0.allow.clone() {
            headers.insert(header::ALLOW, allow);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_page_and_all_mistakes() {
        let error = Error::invalid(vec![FieldError {
            pointer: "/query/limit".into(),
            detail: "greater than 100".into(),
        }]);
        let body = error.problem("http://localhost:8080", "/api/search", "r-1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["type"],
            "http://localhost:8080/errors/validation_failed"
        );
        assert_eq!(body["status"], 422);
        assert_eq!(body["requestId"], "r-1");
        assert_eq!(body["errors"][0]["pointer"], "/query/limit");
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let error =
            Error::new(codes::UNAVAILABLE, "x").with_retry_after(Some(Duration::from_millis(1)));
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn the_cause_is_not_in_the_problem() {
        let error = Error::new(codes::INTERNAL, "Something broke.").with_cause("host db-1 refused");
        let body = String::from_utf8(error.problem("", "/", "r")).unwrap();
        assert!(!body.contains("db-1"));
    }
}
