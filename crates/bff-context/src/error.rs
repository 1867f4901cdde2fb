//! The one error a client can see: a status, a stable code and an RFC 9457 problem body.
//!
//! An [`Error`] becomes a response without a side effect: status and code travel to the edge, which alone
//! knows the request id and the public address, writes the problem document and logs the failure once.

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

/// A step of an action, and what came of it.
pub type Step = (Cow<'static, str>, Cow<'static, str>);

/// What a client is told when it does not get what it asked for.
#[derive(Clone, Debug)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    /// For the client: readable alone, without internals.
    detail: Cow<'static, str>,
    /// For the log only: what really happened.
    cause: Option<String>,
    retry_after: Option<Duration>,
    pointers: Vec<FieldError>,
    allow: Option<HeaderValue>,
    /// What came of each step of an action.
    steps: Vec<Step>,
    /// Whether a token came with the request and is why it was refused.
    token_refused: bool,
}

/// One thing wrong with an input.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the body, or `/query/<name>`, `/header/<name>`, `/path/<name>`.
    #[schema(example = "/query/limit")]
    pub pointer: String,
    /// What is wrong there.
    #[schema(example = "greater than 100")]
    pub detail: String,
}

impl FieldError {
    /// Where the member `name` of `root` is (RFC 6901 §3).
    pub fn below(root: &str, name: &str) -> String {
        format!("{root}/{}", name.replace('~', "~0").replace('/', "~1"))
    }
}

/// The body of every failure (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem<'a> {
    /// A page that says what the code means, who can mend it, and whether to try again.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: String,
    /// The code in words.
    #[schema(value_type = String)]
    pub title: &'a str,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What happened this time.
    #[schema(value_type = String)]
    pub detail: &'a str,
    /// The path that was asked for.
    #[schema(value_type = String)]
    pub instance: &'a str,
    /// The stable code: what programs should read.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// The id to quote when asking for help.
    #[schema(value_type = String)]
    pub request_id: &'a str,
    /// Everything wrong with the input, at once.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(value_type = Vec<FieldError>, required = false)]
    pub errors: &'a [FieldError],
    /// What stands, where a write of several steps failed: what came of each step, such as `placed` or `unknown`.
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "by_name")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    pub steps: &'a [Step],
}

fn by_name<S: Serializer>(steps: &[Step], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(steps.iter().map(|(step, came)| (step, came)))
}

impl Error {
    /// A failure with `code`; `detail` is for the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            code,
            detail: detail.into(),
            cause: None,
            retry_after: None,
            pointers: Vec::new(),
            allow: None,
            steps: Vec::new(),
            token_refused: false,
        }))
    }

    /// 422 with everything that is wrong.
    pub fn invalid(pointers: Vec<FieldError>) -> Self {
        let mut error = Self::new(
            codes::VALIDATION_FAILED,
            "Parts of the request are not valid.",
        );
        error.edit().pointers = pointers;
        error
    }

    /// 422 for one wrong place.
    pub fn invalid_at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        }])
    }

    /// 405 with what the resource does allow.
    pub fn method_not_allowed(method: &Method, allow: Option<HeaderValue>) -> Self {
        let detail = format!("{method} is not something this address answers.");
        let mut error = Self::new(codes::METHOD_NOT_ALLOWED, detail);
        error.edit().allow = allow;
        error
    }

    /// What really happened, for the log only.
    #[must_use]
    pub fn with_cause(mut self, cause: impl ToString) -> Self {
        self.edit().cause = Some(cause.to_string());
        self
    }

    /// When trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.edit().retry_after = after;
        self
    }

    /// What came of each step of the action that failed.
    #[must_use]
    pub fn with_steps(mut self, steps: Vec<Step>) -> Self {
        self.edit().steps = steps;
        self
    }

    /// It was the token of the request: the edge says so in its challenge.
    #[must_use]
    pub fn invalid_token(mut self) -> Self {
        self.edit().token_refused = true;
        self
    }

    /// Whether it was the token of the request.
    pub fn refuses_a_token(&self) -> bool {
        self.0.token_refused
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

    /// Everything wrong with the input.
    pub fn pointers(&self) -> &[FieldError] {
        &self.0.pointers
    }

    /// When trying again makes sense, if that is known.
    pub fn retry_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The problem document of this failure, as JSON.
    pub fn problem(&self, public_url: &str, instance: &str, request_id: &str) -> Vec<u8> {
        let problem = Problem {
            kind: format!("{public_url}/errors/{}", self.0.code.name()),
            title: self.0.code.title(),
            status: self.status().as_u16(),
            detail: &self.0.detail,
            instance,
            code: self.0.code.name(),
            request_id,
            errors: &self.0.pointers,
            steps: &self.0.steps,
        };
        serde_json::to_vec(&problem).unwrap_or_default()
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

/// Seconds for `Retry-After` (RFC 9110 §10.2.3), rounded up so that nobody comes back early.
fn whole_seconds(d: Duration) -> u64 {
    d.as_secs() + u64::from(d.subsec_nanos() > 0)
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
    fn a_problem_names_its_page_and_every_wrong_place() {
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
    fn the_cause_stays_inside() {
        let error = Error::new(codes::INTERNAL, "Something broke.").with_cause("host db-1 refused");
        let body = String::from_utf8(error.problem("", "/", "r")).unwrap();
        assert!(!body.contains("db-1"));
    }
}
